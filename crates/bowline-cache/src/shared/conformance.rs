//! The suite that every provider of the shared level passes.
//!
//! A provider's test calls [`all`], and [`a_ticket_ends`], which says how half a minute passes. The suite
//! makes caches of its own; it panics where the port's promise is broken.

use std::{sync::Arc, time::Duration};

use bowline_runtime::{BoxFuture, rand, task, time};
use bytes::Bytes;

use super::{Applied, Feed, Found, Outcome, SharedCache, Ticket};
use crate::{
    BATCH_MAX, FEED_BYTES_MAX, FEEDS_MAX, KEEP_RANGE, KEY_BYTES_MAX, MARK_BYTES_MAX, Mark, PortError, VALUE_BYTES_MAX,
};

/// A provider.
type Provider = Arc<dyn SharedCache>;

const KEEP: Duration = Duration::from_mins(1);
const FEED: &str = "user.changed";

/// Everything that takes no long time, one after the other.
pub async fn all(provider: Provider) {
    let provider = &provider;
    limits_are_refused(provider).await;
    a_miss_has_a_ticket_that_fills_once(provider).await;
    those_who_miss_share_a_ticket(provider).await;
    an_invalidation_ends_the_ticket_and_the_value(provider).await;
    a_value_ends_after_its_time(provider).await;
    an_invalidation_of_a_feed_is_applied_once(provider).await;
    a_level_that_went_back_is_behind(provider).await;
    clearing_empties_one_cache_and_sets_its_marks(provider).await;
    keys_and_values_may_be_any_bytes(provider).await;
    many_callers_at_once_fill_once(provider).await;
}

/// What exceeds a limit is refused, and nothing happens.
pub async fn limits_are_refused(provider: &Provider) {
    let cache = name();
    let is_invalid = |error: PortError| matches!(error, PortError::Invalid { .. });
    for bad in ["", "Users", "a/b", &"a".repeat(65)] {
        assert!(is_invalid(provider.get(bad, "k").await.expect_err("a bad name")), "{bad:?}");
    }
    for bad in ["", &"k".repeat(KEY_BYTES_MAX + 1)] {
        assert!(is_invalid(provider.get(&cache, bad).await.expect_err("a bad key")));
        assert!(is_invalid(provider.invalidate(&cache, &[bad.to_owned()], None).await.expect_err("a bad key")));
    }
    let ticket = ticket(provider, &cache, "k").await;
    let large = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    assert!(is_invalid(provider.fill(&cache, "k", ticket, large, KEEP).await.expect_err("a value too large")));
    for keep in [Duration::ZERO, KEEP_RANGE.1 + Duration::from_secs(1)] {
        assert!(is_invalid(provider.fill(&cache, "k", ticket, Bytes::new(), keep).await.expect_err("a bad time")));
    }
    let many = vec!["k".to_owned(); BATCH_MAX + 1];
    assert!(is_invalid(provider.invalidate(&cache, &many, None).await.expect_err("too many keys")));
    let feed = |at: usize| (format!("f{at}"), mark(1));
    let (long_feed, long_id) = ("f".repeat(FEED_BYTES_MAX + 1), "i".repeat(MARK_BYTES_MAX + 1));
    let long_mark = Mark { position: 1, id: long_id };
    let bad_marks: [Vec<(Feed, Mark)>; 4] = [
        (0..=FEEDS_MAX).map(feed).collect(),
        vec![(String::new(), mark(1))],
        vec![(long_feed.clone(), mark(1))],
        vec![feed(0), ("g".to_owned(), long_mark.clone())],
    ];
    for bad in &bad_marks {
        assert!(is_invalid(provider.clear(&cache, bad).await.expect_err("bad marks")), "{bad:?}");
    }
    for (feed, upto) in [(long_feed, mark(1)), (FEED.to_owned(), long_mark)] {
        let applied = Some(Applied { feed, after: mark(0), upto });
        assert!(is_invalid(provider.invalidate(&cache, &[], applied).await.expect_err("a bad mark")));
    }
    assert!(fill(provider, &cache, "k", ticket, "v").await, "the ticket is still good");
}

/// A miss gives a ticket, with which the value is put, once.
pub async fn a_miss_has_a_ticket_that_fills_once(provider: &Provider) {
    let cache = name();
    let ticket = ticket(provider, &cache, "k").await;
    assert!(!fill(provider, &cache, "k", Ticket(ticket.0 ^ 1), "x").await, "another ticket");
    assert!(!fill(provider, &cache, "other", ticket, "x").await, "another key");
    assert!(fill(provider, &cache, "k", ticket, "v").await);
    assert_eq!(hit(provider, &cache, "k").await.as_deref(), Some("v"));
    assert!(!fill(provider, &cache, "k", ticket, "w").await);
    assert_eq!(hit(provider, &cache, "k").await.as_deref(), Some("v"));
}

/// Whoever misses before it is filled gets the ticket of the first.
pub async fn those_who_miss_share_a_ticket(provider: &Provider) {
    let cache = name();
    let (one, other) = (ticket(provider, &cache, "k").await, ticket(provider, &cache, "k").await);
    assert_eq!(one, other);
    assert_ne!(one, ticket(provider, &cache, "l").await);
    assert!(fill(provider, &cache, "k", one, "v").await);
    assert!(!fill(provider, &cache, "k", other, "w").await);
}

/// Who began to load before an invalidation may not fill after it.
pub async fn an_invalidation_ends_the_ticket_and_the_value(provider: &Provider) {
    let cache = name();
    let before = ticket(provider, &cache, "k").await;
    assert_eq!(invalidate(provider, &cache, &["k", "never-seen"], None).await, Outcome::Done);
    assert!(!fill(provider, &cache, "k", before, "old").await, "nobody has asked since");
    let after = ticket(provider, &cache, "k").await;
    assert_ne!(before, after);
    assert!(!fill(provider, &cache, "k", before, "old").await, "the slot has another ticket");
    assert!(fill(provider, &cache, "k", after, "new").await);
    assert_eq!(invalidate(provider, &cache, &["k"], None).await, Outcome::Done);
    assert_eq!(hit(provider, &cache, "k").await, None);
}

/// A value is kept for its time.
pub async fn a_value_ends_after_its_time(provider: &Provider) {
    let cache = name();
    let ticket = ticket(provider, &cache, "k").await;
    let value = || Bytes::from_static(b"v");
    let keep = Duration::from_secs(5);
    assert!(provider.fill(&cache, "k", ticket, value(), keep).await.expect("fills"));
    let left = async || match provider.get(&cache, "k").await.expect("gets").found {
        Found::Hit { left, .. } => Some(left),
        Found::Empty(_) => None,
    };
    let first = left().await.expect("it is there");
    assert!(first <= keep && first > Duration::from_secs(1), "{first:?}");
    time::sleep(Duration::from_millis(200)).await;
    let second = left().await.expect("it is there");
    assert!(second < first, "{second:?}");
    time::sleep(keep).await;
    assert_eq!(left().await, None);
}

/// A ticket is good for half a minute; `is_over` lets that pass for the tickets of a cache.
pub async fn a_ticket_ends(provider: &Provider, is_over: impl AsyncFnOnce(&str)) {
    let cache = name();
    let before = ticket(provider, &cache, "k").await;
    is_over(&cache).await;
    assert!(!fill(provider, &cache, "k", before, "v").await);
    assert_ne!(ticket(provider, &cache, "k").await, before);
}

/// Of two who apply the same piece of a feed, the first does.
pub async fn an_invalidation_of_a_feed_is_applied_once(provider: &Provider) {
    let cache = name();
    assert_eq!(invalidate(provider, &cache, &["k"], applied(3, 5)).await, Outcome::Behind(None), "it has no mark");
    provider.clear(&cache, &[(FEED.to_owned(), mark(3))]).await.expect("clears");
    let old = ticket(provider, &cache, "k").await;
    assert!(fill(provider, &cache, "k", old, "old").await);
    assert_eq!(invalidate(provider, &cache, &["k"], applied(3, 5)).await, Outcome::Done);
    let new = ticket(provider, &cache, "k").await;
    assert!(fill(provider, &cache, "k", new, "new").await);
    for late in [applied(3, 5), applied(3, 4), applied(4, 5)] {
        assert_eq!(invalidate(provider, &cache, &["k"], late).await, Outcome::AlreadyDone);
    }
    assert_eq!(hit(provider, &cache, "k").await.as_deref(), Some("new"), "what was loaded since stays");
    assert_eq!(marks(provider, &cache).await, [(FEED.to_owned(), mark(5))]);
    assert_eq!(invalidate(provider, &cache, &["k"], applied(4, 7)).await, Outcome::Done, "a part of it is new");
    assert_eq!(hit(provider, &cache, "k").await, None);
    let anew = |position| Mark { position, id: "of-another".to_owned() };
    for (after, upto) in [(anew(7), anew(8)), (mark(6), anew(7)), (anew(6), anew(7))] {
        let applied = Some(Applied { feed: FEED.to_owned(), after, upto });
        let outcome = invalidate(provider, &cache, &["k"], applied).await;
        assert_eq!(outcome, Outcome::Behind(Some(mark(7))), "another feed of that name");
    }
    let unknown = Mark { position: 7, id: String::new() };
    let applied = Some(Applied { feed: FEED.to_owned(), after: unknown, upto: mark(8) });
    assert_eq!(invalidate(provider, &cache, &["k"], applied).await, Outcome::Done, "an id that is not known is any");
    let other = Applied { feed: "other".to_owned(), after: mark(0), upto: mark(1) };
    assert_eq!(invalidate(provider, &cache, &[], Some(other)).await, Outcome::Behind(None), "each feed has its own");
}

/// Where invalidations before these are missing, nothing is done, and it says up to where they are not.
pub async fn a_level_that_went_back_is_behind(provider: &Provider) {
    let cache = name();
    provider.clear(&cache, &[(FEED.to_owned(), mark(3))]).await.expect("clears");
    let ticket = ticket(provider, &cache, "k").await;
    assert_eq!(invalidate(provider, &cache, &["k"], applied(4, 5)).await, Outcome::Behind(Some(mark(3))));
    assert!(fill(provider, &cache, "k", ticket, "v").await, "nothing was done");
    // How a process asks for the mark.
    let end = (1 << 53) - 1;
    assert_eq!(invalidate(provider, &cache, &[], applied(end, end)).await, Outcome::Behind(Some(mark(3))));
    assert_eq!(marks(provider, &cache).await, [(FEED.to_owned(), mark(3))]);
}

/// Clearing takes values, tickets and marks of one cache, and gives it new marks.
pub async fn clearing_empties_one_cache_and_sets_its_marks(provider: &Provider) {
    let (cache, other) = (name(), name());
    for cache in [&cache, &other] {
        let ticket = ticket(provider, cache, "k").await;
        assert!(fill(provider, cache, "k", ticket, "v").await);
        provider.invalidate(cache, &[], applied(0, 1)).await.expect("answers");
    }
    let before = ticket(provider, &cache, "l").await;
    let marks_new = [("a".to_owned(), mark(7)), ("b".to_owned(), mark(9))];
    provider.clear(&cache, &marks_new).await.expect("clears");
    assert_eq!(hit(provider, &cache, "k").await, None);
    assert!(!fill(provider, &cache, "l", before, "v").await, "tickets are gone, too");
    assert_eq!(marks(provider, &cache).await, marks_new);
    assert_eq!(hit(provider, &other, "k").await.as_deref(), Some("v"), "caches do not see each other");
    provider.clear(&cache, &[]).await.expect("clears");
    assert_eq!(marks(provider, &cache).await, []);
}

/// Nothing is special in a key or a value.
pub async fn keys_and_values_may_be_any_bytes(provider: &Provider) {
    let cache = name();
    let long = "k".repeat(KEY_BYTES_MAX);
    let keys = ["a b", "a/b?c=d#e&f", "ä→🦀", "{x}:y*", "../..", "%41", "\n\r\0\t\"'\\", &long];
    for (at, key) in keys.iter().enumerate() {
        let ticket = ticket(provider, &cache, key).await;
        assert!(fill(provider, &cache, key, ticket, &at.to_string()).await, "{key:?}");
    }
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(hit(provider, &cache, key).await.as_deref(), Some(at.to_string().as_str()), "{key:?}");
    }
    let all: Vec<u8> = (0..=255).collect();
    for value in [Bytes::new(), Bytes::from(all), Bytes::from(vec![255; VALUE_BYTES_MAX])] {
        invalidate(provider, &cache, &["v"], None).await;
        let ticket = ticket(provider, &cache, "v").await;
        assert!(provider.fill(&cache, "v", ticket, value.clone(), KEEP).await.expect("fills"));
        let Found::Hit { value: found, .. } = provider.get(&cache, "v").await.expect("gets").found else {
            panic!("a value of {} bytes is there", value.len())
        };
        assert!(found == value, "{} bytes come back as they were", value.len());
    }
}

/// Of many who load at once, one fills.
pub async fn many_callers_at_once_fill_once(provider: &Provider) {
    let cache = name();
    let mut callers = Vec::new();
    for at in 0..64 {
        let (provider, cache) = (Arc::clone(provider), cache.clone());
        callers.push(task::spawn(async move {
            match provider.get(&cache, "k").await.expect("gets").found {
                Found::Empty(ticket) => fill(&provider, &cache, "k", ticket, &at.to_string()).await,
                Found::Hit { .. } => false,
            }
        }));
    }
    let mut filled = 0;
    for caller in callers {
        filled += u32::from(caller.await.expect("no caller panics"));
    }
    assert_eq!(filled, 1);
    assert!(hit(provider, &cache, "k").await.is_some());
}

/// After a restart it is empty, or has everything: never the mark of an invalidation without what that removed.
pub async fn a_restart_leaves_it_empty_or_whole(
    provider: Provider,
    restart: impl FnOnce(Provider) -> BoxFuture<'static, Provider>,
) {
    let cache = name();
    provider.clear(&cache, &[(FEED.to_owned(), mark(3))]).await.expect("clears");
    for key in ["kept", "removed"] {
        let ticket = ticket(&provider, &cache, key).await;
        assert!(fill(&provider, &cache, key, ticket, "v").await);
    }
    assert_eq!(invalidate(&provider, &cache, &["removed"], applied(3, 4)).await, Outcome::Done);
    let provider = restart(provider).await;
    let is_removed = hit(&provider, &cache, "removed").await.is_none();
    let marks = marks(&provider, &cache).await;
    assert!(is_removed || !marks.contains(&(FEED.to_owned(), mark(4))), "{marks:?}");
}

/// A cache of this test alone.
fn name() -> String {
    format!("c{:016x}", rand::u64())
}

fn mark(position: u64) -> Mark {
    Mark { position, id: format!("id-{position}") }
}

#[expect(clippy::unnecessary_wraps, reason = "so it is written at every call")]
fn applied(after: u64, upto: u64) -> Option<Applied> {
    Some(Applied { feed: FEED.to_owned(), after: mark(after), upto: mark(upto) })
}

async fn ticket(provider: &Provider, cache: &str, key: &str) -> Ticket {
    match provider.get(cache, key).await.expect("gets").found {
        Found::Empty(ticket) => ticket,
        Found::Hit { .. } => panic!("{key:?} is not there yet"),
    }
}

async fn hit(provider: &Provider, cache: &str, key: &str) -> Option<String> {
    match provider.get(cache, key).await.expect("gets").found {
        Found::Hit { value, .. } => Some(String::from_utf8(value.to_vec()).expect("it was a text")),
        Found::Empty(_) => None,
    }
}

async fn fill(provider: &Provider, cache: &str, key: &str, ticket: Ticket, value: &str) -> bool {
    let value = Bytes::from(value.to_owned());
    provider.fill(cache, key, ticket, value, KEEP).await.expect("fills or refuses")
}

async fn invalidate(provider: &Provider, cache: &str, keys: &[&str], applied: Option<Applied>) -> Outcome {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    provider.invalidate(cache, &keys, applied).await.expect("invalidates")
}

async fn marks(provider: &Provider, cache: &str) -> Vec<(String, Mark)> {
    let mut marks = provider.get(cache, "any").await.expect("gets").marks;
    marks.sort_by(|one, other| one.0.cmp(&other.0));
    marks
}
