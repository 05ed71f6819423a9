//! A batch being judged: each transaction against the state that the earlier ones of it leave.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    leases::Leases,
    memory::{Memory, Step, entry_bytes},
};
use crate::{Change, Entry, Error, Expect, LEASE_KEYS_MAX, LeaseId, Op, Revision, Txn};

/// What a batch comes to: written as a whole, then published as a whole.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The last state of each key it changed.
    pub(super) entries: BTreeMap<Arc<str>, Option<Entry>>,
    /// Its transactions that changed something.
    pub(super) steps: Vec<Step>,
    /// The first revision that the history keeps.
    pub(super) first_kept: Revision,
    pub(super) granted: Vec<(LeaseId, Duration)>,
    pub(super) ended: Vec<LeaseId>,
    pub(super) lease_last: u64,
    pub(super) revision: Revision,
    pub(super) data_bytes: u64,
}

/// An [`Outcome`] in the making.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    memory: &'a Memory,
    leases: &'a Leases,
    bounds: Bounds,
    outcome: Outcome,
    /// Keys that the batch binds to leases so far.
    bound: BTreeMap<LeaseId, usize>,
}

/// The bounds that a batch must not exceed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) data_bytes_max: u64,
    pub(super) leases_max: usize,
}

impl Outcome {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.granted.is_empty() && self.ended.is_empty()
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(memory: &'a Memory, leases: &'a Leases, lease_last: u64, bounds: Bounds) -> Self {
        let outcome =
            Outcome { lease_last, revision: memory.revision, data_bytes: memory.data_bytes, ..Outcome::default() };
        Self { memory, leases, bounds, outcome, bound: BTreeMap::new() }
    }

    pub(super) fn finish(mut self) -> Outcome {
        self.outcome.first_kept = self.memory.first_kept(&self.outcome.steps);
        self.outcome
    }

    /// Applies a transaction that [`check_txn`](crate::check_txn) passed, or changes nothing.
    pub(super) fn commit(&mut self, txn: Txn, ttl: Option<Duration>) -> Result<(Revision, Option<LeaseId>), Error> {
        self.compare(&txn)?;
        self.check_leases(&txn)?;
        let data_bytes = self.data_bytes_after(&txn)?;
        let granted = ttl.map(|ttl| self.grant(ttl)).transpose()?;
        self.outcome.data_bytes = data_bytes;
        let revision = self.outcome.revision + 1;
        let changes = txn.ops.into_iter().filter_map(|op| self.apply(op, granted, revision)).collect();
        self.record(changes);
        Ok((self.outcome.revision, granted))
    }

    /// Deletes a lease that ends, with its keys; whether it was there.
    pub(super) fn end(&mut self, lease: LeaseId) -> bool {
        if self.outcome.ended.contains(&lease) || !self.leases.is_ending(lease) {
            return false;
        }
        let mut keys = self.leases.keys(lease);
        keys.extend(self.outcome.entries.keys().cloned());
        keys.retain(|key| self.current(key).is_some_and(|entry| entry.lease == Some(lease)));
        let mut changes = Vec::new();
        for key in keys {
            changes.extend(self.delete(&key));
        }
        self.outcome.data_bytes -= changes.iter().map(deleted_bytes).sum::<u64>();
        self.record(changes);
        self.outcome.ended.push(lease);
        true
    }

    fn current(&self, key: &str) -> Option<&Entry> {
        match self.outcome.entries.get(key) {
            Some(entry) => entry.as_ref(),
            None => self.memory.entries.get(key),
        }
    }

    fn compare(&self, txn: &Txn) -> Result<(), Error> {
        for compare in &txn.compares {
            let current = self.current(&compare.key).map(|entry| entry.modified);
            let holds = match compare.expect {
                Expect::Missing => current.is_none(),
                Expect::Exists => current.is_some(),
                Expect::Modified(revision) => current == Some(revision),
            };
            if !holds {
                return Err(Error::Conflict { key: compare.key.clone(), current });
            }
        }
        Ok(())
    }

    fn check_leases(&mut self, txn: &Txn) -> Result<(), Error> {
        let mut bound = BTreeMap::<LeaseId, usize>::new();
        for op in &txn.ops {
            if let Op::Put { lease: Some(lease), .. } = op {
                *bound.entry(*lease).or_default() += 1;
            }
        }
        for (lease, count) in &bound {
            let published = self.leases.alive_keys(*lease).ok_or(Error::NoLease(*lease))?;
            // A key that is bound again counts twice here: the bound is on the safe side.
            if published + self.bound.get(lease).unwrap_or(&0) + count > LEASE_KEYS_MAX {
                return Err(Error::TooMany { what: "keys bound to one lease" });
            }
        }
        for (lease, count) in bound {
            *self.bound.entry(lease).or_default() += count;
        }
        Ok(())
    }

    /// The bytes stored after the transaction; an error if it adds some beyond the bound.
    fn data_bytes_after(&self, txn: &Txn) -> Result<u64, Error> {
        let (mut added, mut removed) = (0, 0);
        for op in &txn.ops {
            removed += self.current(op.key()).map_or(0, entry_bytes);
            if let Some(value) = op.value() {
                added += (op.key().len() + value.len()) as u64;
            }
        }
        let after = self.outcome.data_bytes + added - removed;
        if added > removed && after > self.bounds.data_bytes_max { Err(Error::Full) } else { Ok(after) }
    }

    fn grant(&mut self, ttl: Duration) -> Result<LeaseId, Error> {
        if self.leases.count() + self.outcome.granted.len() >= self.bounds.leases_max {
            return Err(Error::TooMany { what: "leases" });
        }
        self.outcome.lease_last += 1;
        let lease = LeaseId(self.outcome.lease_last);
        self.outcome.granted.push((lease, ttl));
        Ok(lease)
    }

    fn apply(&mut self, op: Op, granted: Option<LeaseId>, revision: Revision) -> Option<Change> {
        let (key, value, lease) = match op {
            Op::Delete { key } => return self.delete(&key),
            Op::Put { key, value, lease } => (Arc::<str>::from(key), value, lease.or(granted)),
            Op::PutLasting { key, value } => (Arc::from(key), value, None),
        };
        let created = self.current(&key).map_or(revision, |entry| entry.created);
        let entry = Entry { key: Arc::clone(&key), value, created, modified: revision, lease };
        self.outcome.entries.insert(key, Some(entry.clone()));
        Some(Change::Put(entry))
    }

    fn delete(&mut self, key: &str) -> Option<Change> {
        let previous = self.current(key)?.clone();
        let key = Arc::clone(&previous.key);
        self.outcome.entries.insert(Arc::clone(&key), None);
        Some(Change::Delete { key, previous })
    }

    /// Gives the changes a revision, if there are any.
    fn record(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.outcome.revision += 1;
            self.outcome.steps.push(Step { revision: self.outcome.revision, changes });
        }
    }
}

fn deleted_bytes(change: &Change) -> u64 {
    match change {
        Change::Put(_) => 0,
        Change::Delete { previous, .. } => entry_bytes(previous),
    }
}
