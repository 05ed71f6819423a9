//! The shared level fails: callers get answers all the same, and nothing stale once it is back.

use bowline_cache::{Found, SharedCache as _};
use bowline_runtime::metric::Registry;

use super::{
    feed::Tape,
    levels::{Wire, sharing},
    *,
};

#[tokio::test(start_paused = true)]
async fn a_shared_level_that_stops_is_left_alone_and_nobody_gets_an_error() {
    let (wire, source, registry) = (Wire::new(), Source::new(), Registry::default());
    let builder = builder().serialized("1").shared(Arc::new(wire.clone())).metrics(&registry);
    let cache = builder.build().unwrap();
    assert_eq!(text(source.ask(&cache, "warm").await), "v1");
    wire.stop(true);
    let begin = time::now();
    let mut slowest = Duration::ZERO;
    for at in 0..200 {
        let asked = time::now();
        assert_eq!(text(source.ask(&cache, &format!("k{at}")).await), "v1");
        assert_eq!(cache.get("warm").unwrap().as_str(), "v1", "memory goes on");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest <= Duration::from_millis(150), "{slowest:?}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let text_now = registry.render();
    let open = "bowline_cache_level_open{cache=\"users\",level=\"l3\"}";
    assert!(text_now.contains(&format!("{open} 1")), "{text_now}");
    assert!(text_now.contains("level_failures_total{cache=\"users\",level=\"l3\",operation=\"get\"}"), "{text_now}");
    let shared = &cache.status().levels[1];
    assert!(shared.is_left_alone);
    assert_eq!(shared.why.as_deref(), Some("it cannot be used now: it took longer than 100 ms"));

    wire.stop(false);
    pass(Duration::from_secs(3)).await;
    for at in 200..210 {
        assert_eq!(text(source.ask(&cache, &format!("k{at}")).await), "v1");
    }
    assert!(registry.render().contains(&format!("{open} 0")));
    assert!(wire.fills() >= 10, "it is used again");
}

#[tokio::test(start_paused = true)]
async fn what_it_has_missed_is_made_up_for_before_it_is_read() {
    let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
    let (here, there) = (sharing(&wire, Some(&tape)), sharing(&wire, Some(&tape)));
    settle().await;
    for key in ["ada", "bob"] {
        assert_eq!(text(source.ask(&here, key).await), "v1");
    }
    settle().await;
    wire.stop(true);
    source.change();
    tape.put_key("ada");
    pass(Duration::from_secs(1)).await;
    assert_eq!(text(source.ask(&here, "ada").await), "v2");
    assert_eq!(text(source.ask(&there, "ada").await), "v2");
    wire.stop(false);
    here.invalidate("bob").await.unwrap();
    pass(Duration::from_secs(5)).await;
    assert!(!here.status().levels[1].is_left_alone && !there.status().levels[1].is_left_alone);
    let fresh = sharing(&wire, Some(&tape));
    settle().await;
    assert_eq!(text(source.ask(&fresh, "ada").await), "v2");
    assert_eq!(text(source.ask(&fresh, "bob").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn what_it_has_missed_of_a_feed_that_was_made_anew_since_is_no_mark_of_the_new_one() {
    let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
    (0..5).for_each(|_| tape.put_key("somebody"));
    let here = sharing(&wire, Some(&tape));
    settle().await;
    wire.stop(true);
    tape.put_key("somebody");
    pass(Duration::from_secs(1)).await;
    tape.lose();
    tape.put_key("somebody");
    pass(Duration::from_secs(10)).await;
    wire.stop(false);
    pass(Duration::from_secs(5)).await;
    assert_eq!(text(source.ask(&here, "ada").await), "v1");
    settle().await;
    source.change();
    tape.put_key("ada");
    settle().await;
    assert_eq!(text(source.ask(&here, "ada").await), "v2", "it was invalid in the shared level, too");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_of_everything_that_it_has_missed_is_made_up_for() {
    let (wire, tape, source) = (Wire::new(), Tape::new("cache.users"), Source::new());
    let here = sharing(&wire, Some(&tape));
    settle().await;
    assert_eq!(text(source.ask(&here, "ada").await), "v1");
    settle().await;
    wire.stop(true);
    source.change();
    here.invalidate_all().await.unwrap();
    wire.stop(false);
    pass(Duration::from_secs(5)).await;
    let fresh = sharing(&wire, Some(&tape));
    settle().await;
    assert_eq!(text(source.ask(&fresh, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn who_invalidates_while_another_does_is_answered_once_it_is_done() {
    for all in [true, false] {
        let (wire, tape) = (Wire::new(), Tape::new("cache.users"));
        let here = sharing(&wire, Some(&tape));
        settle().await;
        wire.slow(Duration::from_millis(60));
        let cache = here.clone();
        let first = task::spawn(async move { cache.invalidate_all().await });
        pass(Duration::from_millis(30)).await;
        let second =
            task::spawn(async move { if all { here.invalidate_all().await } else { here.invalidate("ada").await } });
        // The first has cleared it; another process puts what it has loaded since.
        pass(Duration::from_millis(35)).await;
        let level = wire.memory();
        let Found::Empty(ticket) = level.get("users", "ada").await.unwrap().found else { panic!("it was cleared") };
        assert!(level.fill("users", "ada", ticket, "v1".into(), Duration::from_hours(1)).await.unwrap());
        second.await.unwrap().unwrap();
        first.await.unwrap().unwrap();
        let found = level.get("users", "ada").await.unwrap().found;
        assert!(matches!(found, Found::Empty(_)), "all: {all}, {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn memory_forgets_at_once_however_long_the_levels_below_take() {
    let (wire, tape, source) = (Wire::new(), Tape::new("cache.users"), Source::new());
    let here = sharing(&wire, Some(&tape));
    settle().await;
    for all in [false, true] {
        assert_eq!(text(source.ask(&here, "ada").await).len(), 2);
        assert!(here.get("ada").is_some());
        wire.stop(true);
        tape.stall(true);
        let cache = here.clone();
        let invalidating =
            task::spawn(async move { if all { cache.invalidate_all().await } else { cache.invalidate("ada").await } });
        settle().await;
        assert!(here.get("ada").is_none() && !invalidating.is_finished(), "all: {all}");
        wire.stop(false);
        tape.stall(false);
        invalidating.abort();
        pass(Duration::from_secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_level_that_is_away_at_the_start_is_cleared_before_it_is_used() {
    let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
    let first = sharing(&wire, Some(&tape));
    settle().await;
    assert_eq!(text(source.ask(&first, "ada").await), "v1");
    settle().await;
    drop(first);
    wire.stop(true);
    source.change();
    tape.put_key("ada");
    let second = sharing(&wire, Some(&tape));
    pass(Duration::from_secs(2)).await;
    assert_eq!(text(source.ask(&second, "bob").await), "v2");
    wire.stop(false);
    pass(Duration::from_secs(5)).await;
    assert_eq!(text(source.ask(&second, "ada").await), "v2");
    assert!(wire.calls() > 0);
}
