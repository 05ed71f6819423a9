//! What lies below memory, and the loader at the bottom.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_model::{Code, units::format_duration};
use bowline_runtime::{
    rand,
    time::{self, coarse},
};
use bytes::Bytes;

use crate::{
    Applied, BATCH_MAX, Error, Failure, Feed, KEEP_RANGE, Key, Mark, Resumed, Ticket, VALUE_BYTES_MAX,
    ask::Value,
    builder::weight,
    cache::Inner,
    codec::Decoded,
    disk::DiskTicket,
    shared::guard::{Guard, Had},
    slot::{Kept, Ms},
    strategy::Choice,
};

/// How long a load waits for a place among those that run.
const LINE_MAX: Duration = Duration::from_secs(1);
/// How long a feed is asked whether a mark still holds.
const RESUME_MAX: Duration = Duration::from_secs(2);
/// How long after it failed the shared level is made up to again.
const AGAIN: Duration = Duration::from_millis(500);

/// What a level or the loader brought.
pub(crate) struct Brought<V> {
    pub(crate) value: Value<V>,
    pub(crate) weight: u64,
    pub(crate) from: From,
    /// What it is outside of this process, where it has a form there.
    encoded: Option<Bytes>,
    ticket: Option<Ticket>,
    disk_ticket: Option<DiskTicket>,
}

/// Where it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Loader,
    /// A level, which keeps it for so many milliseconds.
    Level(Ms),
}

/// What is put into the levels below memory, until then.
pub(crate) struct Filling {
    encoded: Bytes,
    ticket: Option<Ticket>,
    disk_ticket: Option<DiskTicket>,
    until: Ms,
}

impl<V> Brought<V> {
    /// What is put below once memory keeps it until then.
    pub(crate) fn filling(&self, kept: Kept) -> Option<Filling> {
        let Self { ticket, disk_ticket, .. } = *self;
        let encoded = self.encoded.clone().filter(|_| ticket.is_some() || disk_ticket.is_some())?;
        Some(Filling { encoded, ticket, disk_ticket, until: kept.fresh })
    }
}

impl<K: Key, V: Send + Sync + 'static> Inner<K, V> {
    /// Gets it from the next level that has it.
    pub(crate) async fn bring<Fut>(&self, key: &K, loader: Fut) -> Result<Brought<V>, Error>
    where
        Fut: Future<Output = Result<Option<V>, Failure>> + Send + 'static,
    {
        let name = key.encode();
        let disk_ticket = self.disk.as_ref().map(|disk| disk.ticket(&name));
        let ticket = match self.ask_levels(key, &name, disk_ticket).await {
            Ok(brought) => return Ok(brought),
            Err(ticket) => ticket,
        };
        let Ok(place) = time::timeout(LINE_MAX, self.loads.acquire()).await else {
            return Err(self.too_busy("loads", self.loads_max));
        };
        let (begin, began_unix) = (time::now(), time::unix_millis_now());
        let answer = time::timeout(self.load_timeout, loader).await;
        self.metrics.load_duration.record(begin.elapsed());
        drop(place);
        match answer.unwrap_or_else(|_| Err(self.too_slow())) {
            Ok(value) => {
                self.observe_load(key, value.as_ref());
                let encoded = self.codec.as_ref().and_then(|codec| codec.encode(value.as_ref(), began_unix));
                Ok(Brought { ticket, disk_ticket, ..self.brought(key, value, From::Loader, encoded) })
            }
            Err(source) => Err(Error::Load { cache: Arc::clone(&self.name), source }),
        }
    }

    /// What a level below memory has; else the ticket of the shared one, where it gives one.
    ///
    /// They are as new as the feeds that were applied to them: while those are not heard, they tell nothing.
    async fn ask_levels(
        &self,
        key: &K,
        name: &str,
        disk_ticket: Option<DiskTicket>,
    ) -> Result<Brought<V>, Option<Ticket>> {
        if !self.is_followed(coarse()) || self.classes.choice(key) == Choice::NoCache {
            return Err(None);
        }
        match self.ask_disk(key, name).await {
            Some(brought) => Ok(brought),
            // What is shared is put on the disk, too.
            None => self.ask_shared(key, name).await.map(|brought| Brought { disk_ticket, ..brought }),
        }
    }

    /// What the disk has.
    async fn ask_disk(&self, key: &K, name: &str) -> Option<Brought<V>> {
        let disk = self.disk.as_ref()?;
        let (value, left) = disk.get(name).await?;
        let brought = self.read(key, value, left);
        disk.metrics.count(brought.is_some());
        brought
    }

    /// What the shared level has; else its ticket, where it gives one.
    async fn ask_shared(&self, key: &K, name: &str) -> Result<Brought<V>, Option<Ticket>> {
        let Some(guard) = &self.shared else { return Err(None) };
        // The marks first: what it has must be at least as new as what was applied when it was asked.
        let marks = self.marks();
        for is_last in [false, true] {
            let (value, left) = match guard.get(name, &marks).await {
                Had::Skipped => return Err(None),
                Had::Empty(ticket) => return Err(Some(ticket)),
                Had::Hit { value, left } => (value, left),
            };
            let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            if let Some(brought) = self.read(key, value, left) {
                guard.metrics.count(true);
                return Ok(brought);
            }
            // What nobody here can use is removed, so that what is loaded takes its place.
            if is_last {
                guard.metrics.count(false);
            } else {
                guard.invalidate(&[name.to_owned()], None).await;
            }
        }
        Err(None)
    }

    /// What a level has and keeps for so many more milliseconds; none where it is of another version, or older than
    /// what is kept here now: who put it may have kept it for longer.
    fn read(&self, key: &K, encoded: Bytes, left: Ms) -> Option<Brought<V>> {
        let Decoded { value, began_unix } = self.codec.as_ref()?.decode(&encoded).ok()?;
        let whole = self.windows.whole(self.classes.choice(key), value.is_none());
        let age = time::unix_millis_now().saturating_sub(began_unix);
        let left = whole.checked_sub(age).filter(|left| *left > 0)?.min(left);
        Some(self.brought(key, value, From::Level(left), Some(encoded)))
    }

    fn brought(&self, key: &K, value: Option<V>, from: From, encoded: Option<Bytes>) -> Brought<V> {
        let weight = match (&value, self.weigh) {
            (Some(value), Some(weigh)) => weigh(key, value),
            _ => weight::<K, V>(key, encoded.as_ref().map_or(0, |encoded| encoded.len() as u64)),
        };
        Brought { value: value.map(Arc::new), weight, from, encoded, ticket: None, disk_ticket: None }
    }

    /// Puts it into the levels below memory.
    pub(crate) async fn fill(&self, key: &K, filling: Filling) {
        let Filling { encoded, ticket, disk_ticket, until } = filling;
        if encoded.len() > VALUE_BYTES_MAX {
            return self.metrics.too_large.increment();
        }
        let (name, left) = (key.encode(), until.saturating_sub(coarse()));
        if let (Some(disk), Some(ticket)) = (&self.disk, disk_ticket) {
            disk.put(&name, ticket, &encoded, time::unix_millis_now().saturating_add(left));
        }
        let keep = Duration::from_millis(left).min(KEEP_RANGE.1);
        if let (Some(guard), Some(ticket), true) = (&self.shared, ticket, keep >= KEEP_RANGE.0) {
            guard.fill(&name, ticket, encoded, keep).await;
        }
    }

    /// Until when memory keeps it.
    pub(crate) fn ends(&self, key: &K, brought: &Brought<V>, began: Ms) -> Option<Kept> {
        let (choice, is_nothing) = (self.classes.choice(key), brought.value.is_none());
        let kept = self.windows.ends(choice, is_nothing, began, rand::unit())?;
        match brought.from {
            From::Loader => Some(kept),
            From::Level(left) => Some(self.windows.from(kept.fresh.min(began.saturating_add(left)), is_nothing)),
        }
    }

    fn too_slow(&self) -> Failure {
        let limit = format_duration(self.load_timeout);
        Failure::new(Code::DeadlineExceeded, format!("the loader took longer than {limit}"))
    }

    /// Up to where each feed was applied here.
    pub(crate) fn marks(&self) -> Vec<(Feed, Mark)> {
        let mark = |followed: &crate::follow::Followed| Some((followed.feed.name().to_owned(), followed.mark()?));
        self.feeds.iter().filter_map(mark).collect()
    }

    /// Drops keys from every level, the lowest first, so that nobody refills one from a staler one below.
    pub(crate) async fn forget_keys(&self, keys: &[K], applied: Option<Applied>) {
        let names: Vec<String> = keys.iter().map(Key::encode).collect();
        if let Some(guard) = &self.shared {
            let last = names.len().saturating_sub(1) / BATCH_MAX * BATCH_MAX;
            for names in names[..last].chunks(BATCH_MAX) {
                guard.invalidate(names, None).await;
            }
            guard.invalidate(&names[last..], applied.clone()).await;
            // Who works on it, or a single failure, held it up; one that is left alone is made up to later.
            if guard.has_missed() && guard.is_asked() {
                let known = applied.clone().map(|Applied { feed, upto, .. }| (feed, upto));
                self.make_up(guard, known).await;
            }
        }
        if let Some(disk) = &self.disk {
            disk.gone(&names, applied.as_ref());
        }
        for key in keys {
            self.forget(key);
        }
    }

    /// Drops everything from every level; `known` is a mark that is known to hold, of that feed.
    pub(crate) async fn forget_everything(&self, known: Option<(Feed, Mark)>) {
        if let Some(guard) = &self.shared {
            guard.invalidate_all();
            self.make_up(guard, known.clone()).await;
        }
        self.clear_here(known);
    }

    /// Drops everything from the levels of this process.
    pub(crate) fn clear_here(&self, known: Option<(Feed, Mark)>) {
        if let Some(disk) = &self.disk {
            disk.clear(self.marks().into_iter().chain(known));
        }
        self.forget_all();
    }

    /// Makes up to the shared level for what it has missed; false where that failed.
    pub(crate) async fn make_up(&self, guard: &Guard, known: Option<(Feed, Mark)>) -> bool {
        let Some(missed) = guard.take().await else { return true };
        let marks = if missed.is_all { self.marks_that_hold(known).await } else { Some(BTreeMap::new()) };
        if let Some(marks) = marks {
            return guard.make_up(missed, marks).await;
        }
        guard.give_back(missed);
        false
    }

    /// The marks, each asked for whether it holds: one of a feed that was made anew would make others believe that they
    /// have applied what they have not.
    async fn marks_that_hold(&self, known: Option<(Feed, Mark)>) -> Option<BTreeMap<Feed, Mark>> {
        let mut marks = BTreeMap::new();
        for followed in &self.feeds {
            let feed = followed.feed.name();
            if let Some((_, mark)) = known.as_ref().filter(|(of, _)| of == feed) {
                marks.insert(feed.to_owned(), mark.clone());
            } else if let Some(mark) = followed.mark() {
                let resumed = time::timeout(RESUME_MAX, followed.feed.resume(Some(mark))).await;
                let Ok(Ok(Resumed::At(mark))) = resumed else { return None };
                marks.insert(feed.to_owned(), mark);
            }
        }
        Some(marks)
    }
}

/// Makes up to the shared level for what it has missed, whenever it has, until the cache is gone.
pub(crate) async fn make_up<K: Key, V: Send + Sync + 'static>(cache: std::sync::Weak<Inner<K, V>>, guard: Arc<Guard>) {
    loop {
        guard.is_missed.notified().await;
        loop {
            let Some(inner) = cache.upgrade() else { return };
            let is_good = inner.make_up(&guard, None).await;
            drop(inner);
            if !guard.has_missed() {
                break;
            }
            if !is_good {
                time::sleep(AGAIN).await;
            }
        }
    }
}
