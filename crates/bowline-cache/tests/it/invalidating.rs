//! Invalidations across processes: each cache here stands for one.

use bowline_cache::{After, Batch, Invalidations, Key, Mark, PortError, Resumed, Which};
use bowline_runtime::{BoxFuture, metric::Registry};

use super::{feed::Tape, *};

fn following(tapes: &[&Tape]) -> Cache<String, String> {
    let builder = builder().ttl(Duration::from_hours(1)).stale_if_error(Duration::from_hours(1));
    tapes.iter().fold(builder, |builder, tape| builder.follow(tape.feed())).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_reaches_every_process() {
    let (tape, source) = (Tape::new("cache.users"), Source::new());
    let (here, there) = (following(&[&tape]), following(&[&tape]));
    settle().await;
    for cache in [&here, &there] {
        assert_eq!(text(source.ask(cache, "ada").await), "v1");
        assert_eq!(text(source.ask(cache, "bob").await), "v1");
    }
    source.change();
    here.invalidate("ada").await.unwrap();
    assert!(here.get("ada").is_none(), "here at once");
    settle().await;
    assert!(there.get("ada").is_none() && there.get("bob").is_some());
    assert_eq!(text(source.ask(&there, "ada").await), "v2");
    here.invalidate_all().await.unwrap();
    settle().await;
    assert!(there.get("bob").is_none());
    let status = there.status();
    assert_eq!((status.invalidated_by_feed, status.invalidated_here), (2, 0));
    let feed = &status.feeds[0];
    assert_eq!((feed.standing.as_str(), feed.position, feed.gaps), ("following", Some(2), 0));
}

#[tokio::test(start_paused = true)]
async fn many_invalidations_at_once_are_all_applied() {
    let (tape, source) = (Tape::new("user.changed"), Source::new());
    let cache = following(&[&tape]);
    settle().await;
    for key in 0..50 {
        assert_eq!(text(source.ask(&cache, &key.to_string()).await), "v1");
    }
    source.change();
    (0..50).for_each(|key| tape.put_key(&key.to_string()));
    settle().await;
    for key in 0..50 {
        assert_eq!(text(source.ask(&cache, &key.to_string()).await), "v2");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_arrives_during_a_load_wins() {
    let (tape, source) = (Tape::new("user.changed"), Source::held());
    let cache = following(&[&tape]);
    settle().await;
    let before = source.ask_beside(&cache, "ada");
    settle().await;
    source.change();
    tape.put_key("ada");
    settle().await;
    source.let_go(1);
    assert_eq!(text(before.await.unwrap()), "v1");
    assert!(cache.get("ada").is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fresh_while_the_feed_is_not_heard() {
    let (tape, source) = (Tape::new("user.changed"), Source::new());
    tape.stall(true);
    let cache = following(&[&tape]);
    for _ in 0..3 {
        assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    }
    assert_eq!((source.calls(), cache.status().feeds[0].standing.as_str()), (3, "unsure"));
    pass(Duration::from_secs(3)).await;
    assert_eq!(cache.status().feeds[0].why.as_deref(), Some("it cannot be used now: it took too long"));
    tape.stall(false);
    pass(Duration::from_secs(10)).await;
    source.ask(&cache, "ada").await.unwrap();
    assert!(cache.get("ada").is_some() && cache.status().feeds[0].why.is_none());

    tape.stall(true);
    source.change();
    tape.put_key("ada");
    pass(Duration::from_secs(11)).await;
    assert!(cache.get("ada").is_none(), "it may have changed, and nobody would have said so");
    assert_eq!(text(source.ask(&cache, "ada").await), "v2");
    source.set(FAILS);
    assert_eq!(text(source.ask(&cache, "ada").await), "v2", "still better than nothing");
}

#[tokio::test(start_paused = true)]
async fn whoever_was_away_while_the_feed_was_trimmed_or_made_anew_forgets_all() {
    let losses: [fn(&Tape); 2] = [Tape::trim, Tape::lose];
    for lose in losses {
        let (tape, source) = (Tape::new("user.changed"), Source::new());
        tape.put_key("somebody");
        let cache = following(&[&tape]);
        settle().await;
        assert_eq!(text(source.ask(&cache, "ada").await), "v1");
        tape.stall(true);
        pass(Duration::from_secs(10)).await;
        source.change();
        tape.put_key("ada");
        tape.put_key("bob");
        lose(&tape);
        tape.stall(false);
        pass(Duration::from_secs(10)).await;
        assert_eq!(text(source.ask(&cache, "ada").await), "v2");
        assert_eq!(cache.status().feeds[0].gaps, 1);
        assert!(cache.get("ada").is_some(), "it follows again");
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_feeds_the_one_that_is_furthest_behind_counts() {
    let (theirs, ours, source) = (Tape::others("user.changed"), Tape::new("cache.users"), Source::new());
    let cache = following(&[&theirs, &ours]);
    settle().await;
    source.ask(&cache, "ada").await.unwrap();
    cache.invalidate("ada").await.unwrap();
    settle().await;
    assert_eq!(cache.status().feeds[0].position, Some(0), "what is another's is not told");
    assert_eq!(cache.status().feeds[1].position, Some(1));
    source.ask(&cache, "ada").await.unwrap();
    assert!(cache.get("ada").is_some());
    theirs.put(Which::All);
    settle().await;
    assert!(cache.get("ada").is_none());
    source.ask(&cache, "ada").await.unwrap();
    theirs.stall(true);
    pass(Duration::from_secs(16)).await;
    assert!(cache.get("ada").is_none());
}

#[tokio::test(start_paused = true)]
async fn that_a_cache_is_blind_is_said_at_once() {
    let (tape, registry) = (Tape::new("user.changed"), Registry::default());
    let cache = builder().metrics(&registry).follow(tape.feed()).build().unwrap();
    let is_followed = |is: u8| registry.render().contains(&format!("bowline_cache_followed{{cache=\"users\"}} {is}"));
    settle().await;
    assert!(is_followed(1));
    tape.stall(true);
    pass(Duration::from_millis(10_500)).await;
    assert!(is_followed(0));
    drop(cache);
}

/// A key that an application has made badly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Touchy(String);

impl Key for Touchy {
    fn encode(&self) -> String {
        assert!(self.0 != "no-name", "a fault of the application");
        self.0.clone()
    }

    fn decode(text: &str) -> Option<Self> {
        assert!(text != "bad", "a fault of the application");
        Some(Self(text.to_owned()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_panics_has_everything_forgotten_and_the_feed_is_followed_on() {
    let tape = Tape::new("user.changed");
    let builder = Cache::<Touchy, u8>::builder("users").ttl(Duration::from_hours(1));
    let cache = builder.follow(tape.feed()).build().unwrap();
    settle().await;
    let ada = Touchy("ada".to_owned());
    let load = || std::future::ready(Ok(Some(1)));
    for key in ["bad", "no-name", "ada"] {
        cache.get_or_load(&ada, load).await.unwrap();
        assert!(cache.get(&ada).is_some());
        tape.put_key(key);
        settle().await;
        assert!(cache.get(&ada).is_none(), "{key}");
    }
    let feed = &cache.status().feeds[0];
    assert_eq!((feed.standing.as_str(), feed.position), ("following", Some(3)));
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_gone_follows_no_more() {
    let tape = Tape::new("cache.users");
    let cache = following(&[&tape]);
    settle().await;
    assert!(tape.handles() > 1);
    drop(cache);
    settle().await;
    assert_eq!(tape.handles(), 1);
}

#[test]
fn feeds_have_different_names() {
    let (one, other) = (Tape::new("a"), Tape::new("a"));
    let error = builder().follow(one.feed()).follow(other.feed()).blind_max(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.faults.len(), 2, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_feed_that_takes_its_time_to_answer_is_followed_all_the_time() {
    for blind_max in [6, 10, 3600].map(Duration::from_secs) {
        let (tape, source) = (Tape::new("user.changed"), Source::new());
        tape.slow(Duration::from_millis(300));
        let cache = builder().ttl(Duration::from_hours(1)).follow(tape.feed()).blind_max(blind_max).build().unwrap();
        pass(Duration::from_secs(1)).await;
        source.ask(&cache, "ada").await.unwrap();
        for at in 0..6000 {
            assert!(cache.get("ada").is_some(), "blind after {} ms of {blind_max:?}", at * 10);
            pass(Duration::from_millis(10)).await;
        }
    }
}

/// A feed that answers at once, whatever it is asked.
struct Hasty {
    has_gaps: bool,
    asked: AtomicU64,
}

impl Invalidations for Hasty {
    fn name(&self) -> &'static str {
        "hasty"
    }

    fn resume(&self, _: Option<Mark>) -> BoxFuture<'_, Result<Resumed, PortError>> {
        let end = Mark { position: 0, id: String::new() };
        Box::pin(std::future::ready(Ok(Resumed::Gap { end })))
    }

    fn after(&self, mark: Mark, _: Duration) -> BoxFuture<'_, Result<After, PortError>> {
        self.asked.fetch_add(1, SeqCst);
        let batch = Batch { what: Vec::new(), upto: mark.clone(), is_end: true };
        let answer = if self.has_gaps { After::Gap { end: mark } } else { After::Batch(batch) };
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn tell(&self, _: Which) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_does_not_wait_is_not_asked_in_a_storm() {
    for has_gaps in [false, true] {
        let feed = Arc::new(Hasty { has_gaps, asked: AtomicU64::new(0) });
        let _cache = builder().follow(feed.clone()).build().unwrap();
        pass(Duration::from_secs(10)).await;
        let asked = feed.asked.load(SeqCst);
        assert!((90..=110).contains(&asked), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_waits_for_a_feed_no_longer_than_half_a_minute() {
    let feed = Arc::new(Hasty { has_gaps: false, asked: AtomicU64::new(0) });
    let cache = builder().follow(feed).build().unwrap();
    let begin = time::now();
    let error = cache.invalidate("ada").await.unwrap_err();
    assert!(matches!(error, Error::Tell { .. }) && error.retryable(), "{error}");
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn the_metrics_say_whether_it_is_followed() {
    let followed = |registry: &Registry| {
        let text = registry.render();
        let (_, rest) = text.split_once("bowline_cache_followed{cache=\"users\"} ").unwrap();
        rest.starts_with('1')
    };
    let registry = Registry::default();
    let _alone = builder().metrics(&registry).build().unwrap();
    assert!(followed(&registry), "there is nothing to be missed");

    let (tape, source, registry) = (Tape::new("user.changed"), Source::new(), Registry::default());
    let cache = builder().follow(tape.feed()).metrics(&registry).build().unwrap();
    settle().await;
    assert!(followed(&registry));
    tape.stall(true);
    pass(Duration::from_secs(11)).await;
    source.ask(&cache, "ada").await.unwrap();
    assert!(!followed(&registry));
}
