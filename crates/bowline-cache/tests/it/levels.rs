//! The level that processes share: each cache here stands for one.

use std::sync::atomic::AtomicBool;

use bowline_cache::{Applied, Feed, Got, Mark, Outcome, PortError, SharedCache, Ticket, Which, shared::memory::Memory};
use bowline_runtime::{BoxFuture, metric::Registry};

use super::{disk, feed::Tape, *};

/// The way to a shared level, which can be cut, and the level, which can lose everything.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Inside>);

struct Inside {
    memory: std::sync::Mutex<Memory>,
    is_stopped: AtomicBool,
    latency_ms: AtomicU64,
    calls: AtomicU64,
    fills: AtomicU64,
}

impl Wire {
    pub(crate) fn new() -> Self {
        let [calls, fills, latency_ms] = [0; 3].map(AtomicU64::new);
        let (memory, is_stopped) = (std::sync::Mutex::new(memory()), AtomicBool::new(false));
        Self(Arc::new(Inside { memory, is_stopped, latency_ms, calls, fills }))
    }

    /// The same level by another way.
    pub(crate) fn other_way(&self) -> Self {
        let other = Self::new();
        *other.0.memory.lock().unwrap() = self.memory();
        other
    }

    /// Nothing answers any more, as when a process is stopped; or it goes on.
    pub(crate) fn stop(&self, is_stopped: bool) {
        self.0.is_stopped.store(is_stopped, SeqCst);
    }

    /// It begins anew.
    pub(crate) fn lose(&self) {
        *self.0.memory.lock().unwrap() = memory();
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(SeqCst)
    }

    pub(crate) fn fills(&self) -> u64 {
        self.0.fills.load(SeqCst)
    }

    /// Each call takes so long, before it is carried out.
    pub(crate) fn slow(&self, latency: Duration) {
        self.0.latency_ms.store(u64::try_from(latency.as_millis()).unwrap(), SeqCst);
    }

    /// The level itself.
    pub(crate) fn memory(&self) -> Memory {
        self.0.memory.lock().unwrap().clone()
    }

    async fn passes(&self) {
        self.0.calls.fetch_add(1, SeqCst);
        if self.0.is_stopped.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let latency = Duration::from_millis(self.0.latency_ms.load(SeqCst));
        if !latency.is_zero() {
            pass(latency).await;
        }
    }
}

fn memory() -> Memory {
    Memory::new(64 << 20, &Registry::default())
}

impl SharedCache for Wire {
    fn get<'a>(&'a self, cache: &'a str, key: &'a str) -> BoxFuture<'a, Result<Got, PortError>> {
        Box::pin(async move {
            self.passes().await;
            self.memory().get(cache, key).await
        })
    }

    fn fill<'a>(
        &'a self,
        cache: &'a str,
        key: &'a str,
        ticket: Ticket,
        value: bytes::Bytes,
        keep: Duration,
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            self.passes().await;
            self.0.fills.fetch_add(1, SeqCst);
            self.memory().fill(cache, key, ticket, value, keep).await
        })
    }

    fn invalidate<'a>(
        &'a self,
        cache: &'a str,
        keys: &'a [String],
        applied: Option<Applied>,
    ) -> BoxFuture<'a, Result<Outcome, PortError>> {
        Box::pin(async move {
            self.passes().await;
            self.memory().invalidate(cache, keys, applied).await
        })
    }

    fn clear<'a>(&'a self, cache: &'a str, marks: &'a [(Feed, Mark)]) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            self.passes().await;
            self.memory().clear(cache, marks).await
        })
    }
}

/// A process whose cache shares a level with others.
pub(crate) fn sharing(wire: &Wire, tape: Option<&Tape>) -> Cache<String, String> {
    let builder = builder().ttl(Duration::from_hours(1)).serialized("1").shared(Arc::new(wire.clone()));
    tape.into_iter().fold(builder, |builder, tape| builder.follow(tape.feed())).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_one_process_has_loaded_the_others_do_not_load() {
    let (wire, source) = (Wire::new(), Source::new());
    let (here, there) = (sharing(&wire, None), sharing(&wire, None));
    assert_eq!(text(source.ask(&here, "ada").await), "v1");
    source.set(EMPTY);
    assert_eq!(text(source.ask(&here, "bob").await), "nothing");
    settle().await;
    source.set(FAILS);
    assert_eq!(text(source.ask(&there, "ada").await), "v1");
    assert_eq!(text(source.ask(&there, "bob").await), "nothing", "that there is nothing is shared, too");
    assert_eq!(source.calls(), 2);
    let shared = &there.status().levels[1];
    assert_eq!((shared.level.as_str(), shared.hits, shared.misses, shared.is_left_alone), ("l3", 2, 0, false));
    assert_eq!(there.status().loads.value, 0, "nothing was loaded there");
}

#[tokio::test(start_paused = true)]
async fn time_goes_on_in_the_shared_level() {
    let (wire, source) = (Wire::new(), Source::new());
    let (here, there) = (sharing(&wire, None), sharing(&wire, None));
    assert_eq!(text(source.ask(&here, "ada").await), "v1");
    source.change();
    pass(Duration::from_mins(50)).await;
    assert_eq!(text(source.ask(&there, "ada").await), "v1");
    pass(Duration::from_mins(11)).await;
    assert!(there.get("ada").is_none(), "it is an hour old, wherever it was");
    assert_eq!(text(source.ask(&there, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn what_another_process_keeps_for_longer_is_kept_here_for_no_longer_than_here() {
    let (wire, source) = (Wire::new(), Source::new());
    let here = sharing(&wire, None);
    let there = builder().ttl(Duration::from_mins(10)).nothing_for(Duration::from_secs(5)).serialized("1");
    let there = there.shared(Arc::new(wire.clone())).build().unwrap();
    assert_eq!(text(source.ask(&here, "ada").await), "v1");
    source.change();
    pass(Duration::from_mins(9)).await;
    assert_eq!(text(source.ask(&there, "ada").await), "v1");
    pass(Duration::from_secs(59)).await;
    assert!(there.get("ada").is_some());
    pass(Duration::from_secs(2)).await;
    assert_eq!(text(source.ask(&there, "ada").await), "v2", "it is ten minutes old");
    settle().await;
    assert_eq!(text(source.ask(&sharing(&wire, None), "ada").await), "v2", "and replaced for the others");
    source.set(EMPTY);
    assert_eq!(text(source.ask(&here, "bob").await), "nothing");
    source.set(GOOD);
    pass(Duration::from_secs(6)).await;
    assert_eq!(text(source.ask(&there, "bob").await), "v2", "that there was nothing is known for a shorter time here");
    let shared = &there.status().levels[1];
    assert_eq!((shared.hits, shared.misses), (1, 2), "what is too old is a miss");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_an_invalidation_elsewhere_has_overtaken_does_not_fill() {
    let (wire, tape, source) = (Wire::new(), Tape::new("cache.users"), Source::held());
    let (here, there) = (sharing(&wire, Some(&tape)), sharing(&wire, Some(&tape)));
    settle().await;
    let before = source.ask_beside(&here, "ada");
    settle().await;
    source.change();
    // Here it is not heard of yet.
    tape.stall(true);
    wire.invalidate("users", &["ada".to_owned()], None).await.unwrap();
    source.let_go(1);
    assert_eq!(text(before.await.unwrap()), "v1");
    settle().await;
    assert_eq!(wire.fills(), 1, "it tried");
    source.let_go(1);
    assert_eq!(text(source.ask(&there, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_empties_every_level_of_every_process_and_the_shared_one_once() {
    let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
    let (here, there) = (sharing(&wire, Some(&tape)), sharing(&wire.other_way(), Some(&tape)));
    settle().await;
    for cache in [&here, &there] {
        assert_eq!(text(source.ask(cache, "ada").await), "v1");
        settle().await;
    }
    source.change();
    tape.put_key("ada");
    settle().await;
    assert!(here.get("ada").is_none() && there.get("ada").is_none());
    assert_eq!(text(source.ask(&here, "ada").await), "v2");
    settle().await;
    source.set(FAILS);
    assert_eq!(text(source.ask(&there, "ada").await), "v2", "from the shared level");
    source.change();
    source.set(GOOD);
    tape.put(Which::All);
    settle().await;
    assert_eq!(text(source.ask(&there, "ada").await), "v3");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_begins_takes_what_is_shared_and_what_was_missed_is_made_up_for() {
    let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
    let first = sharing(&wire, Some(&tape));
    settle().await;
    for key in ["ada", "bob"] {
        assert_eq!(text(source.ask(&first, key).await), "v1");
    }
    settle().await;
    drop(first);
    settle().await;
    // All are away; one thing changes.
    source.change();
    tape.put_key("ada");
    let second = sharing(&wire, Some(&tape));
    settle().await;
    assert_eq!(text(source.ask(&second, "bob").await), "v1", "it is still shared");
    assert!(second.get("bob").is_some(), "the feed was heard to its end at once");
    assert_eq!(text(source.ask(&second, "ada").await), "v2");
    assert_eq!(source.calls(), 3);
    drop(second);
    settle().await;
    // And now what was told meanwhile is gone.
    source.change();
    tape.put_key("bob");
    tape.put_key("x");
    tape.lose();
    let third = sharing(&wire, Some(&tape));
    settle().await;
    assert_eq!(text(source.ask(&third, "bob").await), "v3");
}

#[tokio::test(start_paused = true)]
async fn what_is_on_disk_of_a_feed_that_was_made_anew_is_forgotten_whatever_the_shared_level_knows() {
    let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
    let dir = tempfile::tempdir().unwrap();
    let lasting = || disk::lasting(dir.path(), &tape).shared(Arc::new(wire.clone())).build().unwrap();
    (0..5).for_each(|_| tape.put_key("somebody"));
    let (first, other) = (lasting(), sharing(&wire, Some(&tape)));
    pass(Duration::from_secs(1)).await;
    assert_eq!(text(source.ask(&first, "ada").await), "v1");
    pass(Duration::from_secs(1)).await;
    drop(first);
    pass(Duration::from_secs(1)).await;
    // It changes while the first is away, and the feed is made anew.
    source.change();
    tape.put_key("ada");
    tape.lose();
    tape.put_key("somebody");
    pass(Duration::from_secs(10)).await;
    assert_eq!(other.status().feeds[0].gaps, 1, "the shared level has a mark of the new one");
    let second = lasting();
    pass(Duration::from_secs(1)).await;
    assert_eq!(text(source.ask(&second, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn a_shared_level_that_kept_a_mark_of_the_feed_before_is_cleared_by_who_begins() {
    for is_away_at_the_start in [false, true] {
        let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
        let dir = tempfile::tempdir().unwrap();
        let lasting = || disk::lasting(dir.path(), &tape).shared(Arc::new(wire.clone())).build().unwrap();
        (0..5).for_each(|_| tape.put_key("somebody"));
        let first = lasting();
        pass(Duration::from_secs(1)).await;
        assert_eq!(text(source.ask(&first, "ada").await), "v1");
        pass(Duration::from_secs(1)).await;
        wire.stop(true);
        source.change();
        tape.put_key("ada");
        tape.lose();
        tape.put_key("somebody");
        pass(Duration::from_secs(10)).await;
        drop(first);
        pass(Duration::from_secs(1)).await;
        wire.stop(is_away_at_the_start);
        let second = lasting();
        pass(Duration::from_secs(2)).await;
        wire.stop(false);
        pass(Duration::from_secs(5)).await;
        assert_eq!(text(source.ask(&second, "ada").await), "v2", "away at the start: {is_away_at_the_start}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_feed_is_not_heard_the_shared_level_tells_nothing() {
    let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
    let first = sharing(&wire, Some(&tape));
    settle().await;
    assert_eq!(text(source.ask(&first, "ada").await), "v1");
    settle().await;
    tape.stall(true);
    source.change();
    tape.put_key("ada");
    let second = sharing(&wire, Some(&tape));
    assert_eq!(text(source.ask(&second, "ada").await), "v2", "it was never heard");
    pass(Duration::from_secs(11)).await;
    assert_eq!(text(source.ask(&first, "ada").await), "v2", "it was not heard for too long");
}

#[tokio::test(start_paused = true)]
async fn a_shared_level_that_has_lost_everything_is_used_again() {
    let (wire, tape, source) = (Wire::new(), Tape::new("user.changed"), Source::new());
    tape.put_key("somebody");
    let (here, there) = (sharing(&wire, Some(&tape)), sharing(&wire, Some(&tape)));
    settle().await;
    assert_eq!(text(source.ask(&here, "ada").await), "v1");
    wire.lose();
    assert_eq!(text(source.ask(&here, "bob").await), "v1", "its marks are gone: it is not trusted");
    settle().await;
    assert_eq!(text(source.ask(&here, "cyd").await), "v1");
    settle().await;
    assert_eq!(text(source.ask(&there, "cyd").await), "v1");
    assert_eq!(source.calls(), 3, "and trusted again once it was cleared");
}

#[tokio::test(start_paused = true)]
async fn what_another_version_has_put_there_is_loaded_again_and_replaced() {
    let (wire, source) = (Wire::new(), Source::new());
    let here = sharing(&wire, None);
    assert_eq!(text(source.ask(&here, "ada").await), "v1");
    settle().await;
    source.change();
    let next = || builder().serialized("2").shared(Arc::new(wire.clone())).build().unwrap();
    let first = next();
    assert_eq!(text(source.ask(&first, "ada").await), "v2");
    let shared = &first.status().levels[1];
    assert_eq!((shared.hits, shared.misses), (0, 1));
    settle().await;
    source.set(FAILS);
    assert_eq!(text(source.ask(&next(), "ada").await), "v2", "of the same version as the one that has loaded it");
    assert_eq!(builder().shared(Arc::new(wire)).build().unwrap_err().faults.len(), 1, "it needs a form");
}
