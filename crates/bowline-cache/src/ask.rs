//! What happens to who asks for what memory does not have fresh: the table of one key, brought about.

use std::sync::Arc;

use bowline_model::Code;
use bowline_runtime::{
    rand, task,
    time::{self, Instant, coarse},
};
use bowline_telemetry::current;
use tokio::sync::{futures::OwnedNotified, watch};

use crate::{
    Error, Failure, Key, WAITERS_MAX,
    cache::Inner,
    flights::{Flight, Landed, Landing},
    levels::{Brought, Filling, From},
    memory::Entry,
    slot::{Effect, Event, Kept, Moment, Ms, Slot},
    strategy::Choice,
};

/// What comes until then; none where the time is over.
async fn within<T>(until: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => time::timeout_at(until, future).await.ok(),
        None => Some(future.await),
    }
}

/// A value, or that there is nothing.
pub(crate) type Value<V> = Option<Arc<V>>;

/// What the table says to who asks.
enum Asked<K: Key, V: Send + Sync + 'static> {
    Fresh(Value<V>),
    Stale(Value<V>),
    Refused(Error),
    /// The load is the asker's to start, who may have an answer already.
    Begin {
        load: Load<K, V>,
        landing: Landing<V>,
        answer: Option<Value<V>>,
    },
    Wait(Landing<V>),
    InLine(OwnedNotified),
}

/// A load that the table knows of. Dropped before it has landed, it failed.
struct Load<K: Key, V: Send + Sync + 'static> {
    inner: Arc<Inner<K, V>>,
    key: K,
    number: u64,
    began: Ms,
    /// Taken when it lands.
    sender: Option<watch::Sender<Option<Landed<V>>>>,
}

impl<K: Key, V: Send + Sync + 'static> Inner<K, V> {
    /// Answers who found nothing fresh in memory.
    pub(crate) async fn ask<F, Fut>(self: &Arc<Self>, key: K, load: F) -> Result<Value<V>, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<V>, Failure>> + Send + 'static,
    {
        self.missed(&key);
        self.measure_followed(coarse());
        let metrics = &self.metrics;
        self.name_of(&key).inspect_err(|_| metrics.refused.increment())?;
        let until = (self.patience)().and_then(|left| time::now().checked_add(left));
        loop {
            let waiting = self.flights.wait(WAITERS_MAX);
            let asked = match waiting {
                Some(_) => self.look(&key),
                None => self.crowded(&key),
            };
            let (landing, count) = match asked {
                Asked::Fresh(value) => {
                    metrics.fresh.increment();
                    return Ok(value);
                }
                Asked::Stale(value) => {
                    metrics.stale.increment();
                    return Ok(value);
                }
                Asked::Refused(error) => {
                    metrics.refused.increment();
                    return Err(error);
                }
                Asked::InLine(ended) => {
                    if within(until, ended).await.is_none() {
                        return self.late(&key);
                    }
                    continue;
                }
                Asked::Wait(landing) => (landing, &metrics.waited),
                Asked::Begin { load: begun, landing, answer } => {
                    let is_bypassed = self.classes.choice(&key) == Choice::NoCache;
                    begun.start(load());
                    if let Some(value) = answer {
                        metrics.stale.increment();
                        return Ok(value);
                    }
                    (landing, if is_bypassed { &metrics.bypassed } else { &metrics.loaded })
                }
            };
            let Some(landed) = within(until, self.landed(landing)).await else { return self.late(&key) };
            return match landed {
                Landed::Brought(value) => {
                    count.increment();
                    Ok(value)
                }
                Landed::Stale(value) => {
                    metrics.stale.increment();
                    Ok(value)
                }
                Landed::Failed(error) => {
                    metrics.refused.increment();
                    Err(error)
                }
            };
        }
    }

    async fn landed(&self, mut landing: Landing<V>) -> Landed<V> {
        let landed = landing.wait_for(Option::is_some).await.map(|landed| landed.clone());
        landed.ok().flatten().unwrap_or_else(|| Landed::Failed(self.lost()))
    }

    /// Runs the table on who asks.
    fn look(self: &Arc<Self>, key: &K) -> Asked<K, V> {
        let now = coarse();
        let hash = self.flights.hash(key);
        let mut shard = self.flights.lock(hash);
        let entry = self.memory.peek(key);
        let known = shard.get(hash, key).map_or_else(Slot::default, |flight| flight.slot);
        let (slot, effect) = self.step(known, entry.as_ref(), Event::Get, now);
        let value = || entry.as_ref().and_then(|entry| entry.value.clone());
        let is_fresh = entry.as_ref().is_some_and(|entry| now < entry.fresh());
        let (number, answer) = match effect {
            Effect::Serve if is_fresh => return Asked::Fresh(value()),
            Effect::Serve | Effect::ServeStale => return Asked::Stale(value()),
            Effect::Begin { number } => (number, None),
            Effect::ServeAndBegin { number } => (number, Some(value())),
            Effect::Wait | Effect::InLine | Effect::Refuse => {
                let flight = shard.entry(hash, key);
                return match (effect, &flight.landing, &flight.error) {
                    (Effect::Wait, Some(landing), _) => Asked::Wait(landing.clone()),
                    (Effect::Refuse, _, Some(error)) => Asked::Refused(error.clone()),
                    _ => Asked::InLine(Arc::clone(&flight.ended).notified_owned()),
                };
            }
            Effect::Keep | Effect::Discard | Effect::Drop => unreachable!("nothing has ended"),
        };
        if shard.get(hash, key).is_none() && !shard.make_room() {
            return answer
                .map_or_else(|| Asked::Refused(self.too_busy("keys being loaded", crate::SLOTS_MAX)), Asked::Stale);
        }
        let (sender, landing) = watch::channel(None);
        let flight = shard.entry(hash, key);
        (flight.slot, flight.landing) = (slot, Some(landing.clone()));
        let load = Load { inner: Arc::clone(self), key: key.clone(), number, began: now, sender: Some(sender) };
        Asked::Begin { load, landing, answer }
    }

    /// What is left for whose time is over.
    fn late(&self, key: &K) -> Result<Value<V>, Error> {
        if let Some(value) = self.stale(key) {
            self.metrics.stale.increment();
            return Ok(value);
        }
        self.metrics.refused.increment();
        Err(Error::Late { cache: Arc::clone(&self.name) })
    }

    /// What is left for one more than may wait.
    fn crowded(&self, key: &K) -> Asked<K, V> {
        let error = || self.too_busy("callers waiting", WAITERS_MAX);
        self.stale(key).map_or_else(|| Asked::Refused(error()), Asked::Stale)
    }

    /// What may be served where a load fails.
    pub(crate) fn stale(&self, key: &K) -> Option<Value<V>> {
        let entry = self.memory.peek(key)?;
        (coarse() < self.kept(&entry).if_error).then_some(entry.value)
    }

    /// The ends of what memory has.
    fn kept(&self, entry: &Entry<V>) -> Kept {
        self.windows.from(entry.fresh(), entry.value.is_none())
    }

    /// The table, with what memory knows.
    fn step(&self, slot: Slot, entry: Option<&Entry<V>>, event: Event, now: Ms) -> (Slot, Effect) {
        #[expect(clippy::cast_possible_truncation, reason = "any sixteen bits are chance")]
        let luck = rand::u64() as u16;
        let moment = Moment { now, is_followed: self.is_followed(now), luck };
        slot.with(entry.map(|entry| self.kept(entry))).step(self.backoff, event, moment)
    }

    /// Drops what is kept of a key, and makes the load under way count no longer.
    pub(crate) fn forget(&self, key: &K) {
        let hash = self.flights.hash(key);
        let mut shard = self.flights.lock(hash);
        if let Some(flight) = shard.get_mut(hash, key) {
            self.overtake(flight);
        }
        self.memory.remove(key);
        self.measure();
    }

    /// Drops everything, and makes no load under way count any longer.
    pub(crate) fn forget_all(&self) {
        let mut shards = self.flights.lock_all();
        for flight in shards.iter_mut().flat_map(|shard| shard.all()) {
            self.overtake(flight);
        }
        self.memory.clear();
        self.measure();
    }

    fn overtake(&self, flight: &mut Flight<V>) {
        let (slot, _) = self.step(flight.slot, None, Event::Invalidate, 0);
        (flight.slot, flight.landing) = (slot, None);
    }

    /// A load has ended: what it brought, and what of it is put into the levels below.
    fn land(
        &self,
        key: &K,
        number: u64,
        keep: Option<Kept>,
        brought: Result<Brought<V>, Error>,
    ) -> (Landed<V>, Option<Filling>) {
        let now = coarse();
        let hash = self.flights.hash(key);
        let mut shard = self.flights.lock(hash);
        let flight = shard.entry(hash, key);
        let entry = self.memory.peek(key);
        let event = if brought.is_ok() { Event::Loaded { number, keep } } else { Event::Failed { number } };
        let (slot, effect) = self.step(flight.slot, entry.as_ref(), event, now);
        flight.slot = slot;
        if matches!(effect, Effect::Keep | Effect::ServeStale | Effect::Refuse) {
            flight.landing = None;
            flight.error = brought.as_ref().err().cloned();
        }
        flight.ended.notify_waiters();
        if flight.slot.is_idle() {
            shard.remove(hash, key);
        }
        self.count_load(brought.as_ref(), effect);
        match (brought, effect) {
            (Err(_), Effect::ServeStale) => (Landed::Stale(entry.and_then(|entry| entry.value)), None),
            (Err(error), _) => (Landed::Failed(error), None),
            (Ok(brought), Effect::Keep) => {
                self.keep(key, keep.map(|kept| Entry::new(brought.value.clone(), kept.fresh, brought.weight)));
                let filling = keep.and_then(|kept| brought.filling(kept));
                (Landed::Brought(brought.value), filling)
            }
            (Ok(brought), _) => (Landed::Brought(brought.value), None),
        }
    }

    /// Under the lock of the key's shard.
    fn keep(&self, key: &K, entry: Option<Entry<V>>) {
        match entry {
            Some(entry) => {
                if !self.memory.insert(key.clone(), entry) {
                    self.metrics.too_large.increment();
                }
            }
            None => self.memory.remove(key),
        }
        self.measure();
    }

    fn measure(&self) {
        self.metrics.entries.set(i64::try_from(self.memory.len()).unwrap_or(i64::MAX));
        self.metrics.bytes.set(i64::try_from(self.memory.weight()).unwrap_or(i64::MAX));
    }

    fn count_load(&self, brought: Result<&Brought<V>, &Error>, effect: Effect) {
        match brought {
            _ if effect == Effect::Discard => self.metrics.loads_discarded.increment(),
            Err(_) => self.metrics.loads_failed.increment(),
            Ok(Brought { from: From::Level(_), .. }) => {}
            Ok(Brought { value: None, .. }) => self.metrics.loads_nothing.increment(),
            Ok(Brought { value: Some(_), .. }) => self.metrics.loads_value.increment(),
        }
    }

    pub(crate) fn too_busy(&self, what: &'static str, max: usize) -> Error {
        Error::TooBusy { cache: Arc::clone(&self.name), what, max }
    }

    fn lost(&self) -> Error {
        let source = Failure::new(Code::Internal, "the loader panicked, or the process ends");
        Error::Load { cache: Arc::clone(&self.name), source }
    }
}

impl<K: Key, V: Send + Sync + 'static> Load<K, V> {
    /// Runs it in a task of its own, in the trace of who asked.
    fn start<Fut>(self, loader: Fut)
    where
        Fut: Future<Output = Result<Option<V>, Failure>> + Send + 'static,
    {
        // A loader that blocks is told by its cache.
        let name = self.inner.load_task;
        drop(task::spawn(name.watch(current::inherit(self.run(loader)))));
    }

    async fn run<Fut>(mut self, loader: Fut)
    where
        Fut: Future<Output = Result<Option<V>, Failure>> + Send + 'static,
    {
        let brought = self.inner.bring(&self.key, loader).await;
        if let Some(filling) = self.land(|_| brought) {
            self.inner.fill(&self.key, filling).await;
        }
    }

    fn land(&mut self, brought: impl FnOnce(&Inner<K, V>) -> Result<Brought<V>, Error>) -> Option<Filling> {
        self.sender.as_ref()?;
        let brought = brought(&self.inner);
        // First what an application's functions say, which may panic: then it has not landed yet, and fails.
        let keep = brought.as_ref().ok().and_then(|brought| self.inner.ends(&self.key, brought, self.began));
        let sender = self.sender.take()?;
        let (landed, filling) = self.inner.land(&self.key, self.number, keep, brought);
        sender.send_replace(Some(landed));
        filling
    }
}

impl<K: Key, V: Send + Sync + 'static> Drop for Load<K, V> {
    fn drop(&mut self) {
        drop(self.land(|inner| Err(inner.lost())));
    }
}
