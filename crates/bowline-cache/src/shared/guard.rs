//! The shared level as a cache uses it: never waited for long, left alone while it fails, and not read before what it
//! has missed was made up for.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_model::{Code, policy::BreakerPolicy, units::Share};
use bowline_resilience::breaker::{Breaker, Outcome as Went, State};
use bowline_runtime::time;
use bytes::Bytes;
use tokio::sync::Notify;

use super::{Applied, Feed, Found, Outcome, SharedCache, Ticket};
use crate::{BATCH_MAX, Mark, PENDING_MAX, PortError, metrics::LevelMetrics};

/// The longest that a request waits for the level.
const GET_MAX: Duration = Duration::from_millis(100);
/// The longest that everything else does.
const OTHER_MAX: Duration = Duration::from_millis(250);

/// The position that no feed reaches: who applies what comes after it learns the mark.
const NEVER: u64 = (1 << 53) - 1;

/// The shared level of one cache.
pub(crate) struct Guard {
    cache: Arc<str>,
    port: Arc<dyn SharedCache>,
    breaker: Breaker,
    missed: Mutex<Missed>,
    /// Told when something was missed.
    pub(crate) is_missed: Notify,
    /// Told when nobody makes up for it any more.
    is_free: Notify,
    pub(crate) metrics: LevelMetrics,
}

/// What the shared level had.
#[derive(Debug)]
pub(crate) enum Had {
    Hit {
        value: Bytes,
        left: Duration,
    },
    Empty(Ticket),
    /// It was not asked, or did not answer, or must not be trusted: nothing may be put there.
    Skipped,
}

/// It did not answer.
#[derive(Debug)]
pub(crate) struct Silent;

/// Invalidations that have not reached the level: it is not read before they have.
#[derive(Debug, Default, Clone)]
pub(crate) struct Missed {
    /// It has to be cleared, whatever keys there are.
    pub(crate) is_all: bool,
    keys: BTreeSet<String>,
    /// What they were, of each feed: all after the one mark, up to the other.
    applied: BTreeMap<Feed, (Mark, Mark)>,
    /// Somebody makes up for it now.
    is_worked_on: bool,
}

impl Guard {
    pub(crate) fn new(cache: Arc<str>, port: Arc<dyn SharedCache>, metrics: LevelMetrics) -> Self {
        let policy = BreakerPolicy {
            failure_rate: Share::from_percent(50),
            window: Duration::from_secs(10).into(),
            calls_min: 10,
            open_for: Duration::from_secs(2).into(),
            probes_max: 1,
            ..BreakerPolicy::default()
        };
        let breaker = Breaker::new(&policy).probe_timeout(Duration::from_secs(1));
        Self {
            cache,
            port,
            breaker,
            missed: Mutex::default(),
            is_missed: Notify::new(),
            is_free: Notify::new(),
            metrics,
        }
    }

    /// What it has of a key, for a process that has applied its feeds up to these marks.
    pub(crate) async fn get(&self, key: &str, marks: &[(Feed, Mark)]) -> Had {
        if self.has_missed() {
            return Had::Skipped;
        }
        let Some(got) = self.call("get", GET_MAX, self.port.get(&self.cache, key)).await else { return Had::Skipped };
        let has_applied = |(feed, mark): &(Feed, Mark)| {
            let has = got.marks.iter().find(|(known, _)| known == feed).map(|(_, mark)| mark);
            has.is_some_and(|has| has.position >= mark.position && !has.is_of_another_feed(mark))
        };
        if !marks.iter().all(has_applied) {
            tracing::warn!(cache = &*self.cache, "the shared level of a cache has lost invalidations, it is cleared");
            self.miss(|missed| missed.is_all = true);
            self.metrics.misses.increment();
            // It may be made up for by now: what was read before is not to be trusted all the same.
            return Had::Skipped;
        }
        match got.found {
            // Nothing may have been missed while it answered, either.
            Found::Hit { value, left } if !self.has_missed() => Had::Hit { value, left },
            Found::Empty(ticket) if !self.has_missed() => {
                self.metrics.misses.increment();
                Had::Empty(ticket)
            }
            Found::Hit { .. } | Found::Empty(_) => {
                self.metrics.misses.increment();
                Had::Skipped
            }
        }
    }

    /// Puts a value, where nothing has overtaken its load.
    pub(crate) async fn fill(&self, key: &str, ticket: Ticket, value: Bytes, keep: Duration) {
        if !self.has_missed() {
            self.call("fill", OTHER_MAX, self.port.fill(&self.cache, key, ticket, value, keep)).await;
        }
    }

    /// Removes keys, now or as soon as it can.
    pub(crate) async fn invalidate(&self, keys: &[String], applied: Option<Applied>) {
        // What was missed goes first, and all of it at once.
        let is_good = !self.has_missed() && self.remove(keys, applied.clone()).await;
        if !is_good {
            self.miss(|missed| missed.add(keys, applied));
        }
    }

    /// Has it cleared as soon as it can be.
    pub(crate) fn invalidate_all(&self) {
        self.miss(|missed| missed.is_all = true);
    }

    /// Up to where a feed was applied to it; an error where it does not say.
    pub(crate) async fn mark(&self, feed: &str) -> Result<Option<Mark>, Silent> {
        let never = Mark { position: NEVER, id: String::new() };
        let applied = Applied { feed: feed.to_owned(), after: never.clone(), upto: never };
        let asked = self.port.invalidate(&self.cache, &[], Some(applied));
        match self.call("mark", OTHER_MAX, asked).await.ok_or(Silent)? {
            Outcome::Behind(mark) => Ok(mark),
            Outcome::Done | Outcome::AlreadyDone => Ok(None),
        }
    }

    /// The same; where it does not say, it is cleared before it is used: its mark may be one of a feed that was made
    /// anew since.
    pub(crate) async fn mark_or_clear(&self, feed: &str) -> Option<Mark> {
        self.mark(feed).await.unwrap_or_else(|Silent| {
            self.invalidate_all();
            None
        })
    }

    /// What was missed, to be made up for: by [`Guard::make_up`], or it is given back. While somebody else does, it is
    /// waited for a little.
    pub(crate) async fn take(&self) -> Option<Missed> {
        let until = time::now() + OTHER_MAX;
        loop {
            let is_over = self.is_free.notified();
            {
                let mut missed = self.lock();
                if !missed.is_worked_on {
                    return missed.take();
                }
            }
            time::timeout_at(until, is_over).await.ok()?;
        }
    }

    /// It was not made up for.
    pub(crate) fn give_back(&self, taken: Missed) {
        let mut missed = self.lock();
        missed.is_worked_on = false;
        missed.merge(taken);
        drop(missed);
        self.is_free.notify_waiters();
    }

    /// Makes up for what was missed, where everything has to go for a process that has these marks; false where it
    /// could not.
    pub(crate) async fn make_up(&self, taken: Missed, marks: BTreeMap<Feed, Mark>) -> bool {
        let is_good = if taken.is_all {
            let marks: Vec<(Feed, Mark)> = marks.into_iter().collect();
            self.call("clear", OTHER_MAX, self.port.clear(&self.cache, &marks)).await.is_some()
        } else {
            self.remove_all(&taken).await
        };
        self.give_back(if is_good { Missed::default() } else { taken });
        self.measure();
        is_good
    }

    async fn remove_all(&self, taken: &Missed) -> bool {
        let keys: Vec<String> = taken.keys.iter().cloned().collect();
        for keys in keys.chunks(BATCH_MAX) {
            if !self.remove(keys, None).await {
                return false;
            }
        }
        for (feed, (after, upto)) in &taken.applied {
            let applied = Applied { feed: feed.clone(), after: after.clone(), upto: upto.clone() };
            if !self.remove(&[], Some(applied)).await {
                return false;
            }
        }
        true
    }

    /// Whether they are removed, or that they are will be seen to.
    async fn remove(&self, keys: &[String], applied: Option<Applied>) -> bool {
        let asked = self.port.invalidate(&self.cache, keys, applied);
        match self.call("invalidate", OTHER_MAX, asked).await {
            Some(Outcome::Done | Outcome::AlreadyDone) => true,
            Some(Outcome::Behind(_)) => {
                self.miss(|missed| missed.is_all = true);
                false
            }
            None => false,
        }
    }

    /// What it answers in time; none where it is left alone, fails or takes too long.
    async fn call<T>(
        &self,
        operation: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Option<T> {
        let permit = self.breaker.acquire(time::now()).ok()?;
        let late = |_| Err(PortError::unavailable(format!("it took longer than {} ms", limit.as_millis())));
        let answer = time::timeout(limit, call).await.unwrap_or_else(late);
        // What breaks a rule is the asker's fault: the level is well.
        let is_well = answer.as_ref().err().is_none_or(|error| error.code() == Code::InvalidArgument);
        let went = if is_well { Went::Success } else { Went::Failure };
        permit.record(went, time::now());
        if let Err(error) = &answer {
            self.metrics.failed_by(operation, error);
        }
        self.measure();
        answer.ok()
    }

    fn miss(&self, change: impl FnOnce(&mut Missed)) {
        let mut missed = self.lock();
        change(&mut missed);
        missed.bound();
        drop(missed);
        self.is_missed.notify_one();
        self.measure();
    }

    fn lock(&self) -> MutexGuard<'_, Missed> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is something to make up for.
    pub(crate) fn has_missed(&self) -> bool {
        self.lock().is_any()
    }

    /// Whether it has not failed too often to be asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.breaker.state(time::now()) == State::Closed
    }

    /// Whether it is left alone now.
    pub(crate) fn is_left_alone(&self) -> bool {
        !self.is_asked() || self.has_missed()
    }

    pub(crate) fn measure(&self) {
        self.metrics.open.set(i64::from(self.is_left_alone()));
    }
}

impl Missed {
    /// All of it, to be worked on; none where there is nothing.
    fn take(&mut self) -> Option<Self> {
        let taken = mem::take(self);
        self.is_worked_on = taken.is_any();
        Some(taken).filter(Self::is_any)
    }

    fn is_any(&self) -> bool {
        self.is_all || self.is_worked_on || !self.keys.is_empty() || !self.applied.is_empty()
    }

    fn add(&mut self, keys: &[String], applied: Option<Applied>) {
        if let Some(Applied { feed, after, upto }) = applied {
            self.applied.entry(feed).and_modify(|(_, last)| *last = upto.clone()).or_insert((after, upto));
        }
        self.keys.extend(keys.iter().cloned());
        self.bound();
    }

    /// Puts what came before in front.
    fn merge(&mut self, earlier: Self) {
        let Self { is_all, keys, applied, is_worked_on: _ } = earlier;
        self.is_all |= is_all;
        self.keys.extend(keys);
        for (feed, (after, upto)) in applied {
            self.applied.entry(feed).and_modify(|(first, _)| *first = after.clone()).or_insert((after, upto));
        }
        self.bound();
    }

    fn bound(&mut self) {
        if self.keys.len() > PENDING_MAX {
            self.is_all = true;
        }
        // Nor is anything said of feeds then: one of them may have been made anew since.
        if self.is_all {
            self.keys.clear();
            self.applied.clear();
        }
    }
}
