//! One load at a time for all who ask, and no storm where it fails.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_one_cold_key_make_one_load() {
    let (cache, source) = (builder().build().unwrap(), Source::held());
    let callers: Vec<_> = (0..1000).map(|_| source.ask_beside(&cache, "ada")).collect();
    settle().await;
    assert_eq!(source.calls(), 1);
    source.let_go(1);
    for caller in callers {
        assert_eq!(text(caller.await.unwrap()), "v1");
    }
    assert_eq!(source.calls(), 1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    assert_eq!(cache.get("ada").unwrap().as_str(), "v1");
    let requests = cache.status().requests;
    assert_eq!((requests.loaded, requests.waited, requests.fresh), (1, 999, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_one_load_over_threads_too() {
    let (cache, source) = (builder().build().unwrap(), Source::held());
    let callers: Vec<_> = (0..1000).map(|_| source.ask_beside(&cache, "ada")).collect();
    // Whoever comes late finds it in memory; nobody begins a second load.
    source.let_go(1);
    for caller in callers {
        assert_eq!(text(caller.await.unwrap()), "v1");
    }
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_whose_loader_fails_make_one_load_and_get_its_error() {
    let (cache, source) = (builder().build().unwrap(), Source::held());
    source.set(FAILS);
    let callers: Vec<_> = (0..1000).map(|_| source.ask_beside(&cache, "ada")).collect();
    settle().await;
    source.let_go(1);
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no route", "{error}");
    }
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_fails_is_not_called_in_a_storm() {
    let (cache, source) = (builder().build().unwrap(), Source::new());
    source.set(FAILS);
    for _ in 0..10_000 {
        source.ask(&cache, "ada").await.unwrap_err();
        pass(Duration::from_millis(1)).await;
    }
    assert!((4..=8).contains(&source.calls()), "{}", source.calls());
    assert_eq!(cache.status().requests.refused, 10_000);
    source.set(GOOD);
    pass(Duration::from_secs(10)).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v1", "the back-off ends");
}

#[tokio::test(start_paused = true)]
async fn invalidations_make_no_storm_of_a_loader_that_fails() {
    let (cache, source) = (builder().build().unwrap(), Source::new());
    source.set(FAILS);
    for _ in 0..1000 {
        source.ask(&cache, "ada").await.unwrap_err();
        cache.invalidate("ada").await.unwrap();
        pass(Duration::from_millis(10)).await;
    }
    assert!(source.calls() <= 8, "{}", source.calls());
}

#[tokio::test(start_paused = true)]
async fn the_first_caller_may_go_away() {
    let (cache, source) = (builder().build().unwrap(), Source::held());
    let first = source.ask_beside(&cache, "ada");
    settle().await;
    let second = source.ask_beside(&cache, "ada");
    settle().await;
    first.abort();
    settle().await;
    source.let_go(1);
    assert_eq!(text(second.await.unwrap()), "v1");
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_load_wins() {
    let (cache, source) = (builder().build().unwrap(), Source::held());
    let before = source.ask_beside(&cache, "ada");
    settle().await;
    source.change();
    cache.invalidate("ada").await.unwrap();
    let after = source.ask_beside(&cache, "ada");
    settle().await;
    assert_eq!(source.calls(), 2, "who asks after it does not wait for what was overtaken");
    source.let_go(2);
    assert_eq!(text(before.await.unwrap()), "v1", "who asked before it gets what was loaded");
    assert_eq!(text(after.await.unwrap()), "v2");
    assert_eq!(text(source.ask(&cache, "ada").await), "v2");
    assert_eq!((source.calls(), cache.status().loads.discarded), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_of_everything_wins_too() {
    let (cache, source) = (builder().build().unwrap(), Source::held());
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "bob").await), "v1");
    let before = source.ask_beside(&cache, "ada");
    settle().await;
    source.change();
    cache.invalidate_all().await.unwrap();
    assert!(cache.get("bob").is_none());
    source.let_go(1);
    assert_eq!(text(before.await.unwrap()), "v1");
    assert!(cache.get("ada").is_none());
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn at_most_four_loads_of_a_key_run() {
    let (cache, source) = (builder().build().unwrap(), Source::held());
    let mut callers = Vec::new();
    for _ in 0..6 {
        callers.push(source.ask_beside(&cache, "ada"));
        settle().await;
        cache.invalidate("ada").await.unwrap();
    }
    assert_eq!(source.calls(), 4, "the others are in line");
    source.let_go(10);
    for caller in callers {
        assert_eq!(text(caller.await.unwrap()), "v1");
    }
    assert!(source.calls() <= 6, "{}", source.calls());
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_panics_or_hangs_has_failed() {
    let (cache, source) = (builder().build().unwrap(), Source::new());
    source.set(PANICS);
    assert_eq!(source.ask(&cache, "ada").await.unwrap_err().code(), Code::Internal);
    assert!(task::spawn(panics_at_once(cache.clone())).await.is_err());
    assert_eq!(source.ask(&cache, "cyd").await.unwrap_err().code(), Code::Internal, "nobody waits for it for ever");
    let hangs = cache.get_or_load("dan", std::future::pending::<Result<Option<String>, Failure>>).await;
    assert_eq!(hangs.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_function_of_the_application_that_panics_leaves_nobody_waiting() {
    let class = |key: &String| if key == "bad" { panic!("no class") } else { 0 };
    let cache = builder().classes(&["all"], class).build().unwrap();
    let source = Source::new();
    for _ in 0..2 {
        let asked = source.ask_beside(&cache, "bad");
        assert!(asked.await.is_err(), "it panics in who asks, too");
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(text(source.ask(&cache, "good").await), "v1");
    let cache = builder().weigh(|_, _| panic!("no weight")).build().unwrap();
    for _ in 0..2 {
        assert_eq!(source.ask(&cache, "ada").await.unwrap_err().code(), Code::Internal);
        pass(Duration::from_secs(1)).await;
    }
}

async fn panics_at_once(cache: Cache<String, String>) -> Answer {
    cache.get_or_load("cyd", || -> std::future::Ready<Result<Option<String>, Failure>> { panic!("at once") }).await
}
