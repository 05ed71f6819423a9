//! The limits of the port: every provider refuses what exceeds them, before it does anything.

use std::time::Duration;

use crate::{
    Error,
    port::{GroupSettings, NewMessage, Then, TopicSettings},
};

/// The longest name of a topic or a group, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The longest id and the longest ordering key of a message, in bytes.
pub const ID_BYTES_MAX: usize = 256;

/// The most headers of a message.
pub const HEADERS_MAX: usize = 64;

/// The most bytes of a message's headers, names and values together.
pub const HEADERS_BYTES_MAX: usize = 16 * 1024;

/// The largest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// The longest that a message is delayed, before its first try or after one, and the longest until it expires.
pub const DELAY_MAX: Duration = Duration::from_hours(24 * 365);

/// The most messages that one consumer works on at a time.
pub const CREDIT_MAX: usize = 4096;

/// The shortest and the longest lease of a message.
pub const LEASE_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_hours(12));

/// The most tries of a message, and the longest between two of them.
pub const ATTEMPTS_MAX: u32 = 1000;
/// The longest between two tries.
pub const BACKOFF_MAX: Duration = Duration::from_hours(24);

/// The smallest and the largest bound on a topic's bytes.
pub const TOPIC_BYTES_RANGE: (u64, u64) = bowline_model::messages::BUS_BYTES_RANGE;

/// The most messages, and dead letters, of one page.
pub const PAGE_MAX: usize = 1000;

/// The longest that is waited for what comes to a topic.
pub const TAIL_WAIT_MAX: Duration = Duration::from_secs(30);

/// About the most bytes of one page; it has one item at least.
pub const PAGE_BYTES_MAX: usize = 8 << 20;

/// The most messages of one topic that are delayed at a time.
pub const DELAYED_MAX: usize = 1_000_000;

/// How the ids of messages begin that were dead letters.
pub(crate) const REDRIVEN: &str = "redrive/";

/// Checks the name of a topic or a group: 1 to [`NAME_BYTES_MAX`] of `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`, not
/// beginning with a dot.
pub fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_good = !name.starts_with('.') && !name.is_empty() && name.bytes().all(is_letter);
    if is_good && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::Invalid {
        what,
        rule: "a name has 1 to 128 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, the first is no dot",
    })
}

/// Checks a message against every limit.
pub fn check_message(message: &NewMessage) -> Result<(), Error> {
    let NewMessage { id, key, headers, payload, delay, expires_in } = message;
    let invalid = |what, rule| Err(Error::Invalid { what, rule });
    if id.as_ref().is_some_and(|id| id.starts_with(REDRIVEN)) {
        return invalid("id", "those that begin with `redrive/` are Bowline's own");
    }
    let is_text = |text: &String| (1..=ID_BYTES_MAX).contains(&text.len()) && !text.contains(['\0', '\r', '\n']);
    if !id.as_ref().is_none_or(is_text) {
        return invalid("id", "it has 1 to 256 bytes, and no line breaks");
    }
    if !key.as_ref().is_none_or(is_text) {
        return invalid("key", "it has 1 to 256 bytes, and no line breaks");
    }
    if headers.len() > HEADERS_MAX
        || headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > HEADERS_BYTES_MAX
    {
        return invalid("headers", "there are at most 64, with at most 16 KiB together");
    }
    let is_header = |(name, value): &(String, String)| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
            && !value.contains(['\0', '\r', '\n'])
    };
    if !headers.iter().all(is_header) {
        return invalid("headers", "names are printable ASCII without `:`, values have no line breaks");
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        return invalid("payload", "it has at most 1 MiB");
    }
    if *delay > DELAY_MAX {
        return invalid("delay", "it is at most 365 days");
    }
    if expires_in.is_some_and(|expires| expires > DELAY_MAX) {
        return invalid("expires_in", "it is at most 365 days");
    }
    Ok(())
}

/// Checks how a topic is kept.
pub fn check_topic(settings: &TopicSettings) -> Result<(), Error> {
    let (min, max) = TOPIC_BYTES_RANGE;
    if !(min..=max).contains(&settings.bytes_max) {
        return Err(Error::Invalid { what: "bytes_max", rule: "it is 4 MiB to 1 TiB" });
    }
    Ok(())
}

/// Checks how many messages a consumer is to have at a time: 1 to [`CREDIT_MAX`].
pub fn check_credit(credit: usize) -> Result<(), Error> {
    if (1..=CREDIT_MAX).contains(&credit) {
        return Ok(());
    }
    Err(Error::Invalid { what: "credit", rule: "it is 1 to 4,096" })
}

/// Checks for how long a message is to be a consumer's: [`LEASE_RANGE`].
pub fn check_lease(lease: Duration) -> Result<(), Error> {
    let (min, max) = LEASE_RANGE;
    if (min..=max).contains(&lease) {
        return Ok(());
    }
    Err(Error::Invalid { what: "lease", rule: "it is 100 ms to 12 h" })
}

/// Checks what is to become of a message: at most [`DELAY_MAX`] goes by until it is tried again.
pub fn check_then(then: Then) -> Result<(), Error> {
    match then {
        Then::After(wait) if wait > DELAY_MAX => Err(Error::Invalid { what: "after", rule: "it is at most 365 days" }),
        Then::After(_) | Then::Retry | Then::Dead => Ok(()),
    }
}

/// Checks how a group is served.
pub fn check_group(settings: &GroupSettings) -> Result<(), Error> {
    let invalid = |what, rule| Err(Error::Invalid { what, rule });
    check_lease(settings.lease)?;
    if !(1..=ATTEMPTS_MAX).contains(&settings.attempts_max) {
        return invalid("attempts_max", "it is 1 to 1,000");
    }
    if settings.backoff > settings.backoff_max || settings.backoff_max > BACKOFF_MAX {
        return invalid("backoff", "it is at most `backoff_max`, which is at most 24 h");
    }
    Ok(())
}
