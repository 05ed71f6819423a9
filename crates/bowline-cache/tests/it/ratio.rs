//! The hit ratio, beside a plain LRU: on skewed traces, and where scans come in between.

use super::*;

#[path = "../../examples/bench_cache/lru.rs"]
mod lru;
#[path = "../../examples/bench_cache/trace.rs"]
mod trace;

const KEYS: usize = 10_000;
const ROOM: usize = 1024;

/// How often a cache and an LRU of that room miss; keys above [`KEYS`] are a scan, and do not count.
async fn missed(trace: &[u64]) -> (usize, usize) {
    let builder = Cache::<u64, ()>::builder("users").weigh(|_, ()| 1).item_bytes_max(1);
    let cache = builder.memory_bytes(ROOM as u64).build().unwrap();
    let mut lru = lru::Lru::new(ROOM);
    let (mut by_cache, mut by_lru) = (0, 0);
    for key in trace {
        let counts = usize::from(*key < KEYS as u64);
        if cache.get(key).is_none() {
            by_cache += counts;
            cache.get_or_load(key, || std::future::ready(Ok(Some(())))).await.unwrap();
        }
        by_lru += if lru.get_or_insert(*key) { 0 } else { counts };
    }
    (by_cache, by_lru)
}

#[tokio::test]
async fn it_misses_no_more_often_than_an_lru() {
    let trace: Vec<u64> = trace::zipf(KEYS, 0.8, 40_000).into_iter().map(u64::from).collect();
    let (by_cache, by_lru) = missed(&trace).await;
    assert!(by_cache <= by_lru, "{by_cache} {by_lru}");
}

#[tokio::test]
async fn a_scan_does_not_throw_out_what_is_used() {
    let mut trace = Vec::new();
    for (at, part) in trace::zipf(KEYS, 0.9, 40_000).chunks(4000).enumerate() {
        trace.extend(part.iter().copied().map(u64::from));
        let begin = (KEYS + at * 2 * ROOM) as u64;
        trace.extend(begin..begin + 2 * ROOM as u64);
    }
    let (by_cache, by_lru) = missed(&trace).await;
    assert!(by_cache * 10 <= by_lru * 9, "{by_cache} {by_lru}");
}
