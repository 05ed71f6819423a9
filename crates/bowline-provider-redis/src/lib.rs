//! Redis as a provider of the `SharedCache` port.
//!
//! Each call is one script, hence one round trip and atomic. All keys of one cache have one hash tag. One server is
//! used, or what stands for one: Sentinel or a proxy behind one address. A cluster works where the cache's slot is on
//! the server that is named.
//!
//! It may lose what it has at any time: by a restart, a failover, `maxmemory`, `FLUSHALL`. What went back goes back
//! with its marks, which is how the port finds it out.

mod link;
mod scripts;
mod settings;

use std::{fmt, sync::Arc, time::Duration};

use bowline_cache::{
    Applied, Feed, Found, Got, Mark, Outcome, PortError, SharedCache, TICKET_FOR, Ticket, check_applied, check_batch,
    check_keep, check_key, check_marks, check_name, check_value,
};
use bowline_runtime::{BoxFuture, rand};
use bytes::Bytes;

pub use settings::Settings;

use crate::{
    link::Link,
    scripts::{META_MS, Scripts},
};

/// What marks are called in a cache's hash, before the name of their feed.
const MARK: &str = "mark:";

/// How many digits a position has there, so that texts compare as numbers do.
const DIGITS: usize = 20;

/// Caches in Redis. Cheap to clone; it connects when it is used.
#[derive(Clone)]
pub struct RedisCache(Arc<Shared>);

struct Shared {
    link: Link,
    scripts: Scripts,
    prefix: String,
}

/// How the names of one cache begin.
struct Names {
    meta: String,
    entries: String,
}

impl RedisCache {
    /// Caches there. Nobody connects before the first call, so a Redis that is away is no error.
    ///
    /// # Errors
    /// [`PortError::Invalid`] where the settings cannot be.
    pub fn new(settings: &Settings) -> Result<Self, PortError> {
        if settings.prefix.is_empty() || settings.prefix.contains(['{', '}']) {
            return Err(PortError::Invalid { what: "prefix", rule: "it is not empty, and has no braces" });
        }
        let link = Link::new(settings)?;
        Ok(Self(Arc::new(Shared { link, scripts: Scripts::new(), prefix: settings.prefix.clone() })))
    }
}

impl Shared {
    fn names(&self, cache: &str) -> Result<Names, PortError> {
        check_name(cache)?;
        let tag = format!("{{{}:{cache}}}:", self.prefix);
        Ok(Names { meta: format!("{tag}meta"), entries: tag })
    }

    async fn get(&self, cache: &str, key: &str) -> Result<Got, PortError> {
        let names = self.names(cache)?;
        check_key(key)?;
        let mut call = self.scripts.get.key(names.meta);
        call.arg(names.entries).arg(key).arg(hex(rand::u64())).arg(hex(rand::u64()));
        call.arg(millis(TICKET_FOR)).arg(META_MS);
        let (found, left, fields): (Vec<u8>, i64, Vec<(String, String)>) = self.link.call("get", &call).await?;
        Ok(Got { found: read_found(found, left)?, marks: fields.iter().filter_map(read_field).collect() })
    }

    async fn fill(
        &self,
        cache: &str,
        key: &str,
        ticket: Ticket,
        value: Bytes,
        keep: Duration,
    ) -> Result<bool, PortError> {
        let names = self.names(cache)?;
        check_key(key)?;
        check_value(&value)?;
        check_keep(keep)?;
        let mut call = self.scripts.fill.key(names.meta);
        call.arg(names.entries).arg(key).arg(hex(ticket.0)).arg(&value[..]).arg(millis(keep)).arg(META_MS);
        self.link.call("fill", &call).await
    }

    async fn invalidate(&self, cache: &str, keys: &[String], applied: Option<Applied>) -> Result<Outcome, PortError> {
        let names = self.names(cache)?;
        check_batch(keys)?;
        check_applied(applied.as_ref())?;
        let [feed, after, upto] = match &applied {
            Some(Applied { feed, after, upto }) => [format!("{MARK}{feed}"), mark_text(after), mark_text(upto)],
            None => [const { String::new() }; 3],
        };
        let mut call = self.scripts.invalidate.key(names.meta);
        call.arg(names.entries).arg(feed).arg(after).arg(upto).arg(keys);
        let (outcome, mark): (i64, Option<String>) = self.link.call("invalidate", &call).await?;
        match outcome {
            0 => Ok(Outcome::Done),
            1 => Ok(Outcome::AlreadyDone),
            2 => Ok(Outcome::Behind(mark.as_deref().and_then(read_mark))),
            _ => Err(makes_no_sense()),
        }
    }

    async fn clear(&self, cache: &str, marks: &[(Feed, Mark)]) -> Result<(), PortError> {
        let names = self.names(cache)?;
        check_marks(marks)?;
        let mut call = self.scripts.clear.key(names.meta);
        call.arg(META_MS).arg(hex(rand::u64()));
        for (feed, mark) in marks {
            call.arg(format!("{MARK}{feed}")).arg(mark_text(mark));
        }
        self.link.call::<i64>("clear", &call).await.map(|_| ())
    }
}

impl SharedCache for RedisCache {
    fn get<'a>(&'a self, cache: &'a str, key: &'a str) -> BoxFuture<'a, Result<Got, PortError>> {
        Box::pin(self.0.get(cache, key))
    }

    fn fill<'a>(
        &'a self,
        cache: &'a str,
        key: &'a str,
        ticket: Ticket,
        value: Bytes,
        keep: Duration,
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(self.0.fill(cache, key, ticket, value, keep))
    }

    fn invalidate<'a>(
        &'a self,
        cache: &'a str,
        keys: &'a [String],
        applied: Option<Applied>,
    ) -> BoxFuture<'a, Result<Outcome, PortError>> {
        Box::pin(self.0.invalidate(cache, keys, applied))
    }

    fn clear<'a>(&'a self, cache: &'a str, marks: &'a [(Feed, Mark)]) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(self.0.clear(cache, marks))
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

fn read_found(found: Vec<u8>, left: i64) -> Result<Found, PortError> {
    match found.split_first() {
        Some((1, _)) => {
            // It ends between two commands of the script at the worst.
            let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
            Ok(Found::Hit { value: Bytes::from(found).slice(1..), left })
        }
        Some((0, ticket)) => {
            let ticket = str::from_utf8(ticket).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
            ticket.map(|ticket| Found::Empty(Ticket(ticket))).ok_or_else(makes_no_sense)
        }
        _ => Err(makes_no_sense()),
    }
}

fn read_field((field, text): &(String, String)) -> Option<(Feed, Mark)> {
    Some((field.strip_prefix(MARK)?.to_owned(), read_mark(text)?))
}

fn mark_text(mark: &Mark) -> String {
    format!("{:0DIGITS$} {}", mark.position, mark.id)
}

fn read_mark(text: &str) -> Option<Mark> {
    let (position, id) = text.split_once(' ')?;
    Some(Mark { position: position.parse().ok()?, id: id.to_owned() })
}

fn makes_no_sense() -> PortError {
    PortError::unavailable("what is in Redis there was not written by this release of Bowline")
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
