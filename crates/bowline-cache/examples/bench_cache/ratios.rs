//! How often each misses on the same traces.

use bowline_cache::Cache;

use super::{lru::Lru, ours, say, trace};

const KEYS: usize = 128_000;
const GETS: usize = 1_000_000;
/// After so many gets, twice as many keys as there is room for are each asked for once, and never again.
const SCAN_EVERY: usize = 50_000;

/// A key, and whether it counts: those of a scan do not.
type Asked = (u64, bool);

pub(crate) async fn ratios() {
    for (percent, capacity) in [(1, KEYS / 100), (10, KEYS / 10)] {
        let trace: Vec<Asked> = trace::zipf(KEYS, 0.8, GETS).into_iter().map(|key| (u64::from(key), true)).collect();
        let (ours, lru) = (missed_by_ours(&trace, capacity).await, missed_by_lru(&trace, capacity));
        say(&format!("cache.ratio.zipf.{percent}"), ours, lru);
        if percent == 10 {
            say("cache.ratio.moka", ours, missed_by_moka(&trace, capacity));
        }
    }
    let capacity = KEYS / 10;
    let trace = scanned(capacity);
    let (ours, lru) = (missed_by_ours(&trace, capacity).await, missed_by_lru(&trace, capacity));
    say("cache.ratio.scan", ours, lru);
    say("cache.ratio.scan.moka", ours, missed_by_moka(&trace, capacity));
}

/// Zipf's law with scans in between.
fn scanned(capacity: usize) -> Vec<Asked> {
    let mut trace = Vec::new();
    let mut next = KEYS as u64;
    for part in trace::zipf(KEYS, 0.9, GETS).chunks(SCAN_EVERY) {
        trace.extend(part.iter().map(|key| (u64::from(*key), true)));
        let last = next + 2 * capacity as u64;
        trace.extend((next..last).map(|key| (key, false)));
        next = last;
    }
    trace
}

/// The share of what counts that missed.
fn share(misses: usize, trace: &[Asked]) -> f64 {
    misses as f64 / trace.iter().filter(|(_, counts)| *counts).count() as f64
}

async fn missed_by_ours(trace: &[Asked], capacity: usize) -> f64 {
    let cache: Cache<u64, ()> = ours(capacity as u64);
    let mut misses = 0;
    for (key, counts) in trace {
        if cache.get(key).is_none() {
            misses += usize::from(*counts);
            cache.get_or_load(key, || std::future::ready(Ok(Some(())))).await.expect("it loads");
        }
    }
    share(misses, trace)
}

fn missed_by_lru(trace: &[Asked], capacity: usize) -> f64 {
    let mut lru = Lru::new(capacity);
    share(trace.iter().filter(|(key, counts)| !lru.get_or_insert(*key) && *counts).count(), trace)
}

fn missed_by_moka(trace: &[Asked], capacity: usize) -> f64 {
    let cache = moka::sync::Cache::<u64, ()>::new(capacity as u64);
    let mut misses = 0;
    for (at, (key, counts)) in trace.iter().enumerate() {
        if cache.get(key).is_none() {
            misses += usize::from(*counts);
            cache.insert(*key, ());
        }
        // Its housekeeping is left to chance otherwise, and is not what is compared here.
        if at % 64 == 0 {
            cache.run_pending_tasks();
        }
    }
    share(misses, trace)
}
