//! Bounds: weight, loads, callers; what a builder refuses.

use bowline_cache::{
    CACHES_MAX, CLASSES_MAX, FEEDS_MAX, KEY_BYTES_MAX, PENDING_MAX, SLOTS_MAX, Strategy, VALUE_BYTES_MAX,
};
use bowline_runtime::metric::Registry;

use super::{
    feed::Tape,
    levels::{Wire, sharing},
    *,
};

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

#[tokio::test(start_paused = true)]
async fn keys_that_are_loaded_are_bounded_and_one_more_is_refused() {
    let (cache, source) = (builder().load_timeout(Duration::from_hours(1)).build().unwrap(), Source::held());
    let mut refused = 0;
    for from in (0..72_000).step_by(9000) {
        let callers: Vec<_> = (from..from + 9000).map(|at| source.ask_beside(&cache, &format!("k{at}"))).collect();
        settle().await;
        for caller in callers {
            if !caller.is_finished() {
                // It goes away, its load goes on.
                caller.abort();
                continue;
            }
            let error = caller.await.unwrap().unwrap_err();
            assert!(matches!(error, Error::TooBusy { max: SLOTS_MAX, .. }), "{error}");
            refused += 1;
        }
    }
    assert!((72_000 - SLOTS_MAX..20_000).contains(&refused), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_empty_or_too_long_is_refused_and_disturbs_no_level() {
    let (wire, tape, source) = (Wire::new(), Tape::new("cache.users"), Source::new());
    let cache = sharing(&wire, Some(&tape));
    settle().await;
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for bad in ["", long.as_str()] {
        for _ in 0..50 {
            let error = source.ask(&cache, bad).await.unwrap_err();
            assert!(matches!(error, Error::Key { .. }) && error.code() == Code::InvalidArgument, "{error}");
        }
        assert!(matches!(cache.invalidate(bad).await, Err(Error::Key { .. })));
        // Whoever writes the feed may name what it will.
        tape.put_key(bad);
    }
    pass(Duration::from_secs(1)).await;
    assert_eq!(text(source.ask(&cache, &long[1..]).await), "v1");
    assert_eq!(source.calls(), 1);
    let shared = &cache.status().levels[1];
    assert_eq!((shared.is_left_alone, shared.failures), (false, 0), "{shared:?}");
    source.change();
    tape.put_key("ada");
    tape.put_key(&long[1..]);
    settle().await;
    assert_eq!(text(source.ask(&cache, &long[1..]).await), "v2", "and the feed is followed");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_too_large_for_the_levels_below_is_answered() {
    let (wire, registry, dir) = (Wire::new(), Registry::default(), tempfile::tempdir().unwrap());
    let tape = Tape::new("user.changed");
    let cache = builder().serialized("1").shared(Arc::new(wire.clone())).follow(tape.feed()).metrics(&registry);
    let cache = cache.disk(dir.path(), 16 << 20).build().unwrap();
    pass(Duration::from_secs(1)).await;
    for (key, bytes) in [("small", VALUE_BYTES_MAX - 100), ("large", VALUE_BYTES_MAX)] {
        let value = "x".repeat(bytes);
        assert!(cache.get_or_load(key, || async { Ok(Some(value)) }).await.unwrap().is_some());
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(wire.fills(), 1);
    assert!((1_000_000..2_000_000).contains(&cache.status().levels[1].bytes.unwrap()));
    let text = registry.render();
    assert!(text.contains("bowline_cache_dropped_total{cache=\"users\",reason=\"too_large\"} 1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn invalidations_that_wait_for_the_shared_level_are_bounded_and_more_clear_it() {
    for (count, expect) in [(PENDING_MAX, "v1"), (PENDING_MAX + 1, "v2")] {
        let (wire, tape, source) = (Wire::new(), Tape::others("user.changed"), Source::new());
        let cache = sharing(&wire, Some(&tape));
        settle().await;
        assert_eq!(text(source.ask(&cache, "bob").await), "v1");
        settle().await;
        source.change();
        wire.stop(true);
        for at in 0..count {
            cache.invalidate(&format!("k{at}")).await.unwrap();
        }
        wire.stop(false);
        pass(Duration::from_secs(5)).await;
        assert!(!cache.status().levels[1].is_left_alone);
        let fresh = sharing(&wire, Some(&tape));
        settle().await;
        assert_eq!(text(source.ask(&fresh, "bob").await), expect, "after {count}");
    }
}

/// In a process of its own: it takes all the places that there are.
#[test]
fn the_caches_of_a_process_are_bounded() {
    const ALONE: &str = "BOWLINE_TEST_CACHES_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let test = "bounds::the_caches_of_a_process_are_bounded";
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let ran = alone.args([test, "--exact"]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let build = || builder().build();
    let mut caches: Vec<_> = (0..CACHES_MAX).map(|_| build().unwrap()).collect();
    let error = build().unwrap_err().to_string();
    assert!(error.contains("the process has 64 caches, which is the most"), "{error}");
    let bad = builder().ttl(Duration::ZERO).build().unwrap_err();
    assert_eq!(bad.faults.len(), 2, "{bad}");
    let clone = caches[0].clone();
    caches.truncate(1);
    caches.clear();
    caches.extend((1..CACHES_MAX).map(|_| build().unwrap()));
    assert!(build().is_err(), "its clone has its place");
    drop(clone);
    build().unwrap();
}

#[test]
fn classes_and_feeds_are_bounded() {
    let names: Vec<String> = (0..=CLASSES_MAX).map(|at| format!("c{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    builder().classes(&names[1..], |_| 0).build().unwrap();
    for bad in [&names[..], &[], &[""]] {
        let error = builder().classes(bad, |_| 0).build().unwrap_err();
        assert!(error.to_string().contains("`classes` has 1 to 16 names of 1 to 64 bytes"), "{error}");
    }
    let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f", "g"];
    let following =
        |count: usize| names[..count].iter().fold(builder(), |cache, name| cache.follow(Tape::new(name).feed()));
    assert!(following(FEEDS_MAX).ttl(Duration::ZERO).build().unwrap_err().faults.len() == 1);
    let error = following(FEEDS_MAX + 1).build().unwrap_err();
    assert!(error.to_string().contains("it follows at most 16 feeds"), "{error}");
}

#[test]
fn a_builder_tells_all_that_is_wrong() {
    let bad = Cache::<String, String>::builder("Users").ttl(Duration::ZERO).memory_bytes(1).loads_max(0);
    let error = bad.build().unwrap_err();
    assert_eq!(error.faults.len(), 5, "{error}");
    assert!(error.to_string().starts_with("the cache `Users` cannot be built: its name has"), "{error}");
}
