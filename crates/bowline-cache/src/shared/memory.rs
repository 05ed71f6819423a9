//! The shared level in the memory of a server: what it has is lost with its process, which is a cache's right.
//!
//! Whoever only asks leaves nothing behind that is not bounded: a cache of that name begins when something is put
//! there, or invalidated.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_runtime::{
    BoxFuture,
    metric::{Counter, Gauge, Registry},
    rand,
    time::coarse,
};
use bytes::Bytes;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter, sync};

use super::{
    Applied, Feed, Found, Got, Outcome, SharedCache, Ticket,
    slot::{Answer, Judged, Slot, judge},
};
use crate::{
    Mark, PortError, TICKET_FOR, VALUE_BYTES_MAX, check_applied, check_batch, check_keep, check_key, check_marks,
    check_name, check_value,
    memory::{ENTRY_BYTES, options},
    slot::Ms,
    windows::ms,
};

/// The most caches of one server.
pub const SHARED_CACHES_MAX: usize = 256;

/// For so long tickets of caches that have not begun are called alike; each is good for that long at least, and for
/// [`TICKET_FOR`] at most.
const FIRST_TICKETS_FOR: Duration = TICKET_FOR.checked_div(2).expect("two is not zero");

/// About an entry's bytes, for a first guess at how many there will be.
const ENTRY_BYTES_USUAL: u64 = 1024;

/// Entries of all caches, bounded by their bytes together. Cheap to clone.
#[derive(Clone)]
pub struct Memory(Arc<Inside>);

struct Inside {
    entries: sync::Cache<Name, Slot<Bytes>, Weights, DefaultHashBuilder, Evictions>,
    caches: Mutex<BTreeMap<String, Arc<Mutex<Named>>>>,
    /// What tickets of caches that have not begun are made of.
    seed: u64,
    entries_count: Gauge,
    bytes: Gauge,
    refused: Counter,
}

/// What is known of one cache; who holds it may change its entries.
struct Named {
    /// Entries of another run are not its any more.
    run: u64,
    marks: BTreeMap<Feed, Mark>,
    /// Whether nothing was invalidated since it began: tickets from before are still good.
    is_first: bool,
}

/// The run of a cache and a key.
type Name = (u64, Box<str>);

#[derive(Clone)]
struct Weights;

#[derive(Clone)]
struct Evictions(Counter);

impl Memory {
    /// For so many bytes in all, at least 32 MiB.
    pub fn new(bytes_max: u64, registry: &Registry) -> Self {
        let evictions = registry.counter(
            "bowline_shared_cache_evictions_total",
            "Entries of the shared level that made room for others.",
            &[],
        );
        let bytes_max = bytes_max.max(32 << 20);
        let options = options(bytes_max, VALUE_BYTES_MAX as u64, ENTRY_BYTES_USUAL);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        Self(Arc::new(Inside {
            entries: sync::Cache::with_options(options, Weights, DefaultHashBuilder::default(), Evictions(evictions)),
            caches: Mutex::default(),
            seed: rand::u64(),
            entries_count: gauge("bowline_shared_cache_entries", "Entries that the shared level holds."),
            bytes: gauge("bowline_shared_cache_bytes", "Bytes that the shared level holds."),
            refused: registry.counter(
                "bowline_shared_cache_refused_total",
                "Values that came after an invalidation, or too late.",
                &[],
            ),
        }))
    }
}

impl Inside {
    /// A cache that has begun.
    fn known(&self, cache: &str) -> Result<Option<Arc<Mutex<Named>>>, PortError> {
        check_name(cache)?;
        let caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        match caches.get(cache) {
            None if caches.len() >= SHARED_CACHES_MAX => Err(too_many()),
            known => Ok(known.map(Arc::clone)),
        }
    }

    /// A cache, which begins where it has not.
    fn named(&self, cache: &str) -> Result<Arc<Mutex<Named>>, PortError> {
        check_name(cache)?;
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = caches.get(cache) {
            return Ok(Arc::clone(named));
        }
        if caches.len() >= SHARED_CACHES_MAX {
            return Err(too_many());
        }
        let named = Named { run: rand::u64(), marks: BTreeMap::new(), is_first: true };
        Ok(Arc::clone(caches.entry(cache.to_owned()).or_insert(Arc::new(Mutex::new(named)))))
    }

    /// Works on a cache that nobody else works on meanwhile.
    fn with<T>(&self, cache: &str, work: impl FnOnce(&mut Named) -> T) -> Result<T, PortError> {
        let named = self.named(cache)?;
        let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(work(&mut named))
    }

    /// What slots of a cache are called that has not begun: nothing is kept of them.
    fn first_ticket(&self, cache: &str, key: &str, now: Ms, ago: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        let window = (now / ms(FIRST_TICKETS_FOR)).saturating_sub(ago);
        (self.seed, window, cache, key).hash(&mut hasher);
        hasher.finish()
    }

    fn is_first_ticket(&self, cache: &str, key: &str, now: Ms, ticket: u64) -> bool {
        [0, 1].iter().any(|ago| self.first_ticket(cache, key, now, *ago) == ticket)
    }

    fn slot(&self, name: &Name) -> Slot<Bytes> {
        self.entries.get(name).unwrap_or(Slot::Absent)
    }

    fn put(&self, name: Name, slot: Slot<Bytes>) {
        self.entries.insert(name, slot);
        self.measure();
    }

    fn measure(&self) {
        self.entries_count.set(i64::try_from(self.entries.len()).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(self.entries.weight()).unwrap_or(i64::MAX));
    }

    fn get(&self, cache: &str, key: &str) -> Result<Got, PortError> {
        check_key(key)?;
        if self.known(cache)?.is_none() {
            let ticket = self.first_ticket(cache, key, coarse(), 0);
            return Ok(Got { found: Found::Empty(Ticket(ticket)), marks: Vec::new() });
        }
        self.with(cache, |named| {
            let name = (named.run, key.into());
            let before = self.slot(&name);
            let is_absent = |slot: &Slot<Bytes>| !matches!(slot, Slot::Full { .. });
            let (slot, answer) = before.clone().get(coarse(), rand::u64(), ms(TICKET_FOR));
            if is_absent(&slot) && slot != before {
                self.put(name, slot);
            }
            let found = match answer {
                Answer::Hit { value, left } => Found::Hit { value, left: Duration::from_millis(left) },
                Answer::Ticket(ticket) => Found::Empty(Ticket(ticket)),
            };
            let marks = named.marks.iter().map(|(feed, mark)| (feed.clone(), mark.clone())).collect();
            Got { found, marks }
        })
    }

    fn fill(&self, cache: &str, key: &str, ticket: Ticket, value: Bytes, keep: Duration) -> Result<bool, PortError> {
        check_key(key)?;
        check_value(&value)?;
        check_keep(keep)?;
        let now: Ms = coarse();
        let is_first = self.is_first_ticket(cache, key, now, ticket.0);
        if !is_first && self.known(cache)?.is_none() {
            self.refused.increment();
            return Ok(false);
        }
        self.with(cache, |named| {
            let name = (named.run, key.into());
            let before = match self.slot(&name).at(now) {
                Slot::Absent if is_first && named.is_first => Slot::Empty { ticket: ticket.0, until: Ms::MAX },
                other => other,
            };
            let (slot, is_filled) = before.fill(now, ticket.0, value, now.saturating_add(ms(keep)));
            if is_filled {
                self.put(name, slot);
            } else {
                self.refused.increment();
            }
            is_filled
        })
    }

    fn invalidate(&self, cache: &str, keys: &[String], applied: Option<Applied>) -> Result<Outcome, PortError> {
        check_batch(keys)?;
        check_applied(applied.as_ref())?;
        self.with(cache, |named| {
            named.is_first = false;
            if let Some(Applied { feed, after, upto }) = applied {
                let mark = named.marks.get(&feed).cloned();
                match judge(mark.as_ref(), &after, &upto) {
                    Judged::Known => return Outcome::AlreadyDone,
                    Judged::Missing => return Outcome::Behind(mark),
                    Judged::Next => _ = named.marks.insert(feed, upto),
                }
            }
            for key in keys {
                drop(self.entries.remove(&(named.run, key.as_str().into())));
            }
            self.measure();
            Outcome::Done
        })
    }

    fn clear(&self, cache: &str, marks: &[(Feed, Mark)]) -> Result<(), PortError> {
        check_marks(marks)?;
        self.with(cache, |named| {
            let before = named.run;
            *named = Named { run: rand::u64(), marks: marks.iter().cloned().collect(), is_first: false };
            self.entries.retain(|(run, _), _| *run != before);
            self.measure();
        })
    }
}

impl SharedCache for Memory {
    fn get<'a>(&'a self, cache: &'a str, key: &'a str) -> BoxFuture<'a, Result<Got, PortError>> {
        ready(self.0.get(cache, key))
    }

    fn fill<'a>(
        &'a self,
        cache: &'a str,
        key: &'a str,
        ticket: Ticket,
        value: Bytes,
        keep: Duration,
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        ready(self.0.fill(cache, key, ticket, value, keep))
    }

    fn invalidate<'a>(
        &'a self,
        cache: &'a str,
        keys: &'a [String],
        applied: Option<Applied>,
    ) -> BoxFuture<'a, Result<Outcome, PortError>> {
        ready(self.0.invalidate(cache, keys, applied))
    }

    fn clear<'a>(&'a self, cache: &'a str, marks: &'a [(Feed, Mark)]) -> BoxFuture<'a, Result<(), PortError>> {
        ready(self.0.clear(cache, marks))
    }
}

fn too_many() -> PortError {
    PortError::TooMany { what: "caches", max: SHARED_CACHES_MAX }
}

fn ready<T: Send + 'static>(answer: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(answer))
}

impl Weighter<Name, Slot<Bytes>> for Weights {
    fn weight(&self, (_, key): &Name, slot: &Slot<Bytes>) -> u64 {
        let value = if let Slot::Full { value, .. } = slot { value.len() } else { 0 };
        ENTRY_BYTES + (key.len() + value) as u64
    }
}

impl Lifecycle<Name, Slot<Bytes>> for Evictions {
    type RequestState = [Option<Slot<Bytes>>; 2];

    fn on_evict(&self, state: &mut Self::RequestState, _: Name, slot: Slot<Bytes>) {
        self.0.increment();
        if let Some(place) = state.iter_mut().find(|place| place.is_none()) {
            *place = Some(slot);
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("entries", &self.0.entries.len()).finish_non_exhaustive()
    }
}
