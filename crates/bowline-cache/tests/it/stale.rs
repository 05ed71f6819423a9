//! Times: fresh, served while it is loaded again, served where a load fails.

use super::*;

const TTL: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_value_is_fresh_for_its_time_from_the_beginning_of_its_load() {
    let (cache, source) = (builder().ttl(TTL).build().unwrap(), Source::held());
    let caller = source.ask_beside(&cache, "ada");
    settle().await;
    pass(Duration::from_secs(5)).await;
    source.let_go(1);
    assert_eq!(text(caller.await.unwrap()), "v1");
    source.change();
    pass(Duration::from_secs(50)).await;
    assert_eq!(cache.get("ada").unwrap().as_str(), "v1");
    pass(Duration::from_secs(5)).await;
    assert!(cache.get("ada").is_none(), "a minute after the load began");
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn times_are_shortened_by_chance() {
    let cache = Cache::<u64, String>::builder("users").ttl(TTL).build().unwrap();
    for key in 0..200_u64 {
        cache.get_or_load(&key, || async { Ok(Some(String::new())) }).await.unwrap();
    }
    let fresh = || (0..200_u64).filter(|key| cache.get(key).is_some()).count();
    pass(Duration::from_secs(53)).await;
    assert_eq!(fresh(), 200);
    pass(Duration::from_secs(4)).await;
    assert!((40..160).contains(&fresh()), "{}", fresh());
    pass(Duration::from_secs(4)).await;
    assert_eq!(fresh(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_while_it_is_loaded_again() {
    let revalidate = Duration::from_secs(30);
    let (cache, source) = (builder().ttl(TTL).stale_while_revalidate(revalidate).build().unwrap(), Source::held());
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    source.change();
    pass(Duration::from_secs(70)).await;
    for _ in 0..10 {
        assert_eq!(text(source.ask(&cache, "ada").await), "v1", "nobody waits");
    }
    settle().await;
    assert_eq!(source.calls(), 2, "one loads");
    source.let_go(1);
    settle().await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v2");
    pass(Duration::from_secs(95)).await;
    source.change();
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v3", "after that window everybody waits");
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_where_a_load_fails_unless_it_was_invalidated() {
    let (cache, source) = (builder().ttl(TTL).stale_if_error(Duration::from_hours(1)).build().unwrap(), Source::new());
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    source.set(FAILS);
    pass(Duration::from_mins(30)).await;
    for _ in 0..10 {
        assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    }
    assert_eq!(source.calls(), 2, "the others did not try again");
    assert_eq!(cache.get_stale("ada").unwrap().as_str(), "v1");
    assert_eq!(cache.status().requests.stale, 10);
    cache.invalidate("ada").await.unwrap();
    source.ask(&cache, "ada").await.unwrap_err();
    assert!(cache.get_stale("ada").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_not_served_for_ever() {
    let (cache, source) = (builder().ttl(TTL).stale_if_error(TTL).build().unwrap(), Source::new());
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    source.set(FAILS);
    pass(Duration::from_secs(121)).await;
    source.ask(&cache, "ada").await.unwrap_err();
}
