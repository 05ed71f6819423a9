//! Bounds: weight, loads, callers; what a builder refuses.

use bowline_cache::Strategy;
use bowline_runtime::metric::Registry;

use super::*;

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_by_weight() {
    let registry = Registry::default();
    let weigh = |_: &u64, value: &String| value.len() as u64;
    let cache = Cache::<u64, String>::builder("users").memory_bytes(64 << 10).weigh(weigh).metrics(&registry);
    let cache = cache.build().unwrap();
    for key in 0..1000_u64 {
        cache.get_or_load(&key, || async { Ok(Some("x".repeat(1024))) }).await.unwrap();
    }
    let memory = &cache.status().levels[0];
    assert!((32 << 10..=64 << 10).contains(&memory.bytes.unwrap()), "{memory:?}");
    cache.get_or_load(&5000, || async { Ok(Some("x".repeat(100 << 10))) }).await.unwrap().unwrap();
    assert!(cache.get(&5000).is_none(), "it is too heavy, and was answered all the same");
    let text = registry.render();
    assert!(text.contains("bowline_cache_evictions_total{cache=\"users\",level=\"l1\"} 9"), "{text}");
    assert!(text.contains("bowline_cache_dropped_total{cache=\"users\",reason=\"too_large\"} 1"), "{text}");
    assert!(text.contains("bowline_cache_hits_total{cache=\"users\",level=\"l1\"} 0"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn loads_are_bounded_and_what_finds_no_place_in_a_second_is_refused() {
    let builder = builder().loads_max(2).load_timeout(Duration::from_hours(1));
    let (cache, source) = (builder.build().unwrap(), Source::held());
    let callers = ["a", "b"].map(|key| source.ask_beside(&cache, key));
    settle().await;
    let begin = time::now();
    let error = source.ask(&cache, "c").await.unwrap_err();
    assert!(matches!(error, Error::TooBusy { max: 2, .. }), "{error}");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    source.let_go(2);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn callers_who_wait_are_bounded() {
    let (cache, source) = (builder().build().unwrap(), Source::held());
    let callers: Vec<_> = (0..10_000).map(|_| source.ask_beside(&cache, "ada")).collect();
    settle().await;
    let error = source.ask(&cache, "ada").await.unwrap_err();
    assert!(matches!(error, Error::TooBusy { max: 10_000, .. }), "{error}");
    callers.iter().for_each(task::JoinHandle::abort);
    settle().await;
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_cached_still_has_one_load_at_a_time() {
    let (cache, source) = (builder().strategy(Strategy::NoCache).build().unwrap(), Source::held());
    let callers: Vec<_> = (0..10).map(|_| source.ask_beside(&cache, "ada")).collect();
    settle().await;
    source.let_go(1);
    for caller in callers {
        assert_eq!(text(caller.await.unwrap()), "v1");
    }
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    assert_eq!((source.calls(), cache.status().requests.bypassed), (2, 2));
}

#[test]
fn a_builder_tells_all_that_is_wrong() {
    let bad = Cache::<String, String>::builder("Users").ttl(Duration::ZERO).memory_bytes(1).loads_max(0);
    let error = bad.build().unwrap_err();
    assert_eq!(error.faults.len(), 5, "{error}");
    assert!(error.to_string().starts_with("the cache `Users` cannot be built: its name has"), "{error}");
}
