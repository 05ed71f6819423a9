//! The ledger: who was told what, or was not, and why.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The most entries; the oldest go first.
pub const ENTRIES_MAX: usize = 1000;

/// The most alerts that an entry names.
const NAMED_MAX: usize = 20;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1, over restarts too.
    pub id: u64,
    /// When it was decided, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who was, or would be, told; empty: nobody takes it.
    pub receiver: String,
    /// Of which group.
    pub group: String,
    /// The alerts, up to 20 of them, each as its labels.
    pub alerts: Vec<String>,
    /// How many there are.
    pub alert_count: usize,
    /// What was decided.
    pub decision: Decision,
}

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// It waits for its group.
    Grouped {
        /// Until then, in milliseconds since 1970.
        until_ms: i64,
    },
    /// It is being sent; after a restart: whether it arrived is not known, and it is sent again.
    Sending {
        /// `firing` or `resolved`.
        status: String,
        /// Why: `news`, `again` (it may have arrived before), `repeat`.
        because: String,
    },
    /// The receiver has it.
    Sent {
        /// `firing` or `resolved`.
        status: String,
        /// Why.
        because: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The receiver has it not, or nobody knows; it is tried again with the next notification of its group.
    Failed {
        /// `firing` or `resolved`.
        status: String,
        /// Why it was sent.
        because: String,
        /// How often it was tried.
        attempts: u32,
        /// What went wrong last.
        error: String,
    },
    /// It is not known where its receiver is, so that nothing was sent; it is looked again with the next notification
    /// of its group.
    NotSet {
        /// What is missing.
        error: String,
    },
    /// The process ended while it was being sent.
    Interrupted {
        /// `firing` or `resolved`.
        status: String,
    },
    /// Somebody wants to hear nothing of it.
    Silenced {
        /// By which silence.
        silence: String,
    },
    /// Nothing changed since it was told.
    Unchanged {
        /// Until then nobody is reminded, in milliseconds since 1970.
        until_ms: i64,
    },
    /// Nobody takes it.
    NoReceiver,
    /// It ended, and its receiver does not want to be told.
    ResolveUnwanted,
    /// It ended before anybody was told.
    NeverTold,
}

/// The last [`ENTRIES_MAX`] decisions.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: VecDeque<Entry>,
    next: u64,
}

/// Under which key an entry is kept: sorted as they were made.
pub(crate) fn key(id: u64) -> String {
    format!("ledger/{id:020}")
}

/// What an entry says of several alerts.
pub(crate) fn named<'a>(alerts: impl Iterator<Item = &'a crate::labels::Labels>) -> (Vec<String>, usize) {
    let mut named = Vec::new();
    let mut count = 0;
    for labels in alerts {
        if count < NAMED_MAX {
            named.push(labels.to_string());
        }
        count += 1;
    }
    (named, count)
}

impl Ledger {
    /// What was kept, sorted; what was being sent when the process ended is said so. Those that changed are
    /// answered, and the ids of those that are too many.
    pub(crate) fn restore(mut kept: Vec<Entry>) -> (Self, Vec<Entry>, Vec<u64>) {
        kept.sort_by_key(|entry| entry.id);
        let next = kept.last().map_or(1, |entry| entry.id + 1);
        let gone = kept.drain(..kept.len().saturating_sub(ENTRIES_MAX)).map(|entry| entry.id).collect();
        let mut changed = Vec::new();
        for entry in &mut kept {
            if let Decision::Sending { status, .. } = &entry.decision {
                entry.decision = Decision::Interrupted { status: status.clone() };
                changed.push(entry.clone());
            }
        }
        (Self { entries: kept.into(), next }, changed, gone)
    }

    /// Adds an entry, whose id is given here; the id of the one that had to go.
    pub(crate) fn add(&mut self, entry: Entry) -> (Entry, Option<u64>) {
        let entry = Entry { id: self.next, ..entry };
        self.next += 1;
        self.entries.push_back(entry.clone());
        let gone = if self.entries.len() > ENTRIES_MAX { self.entries.pop_front() } else { None };
        (entry, gone.map(|entry| entry.id))
    }

    /// Gives an entry its outcome; none where it had to go meanwhile.
    pub(crate) fn decide(&mut self, id: u64, decision: Decision) -> Option<Entry> {
        let at = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = self.entries.get_mut(at)?;
        entry.decision = decision;
        Some(entry.clone())
    }

    /// All of them, the newest first.
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.entries.iter().rev().cloned().collect()
    }
}
