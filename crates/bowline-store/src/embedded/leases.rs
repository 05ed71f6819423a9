//! The leases of this process: their states, their timers, and the task that ends them.
//!
//! Every change of state goes through [`lease::step`].

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_runtime::time::{self, Instant};
use tokio::sync::{Notify, mpsc};

use super::{
    draft::Outcome,
    memory::{Memory, Shared},
    writer::Command,
};
use crate::{
    Error, LeaseId,
    lease::{self, Effect, Event, Nanos, State},
};

/// After which time a failed deletion is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The leases that live or are ending.
#[derive(Debug)]
pub(super) struct Leases {
    /// Where the clock of [`lease`] begins.
    epoch: Instant,
    table: Mutex<Table>,
    /// Told when the earliest timer changed or a lease is to be ended.
    wake: Notify,
}

#[derive(Debug, Default)]
struct Table {
    cells: HashMap<LeaseId, Cell>,
    /// One timer for each lease at most; a renewal does not touch it.
    timers: BTreeSet<(Nanos, LeaseId)>,
    /// Leases whose deletion is to be handed to the writer.
    to_end: VecDeque<LeaseId>,
}

#[derive(Debug)]
struct Cell {
    state: State,
    timer: Option<Nanos>,
    keys: BTreeSet<Arc<str>>,
}

impl Leases {
    /// The leases of a store just opened: each has its full lifetime.
    pub(super) fn new(granted: &[(LeaseId, Duration)], memory: &Memory) -> Self {
        let leases = Self { epoch: time::now(), table: Mutex::default(), wake: Notify::new() };
        let mut table = leases.lock();
        for (lease, ttl) in granted {
            table.insert(*lease, *ttl, 0);
        }
        for (key, entry) in &memory.entries {
            if let Some(cell) = entry.lease.and_then(|lease| table.cells.get_mut(&lease)) {
                cell.keys.insert(Arc::clone(key));
            }
        }
        drop(table);
        leases
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Nanos {
        nanos(time::now().saturating_duration_since(self.epoch))
    }

    pub(super) fn count(&self) -> usize {
        self.lock().cells.len()
    }

    /// How many keys a living lease has; none for any other.
    pub(super) fn alive_keys(&self, lease: LeaseId) -> Option<usize> {
        let now = self.now();
        self.lock().cells.get(&lease).filter(|cell| cell.state.is_alive(now)).map(|cell| cell.keys.len())
    }

    /// Whether its deletion was asked for.
    pub(super) fn is_ending(&self, lease: LeaseId) -> bool {
        self.lock().cells.get(&lease).is_some_and(|cell| cell.state == State::Ending)
    }

    pub(super) fn keys(&self, lease: LeaseId) -> BTreeSet<Arc<str>> {
        self.lock().cells.get(&lease).map(|cell| cell.keys.clone()).unwrap_or_default()
    }

    pub(super) fn time_left(&self, lease: LeaseId) -> Result<Duration, Error> {
        let now = self.now();
        match self.lock().cells.get(&lease).map(|cell| cell.state) {
            Some(State::Active { deadline, .. }) if now < deadline => Ok(Duration::from_nanos(deadline - now)),
            _ => Err(Error::NoLease(lease)),
        }
    }

    /// Renews each lease that lives; answers its lifetime.
    pub(super) fn renew(&self, leases: &[LeaseId]) -> Vec<Result<Duration, Error>> {
        let now = self.now();
        let mut table = self.lock();
        let answers = leases
            .iter()
            .map(|lease| match table.step(*lease, Event::Renew { now }, now) {
                Effect::Renewed { ttl } => Ok(Duration::from_nanos(ttl)),
                _ => Err(Error::NoLease(*lease)),
            })
            .collect();
        if !table.to_end.is_empty() {
            self.wake.notify_one();
        }
        answers
    }

    /// Whether the caller is to have the writer delete the lease.
    pub(super) fn revoke(&self, lease: LeaseId) -> bool {
        let now = self.now();
        let mut table = self.lock();
        let effect = table.step(lease, Event::Revoke, now);
        if effect == Effect::DeleteKeys {
            // The caller hands it to the writer itself, to be told when it is done.
            table.to_end.pop_back();
        }
        effect == Effect::DeleteKeys
    }

    /// Follows an outcome that became durable; `memory` is the state before it.
    pub(super) fn settle(&self, memory: &Memory, outcome: &Outcome) {
        let now = self.now();
        let mut table = self.lock();
        for (lease, ttl) in &outcome.granted {
            table.insert(*lease, *ttl, now);
        }
        for (key, entry) in &outcome.entries {
            let before = memory.entries.get(key).and_then(|entry| entry.lease);
            if let Some(cell) = before.and_then(|lease| table.cells.get_mut(&lease)) {
                cell.keys.remove(key);
            }
            let after = entry.as_ref().and_then(|entry| entry.lease);
            if let Some(cell) = after.and_then(|lease| table.cells.get_mut(&lease)) {
                cell.keys.insert(Arc::clone(key));
            }
        }
        for lease in &outcome.ended {
            table.step(*lease, Event::Deleted, now);
        }
        if !outcome.granted.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Follows deletions that failed.
    pub(super) fn unsettle(&self, failed: &[LeaseId]) {
        let now = self.now();
        let mut table = self.lock();
        for lease in failed {
            table.step(*lease, Event::DeleteFailed, now);
        }
        self.wake.notify_one();
    }

    /// The leases whose deletion is due, in the order of their deadlines, and the next timer.
    fn due(&self) -> (VecDeque<LeaseId>, Option<Instant>) {
        let now = self.now();
        let mut table = self.lock();
        while let Some((at, lease)) = table.timers.first().copied().filter(|(at, _)| *at <= now) {
            table.timers.remove(&(at, lease));
            if let Some(cell) = table.cells.get_mut(&lease) {
                cell.timer = None;
            }
            table.step(lease, Event::Tick { now }, now);
        }
        let next = table.timers.first().map(|(at, _)| self.epoch + Duration::from_nanos(*at));
        (std::mem::take(&mut table.to_end), next)
    }
}

impl Table {
    fn insert(&mut self, lease: LeaseId, ttl: Duration, now: Nanos) {
        let state = State::granted(nanos(ttl), now);
        self.cells.insert(lease, Cell { state, timer: None, keys: BTreeSet::new() });
        self.arm(lease, now.saturating_add(nanos(ttl)));
    }

    fn step(&mut self, lease: LeaseId, event: Event, now: Nanos) -> Effect {
        let Some(cell) = self.cells.get_mut(&lease) else { return Effect::None };
        let (state, effect) = lease::step(cell.state, event);
        cell.state = state;
        match effect {
            Effect::None if state == State::Gone => self.remove(lease),
            Effect::None | Effect::Renewed { .. } => {}
            Effect::Arm { at } => self.arm(lease, at),
            Effect::ArmLater => self.arm(lease, now.saturating_add(nanos(RETRY_AFTER))),
            Effect::DeleteKeys => self.to_end.push_back(lease),
        }
        effect
    }

    fn arm(&mut self, lease: LeaseId, at: Nanos) {
        let Some(cell) = self.cells.get_mut(&lease) else { return };
        if let Some(before) = cell.timer.replace(at) {
            self.timers.remove(&(before, lease));
        }
        self.timers.insert((at, lease));
    }

    fn remove(&mut self, lease: LeaseId) {
        if let Some(timer) = self.cells.remove(&lease).and_then(|cell| cell.timer) {
            self.timers.remove(&(timer, lease));
        }
    }
}

/// Hands the leases that are due to the writer, until the store is closed.
pub(super) async fn expire(shared: Arc<Shared>, queue: mpsc::Sender<Command>) {
    loop {
        let (due, next) = shared.leases.due();
        for lease in due {
            tracing::debug!(%lease, "lease expired");
            if queue.send(Command::End { lease, answer: None }).await.is_err() {
                return;
            }
        }
        let woken = shared.leases.wake.notified();
        match next {
            Some(at) => drop(time::timeout_at(at, woken).await),
            None => woken.await,
        }
    }
}

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}
