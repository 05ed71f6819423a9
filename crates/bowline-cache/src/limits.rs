//! The bounds of caches, each with its name.

use std::time::Duration;

use crate::{Applied, Feed, Mark, PortError};

/// The longest name of a cache, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest key, encoded, in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// The largest value of a level below memory, encoded, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The most caches of one process at a time.
pub const CACHES_MAX: usize = 64;

/// The most classes of keys of one cache.
pub const CLASSES_MAX: usize = 16;

/// The most feeds that one cache follows.
pub const FEEDS_MAX: usize = 16;

/// The longest name of a feed, in bytes: that of a topic.
pub const FEED_BYTES_MAX: usize = 128;

/// The longest id of a mark, in bytes: that of a message.
pub const MARK_BYTES_MAX: usize = 256;

/// The most keys of one cache that are loaded now, or that could not be loaded just now.
pub const SLOTS_MAX: usize = 65_536;

/// The most callers of one cache that wait for loads.
pub const WAITERS_MAX: usize = 10_000;

/// The most loads of one key that run at a time: one that counts, and those that an invalidation has overtaken.
pub const RUNNING_MAX: u8 = 4;

/// The most loads of one cache that run at a time, unless its builder says another number.
pub const LOADS_MAX: usize = 256;

/// The most keys of one call to the shared level.
pub const BATCH_MAX: usize = 1000;

/// The most invalidations that wait for the shared level to come back; with more it is cleared.
pub const PENDING_MAX: usize = 10_000;

/// For how long a ticket of the shared level is good.
pub const TICKET_FOR: Duration = Duration::from_secs(30);

/// For how short and how long the shared level keeps a value.
pub const KEEP_RANGE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_hours(24 * 7));

/// The longest that a feed is asked to wait for what comes.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Checks the name of a cache: 1 to [`NAME_BYTES_MAX`] of `a-z`, `0-9` and `-`, the first a letter.
pub fn check_name(name: &str) -> Result<(), PortError> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_good = name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(is_letter);
    if is_good && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(PortError::Invalid { what: "cache", rule: "a name has 1 to 64 of a-z, 0-9 and `-`, the first is a letter" })
}

/// Checks an encoded key: 1 to [`KEY_BYTES_MAX`] bytes, whichever they are.
pub fn check_key(key: &str) -> Result<(), PortError> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(PortError::Invalid { what: "key", rule: "it has 1 to 512 bytes" })
}

/// Checks the keys of one call: at most [`BATCH_MAX`], each good.
pub fn check_batch(keys: &[String]) -> Result<(), PortError> {
    if keys.len() > BATCH_MAX {
        return Err(PortError::Invalid { what: "keys", rule: "there are at most 1,000 in one call" });
    }
    keys.iter().try_for_each(|key| check_key(key))
}

/// Checks the marks of a cache: of at most [`FEEDS_MAX`] feeds, whose names have 1 to [`FEED_BYTES_MAX`] bytes, with
/// ids of at most [`MARK_BYTES_MAX`].
pub fn check_marks(marks: &[(Feed, Mark)]) -> Result<(), PortError> {
    if marks.len() > FEEDS_MAX {
        return Err(PortError::Invalid { what: "marks", rule: "there are at most 16" });
    }
    marks.iter().try_for_each(|(feed, mark)| check_mark(feed, mark))
}

/// Checks where invalidations come from, as [`check_marks`] does.
pub fn check_applied(applied: Option<&Applied>) -> Result<(), PortError> {
    let Some(Applied { feed, after, upto }) = applied else { return Ok(()) };
    check_mark(feed, after)?;
    check_mark(feed, upto)
}

fn check_mark(feed: &str, mark: &Mark) -> Result<(), PortError> {
    if !(1..=FEED_BYTES_MAX).contains(&feed.len()) {
        return Err(PortError::Invalid { what: "feed", rule: "its name has 1 to 128 bytes" });
    }
    if mark.id.len() > MARK_BYTES_MAX {
        return Err(PortError::Invalid { what: "mark", rule: "its id has at most 256 bytes" });
    }
    Ok(())
}

/// Checks an encoded value: at most [`VALUE_BYTES_MAX`].
pub fn check_value(value: &[u8]) -> Result<(), PortError> {
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(PortError::Invalid { what: "value", rule: "it has at most 1 MiB" })
}

/// Checks for how long a value is to be kept: [`KEEP_RANGE`].
pub fn check_keep(keep: Duration) -> Result<(), PortError> {
    let (min, max) = KEEP_RANGE;
    if (min..=max).contains(&keep) {
        return Ok(());
    }
    Err(PortError::Invalid { what: "keep", rule: "it is 1 ms to 7 days" })
}
