//! All that is durable, as readers and watchers see it: the entries and the latest history.
//!
//! Control-plane data is small and bounded, so all of it is kept in memory: reads need no disk,
//! never block, and go on when the disk does not.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use super::{draft::Outcome, leases::Leases};
use crate::{Change, Entry, Error, HistoryId, Page, Revision};

/// The most bytes of keys and values that the history holds, its latest transaction aside.
const HISTORY_BYTES_MAX: usize = 64 << 20;

/// What readers, watchers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) history: HistoryId,
    pub(super) leases: Leases,
    memory: RwLock<Memory>,
    /// Tells watchers that wait that there is more to read, or never will be.
    published: watch::Sender<Published>,
    is_lost: AtomicBool,
}

/// What a watcher that waits is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    Revision,
    Closed,
}

/// The entries and the latest history, at one revision.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) entries: BTreeMap<Arc<str>, Entry>,
    pub(super) revision: Revision,
    pub(super) data_bytes: u64,
    /// The latest transactions: their revisions have no gaps and end at `revision`.
    steps: VecDeque<Arc<Step>>,
    events: usize,
    step_bytes: usize,
    history_max: usize,
}

/// One transaction of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) revision: Revision,
    pub(super) changes: Vec<Change>,
}

impl Shared {
    pub(super) fn new(history: HistoryId, memory: Memory, leases: Leases) -> Self {
        let published = watch::Sender::new(Published::Revision);
        Self { history, leases, memory: RwLock::new(memory), published, is_lost: AtomicBool::new(false) }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Shows a durable outcome to readers and watchers, and its ends and grants to the leases.
    pub(super) fn publish(&self, outcome: Outcome) {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        self.leases.settle(&memory, &outcome);
        memory.apply(outcome);
        drop(memory);
        self.published.send_replace(Published::Revision);
    }

    /// Nothing can be written any more, by this process.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// Ends the watches: nothing is written any more.
    pub(super) fn close(&self) {
        self.lose();
        self.published.send_replace(Published::Closed);
    }
}

impl Memory {
    pub(super) fn new(entries: BTreeMap<Arc<str>, Entry>, revision: Revision, history_max: usize) -> Self {
        let data_bytes = entries.values().map(entry_bytes).sum();
        Self { entries, revision, data_bytes, history_max, ..Self::default() }
    }

    /// The entries whose keys begin with `prefix` and are greater than `after`.
    pub(super) fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Page {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut rest =
            self.entries.range::<str, _>((start, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        let entries = rest.by_ref().take(limit).map(|(_, entry)| entry.clone()).collect();
        Page { entries, revision: self.revision, more: rest.next().is_some() }
    }

    /// The oldest revision that can be watched from.
    pub(super) fn oldest(&self) -> Revision {
        self.steps.front().map_or(self.revision, |step| step.revision - 1)
    }

    /// The transaction of that revision; none if it is not yet there.
    pub(super) fn step(&self, revision: Revision) -> Result<Option<&Arc<Step>>, Error> {
        if revision > self.revision {
            return Ok(None);
        }
        let oldest = self.oldest();
        if revision <= oldest {
            return Err(Error::Lagged { oldest });
        }
        let at = usize::try_from(revision - oldest - 1).expect("the history fits in memory");
        Ok(self.steps.get(at))
    }

    /// The first revision that is still kept once `new` transactions are added: the latest always,
    /// older ones while all of them are within the bounds.
    pub(super) fn first_kept<'a>(&'a self, new: &'a [Step]) -> Revision {
        let (mut events, mut bytes) = (0, 0);
        let mut first = self.revision + new.len() as u64 + 1;
        for step in new.iter().rev().chain(self.steps.iter().rev().map(AsRef::as_ref)) {
            events += step.changes.len();
            bytes += step_bytes(step);
            let is_latest = first > self.revision + new.len() as u64;
            if !is_latest && (events > self.history_max || bytes > HISTORY_BYTES_MAX) {
                break;
            }
            first = step.revision;
        }
        first
    }

    /// Adds a transaction to the history, as it is read from the disk or published.
    pub(super) fn push(&mut self, step: Step) {
        debug_assert!(self.steps.back().is_none_or(|last| last.revision + 1 == step.revision), "no gaps");
        self.events += step.changes.len();
        self.step_bytes += step_bytes(&step);
        self.revision = step.revision;
        self.steps.push_back(Arc::new(step));
    }

    fn apply(&mut self, outcome: Outcome) {
        for (key, entry) in outcome.entries {
            match entry {
                Some(entry) => self.entries.insert(key, entry),
                None => self.entries.remove(&key),
            };
        }
        self.data_bytes = outcome.data_bytes;
        for step in outcome.steps {
            self.push(step);
        }
        while self.steps.front().is_some_and(|step| step.revision < outcome.first_kept) {
            if let Some(step) = self.steps.pop_front() {
                self.events -= step.changes.len();
                self.step_bytes -= step_bytes(&step);
            }
        }
    }
}

/// What an entry counts against the store's bound.
pub(super) fn entry_bytes(entry: &Entry) -> u64 {
    (entry.key.len() + entry.value.len()) as u64
}

fn step_bytes(step: &Step) -> usize {
    let bytes = |entry: &Entry| entry.key.len() + entry.value.len();
    step.changes
        .iter()
        .map(|change| match change {
            Change::Put(entry) | Change::Delete { previous: entry, .. } => bytes(entry),
        })
        .sum()
}
