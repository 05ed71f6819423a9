//! A stretch of one series in few bytes: its times and its values, each a column of its own.
//!
//! They are apart because the series of one scrape share their times: on disk such a column is kept
//! once for all of them. Values are mostly whole numbers that do not change or grow evenly, so they are
//! kept as differences of whole (or decimal) numbers, repeats as a count; the bits of all else are held against those of the
//! value before, as in Gorilla (Pelkonen et al., 2015), in whole bytes.

mod times;
mod values;

pub(crate) use times::{Times, decode_times};
pub(crate) use values::{Order, Values, decode_values, number_of, unzigzag, zigzag};

use bowline_disk::Corrupt;

use crate::source::Sample;

/// The most samples in one chunk.
pub(crate) const CHUNK_SAMPLES_MAX: usize = 2048;

/// Times and values, no more added to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) count: usize,
    /// Of its first sample.
    pub(crate) from_ms: i64,
    /// Of its last sample.
    pub(crate) to_ms: i64,
    pub(crate) times: Box<[u8]>,
    pub(crate) values: Box<[u8]>,
}

/// A chunk that is added to; its samples are in order of time.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    times: Times,
    values: Values,
}

impl Open {
    pub(crate) fn new() -> Self {
        Self { times: Times::default(), values: Values::new(Order::Differences) }
    }

    pub(crate) fn push(&mut self, at_ms: i64, value: f64) {
        self.times.push(at_ms);
        self.values.push(value);
    }

    pub(crate) fn count(&self) -> usize {
        self.times.count()
    }

    pub(crate) fn first_ms(&self) -> i64 {
        self.times.first_ms()
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.times.last_ms()
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.times.bytes() + self.values.bytes()
    }

    /// As it is now.
    pub(crate) fn sealed(self) -> Chunk {
        let (count, from_ms, to_ms) = (self.count(), self.first_ms(), self.last_ms());
        Chunk {
            count,
            from_ms,
            to_ms,
            times: self.times.finish().into_boxed_slice(),
            values: self.values.finish().into_boxed_slice(),
        }
    }
}

impl Chunk {
    pub(crate) fn is_overlapping(&self, from_ms: i64, to_ms: i64) -> bool {
        self.from_ms <= to_ms && self.to_ms >= from_ms
    }

    /// Adds its samples of that time, both ends included.
    pub(crate) fn read(&self, from_ms: i64, to_ms: i64, out: &mut Vec<Sample>) -> Result<(), Corrupt> {
        let times = decode_times(&self.times, self.count)?;
        decode_values(Order::Differences, &self.values, within(&times, from_ms, to_ms), out)
    }
}

/// Which part of a column of times is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The times of all samples up to the last wanted one.
    pub(crate) times: &'a [i64],
    /// How many of them come before the first wanted one.
    pub(crate) skipped: usize,
}

/// The part of a column within that time, both ends included.
pub(crate) fn within(times: &[i64], from_ms: i64, to_ms: i64) -> Wanted<'_> {
    let skipped = times.partition_point(|at| *at < from_ms);
    let end = times.partition_point(|at| *at <= to_ms);
    Wanted { times: &times[..end], skipped: skipped.min(end) }
}

#[cfg(test)]
mod tests;
