//! Who asks and may not wait for long.

use std::cell::Cell;

use super::*;

thread_local! {
    static LEFT: Cell<Option<Duration>> = const { Cell::new(None) };
}

const LEFT_MS: Duration = Duration::from_millis(50);

fn left(left: Option<Duration>) {
    LEFT.set(left);
}

#[tokio::test(start_paused = true)]
async fn whose_time_is_over_waits_no_longer_and_the_load_goes_on() {
    let (cache, source) = (builder().patience(|| LEFT.get()).build().unwrap(), Source::held());
    let patient = source.ask_beside(&cache, "ada");
    settle().await;
    left(Some(LEFT_MS));
    for key in ["ada", "bob"] {
        let begin = time::now();
        let error = source.ask(&cache, key).await.unwrap_err();
        assert!(matches!(error, Error::Late { .. }), "{error}");
        assert_eq!((error.code(), error.retryable(), begin.elapsed()), (Code::DeadlineExceeded, true, LEFT_MS));
    }
    source.let_go(2);
    assert_eq!(text(patient.await.unwrap()), "v1");
    settle().await;
    left(Some(Duration::ZERO));
    for key in ["ada", "bob"] {
        assert_eq!(text(source.ask(&cache, key).await), "v1", "it is there");
    }
    let status = cache.status();
    assert_eq!((source.calls(), status.requests.refused, status.loads.value), (2, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn whose_time_is_over_gets_what_is_stale_where_that_is_allowed() {
    let builder = builder().ttl(Duration::from_secs(1)).stale_if_error(Duration::from_mins(1));
    let (cache, source) = (builder.patience(|| LEFT.get()).build().unwrap(), Source::held());
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    pass(Duration::from_secs(2)).await;
    left(Some(LEFT_MS));
    let begin = time::now();
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    assert_eq!((begin.elapsed(), cache.status().requests.stale), (LEFT_MS, 1));
    cache.invalidate("ada").await.unwrap();
    assert!(matches!(source.ask(&cache, "ada").await, Err(Error::Late { .. })), "what was invalidated is not served");
}

#[tokio::test(start_paused = true)]
async fn it_is_waited_no_longer_in_line_either() {
    let (cache, source) = (builder().patience(|| LEFT.get()).build().unwrap(), Source::held());
    for _ in 0..4 {
        drop(source.ask_beside(&cache, "ada"));
        settle().await;
        cache.invalidate("ada").await.unwrap();
    }
    left(Some(LEFT_MS));
    let begin = time::now();
    assert!(matches!(source.ask(&cache, "ada").await, Err(Error::Late { .. })));
    assert_eq!((begin.elapsed(), source.calls()), (LEFT_MS, 4));
}
