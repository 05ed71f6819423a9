//! That there is nothing is kept, too.

use super::*;

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_kept_for_a_while() {
    let (cache, source) = (builder().nothing_for(Duration::from_secs(5)).build().unwrap(), Source::new());
    source.set(EMPTY);
    for _ in 0..10 {
        assert_eq!(text(source.ask(&cache, "ada").await), "nothing");
    }
    assert_eq!(source.calls(), 1);
    source.set(GOOD);
    pass(Duration::from_secs(6)).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    assert_eq!((cache.status().loads.nothing, cache.status().loads.value), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_ends_it() {
    let (cache, source) = (builder().build().unwrap(), Source::new());
    source.set(EMPTY);
    assert_eq!(text(source.ask(&cache, "ada").await), "nothing");
    source.set(GOOD);
    cache.invalidate("ada").await.unwrap();
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
}

#[tokio::test(start_paused = true)]
async fn it_is_not_kept_where_the_application_says_so() {
    let (cache, source) = (builder().nothing_for(Duration::ZERO).build().unwrap(), Source::new());
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    cache.invalidate("ada").await.unwrap();
    source.set(EMPTY);
    assert_eq!(text(source.ask(&cache, "ada").await), "nothing");
    assert_eq!(text(source.ask(&cache, "ada").await), "nothing");
    assert_eq!(source.calls(), 3);
}
