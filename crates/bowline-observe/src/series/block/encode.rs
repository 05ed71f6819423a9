//! Makes a block of what left the head.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::{FORMAT, Foot, check, index::Builder};
use crate::{
    series::{
        chunk::{CHUNK_SAMPLES_MAX, Order, Times, Values},
        head::Chunks,
    },
    source::Sample,
};

/// Of columns this short the other order is not tried.
const SHORT: usize = 16;
const LEVEL: i32 = 3;

/// The bytes of a block; `None` when there is not one sample.
///
/// What is damaged in memory is left out: it cannot be.
pub(crate) fn encode(series: &[Chunks]) -> Option<Vec<u8>> {
    let mut order: Vec<_> = series.iter().collect();
    order.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    let mut columns = Columns::default();
    let mut builder = Builder::new(order.iter().map(|series| &series.labels));
    let mut samples = Vec::new();
    for series in order {
        samples.clear();
        let is_read = series.read(i64::MIN, i64::MAX, &mut samples);
        debug_assert!(is_read, "what was just encoded can be read");
        in_order(&mut samples);
        if samples.is_empty() {
            continue;
        }
        builder.begin(&series.labels);
        for part in samples.chunks(CHUNK_SAMPLES_MAX) {
            columns.add(part, &mut builder);
        }
    }
    let (from_ms, to_ms, count) = columns.extent?;
    let index = builder.finish();
    let compressed = zstd::bulk::compress(&index, LEVEL).ok()?;
    let mut file = FORMAT.head().to_vec();
    file.reserve_exact(columns.times.len() + columns.values.len() + compressed.len() + super::FOOT_LEN);
    file.append(&mut columns.times);
    file.append(&mut columns.values);
    let foot = Foot {
        index_at: file.len() as u64,
        index_bytes: compressed.len(),
        index_bytes_raw: index.len(),
        index_hash: xxh3_64(&compressed),
        from_ms,
        to_ms,
        samples: count,
    };
    file.extend_from_slice(&compressed);
    file.extend_from_slice(&foot.encode());
    Some(file)
}

/// Sorts by time what a clock that was set back left out of order; of one time the first is kept.
pub(crate) fn in_order(samples: &mut Vec<Sample>) {
    if !samples.is_sorted_by(|a, b| a.at_ms < b.at_ms) {
        samples.sort_by_key(|sample| sample.at_ms);
        samples.dedup_by_key(|sample| sample.at_ms);
    }
}

#[derive(Debug, Default)]
struct Columns {
    times: Vec<u8>,
    values: Vec<u8>,
    /// Columns of times by their bytes.
    known: HashMap<Vec<u8>, u32>,
    /// First and last time, number of samples.
    extent: Option<(i64, i64, u64)>,
}

impl Columns {
    fn add(&mut self, samples: &[Sample], builder: &mut Builder) {
        let mut times = Times::default();
        for sample in samples {
            times.push(sample.at_ms);
        }
        let (first, last) = (times.first_ms(), times.last_ms());
        let (from_ms, to_ms, count) = self.extent.unwrap_or((first, last, 0));
        self.extent = Some((from_ms.min(first), to_ms.max(last), count + samples.len() as u64));
        let times = times.finish();
        let column = self.known.get(&times).copied().unwrap_or_else(|| {
            let column = builder.times(times.len(), check(&times), samples.len(), first, last);
            self.times.extend_from_slice(&times);
            self.known.insert(times, column);
            column
        });
        let (order, values) = shortest(samples);
        builder.chunk(column, order, values.len(), check(&values));
        self.values.extend_from_slice(&values);
    }
}

fn shortest(samples: &[Sample]) -> (Order, Vec<u8>) {
    let encode = |order| {
        let mut values = Values::new(order);
        for sample in samples {
            values.push(sample.value);
        }
        values.finish()
    };
    let differences = encode(Order::Differences);
    if differences.len() > SHORT {
        let changes = encode(Order::Changes);
        if changes.len() < differences.len() {
            return (Order::Changes, changes);
        }
    }
    (Order::Differences, differences)
}
