//! What a log says of a group, until it was taken in again.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    delivery::{Policy, Position},
    embedded::record::{KeptGroup, Pending},
};

/// What the log says of a group.
#[derive(Debug, Clone, Default)]
pub(in crate::embedded) struct Kept {
    pub(super) group: KeptGroup,
    pub(super) pending: BTreeMap<Position, (u32, i64)>,
    /// What is done at or after `group.next`.
    pub(super) done: BTreeSet<Position>,
    /// What was tried at or after `group.next`.
    pub(super) failed: BTreeMap<Position, (u32, i64)>,
}

impl Kept {
    pub(in crate::embedded) fn new(mut group: KeptGroup) -> Self {
        let pending = std::mem::take(&mut group.pending);
        let mut kept = Self { group, ..Self::default() };
        kept.add(pending);
        kept
    }

    pub(in crate::embedded) fn done(&mut self, position: Position) {
        self.failed.remove(&position);
        if position < self.group.next {
            self.pending.remove(&position);
        } else {
            self.done.insert(position);
        }
    }

    pub(in crate::embedded) fn failed(&mut self, position: Position, attempts: u32, due: i64) {
        if position >= self.group.next {
            self.failed.insert(position, (attempts, due));
        } else if let Some(tries) = self.pending.get_mut(&position) {
            *tries = (attempts, due);
        }
    }

    /// More that is pending.
    pub(in crate::embedded) fn add(&mut self, pending: Vec<Pending>) {
        self.pending.extend(pending.into_iter().map(|(position, attempts, due)| (position, (attempts, due))));
    }

    /// It is served otherwise.
    pub(in crate::embedded) fn set(&mut self, policy: Policy, lease_ms: i64) {
        (self.group.policy, self.group.lease_ms) = (Some(policy), lease_ms);
    }

    /// The first position that is not done.
    pub(super) fn floor(&self) -> Position {
        self.pending.first_key_value().map_or(self.group.next, |(position, _)| *position)
    }

    /// Forgets all before a position.
    pub(super) fn pass_over(&mut self, position: Position) {
        while self.pending.first_key_value().is_some_and(|(first, _)| *first < position) {
            self.pending.pop_first();
        }
        while self.failed.first_key_value().is_some_and(|(first, _)| *first < position) {
            self.failed.pop_first();
        }
        while self.done.first().is_some_and(|first| *first < position) {
            self.done.pop_first();
        }
    }

    /// Takes away what is done from a position on without a gap; the position behind it.
    pub(super) fn take_done(&mut self, mut position: Position) -> Position {
        while self.done.first() == Some(&position) {
            self.done.pop_first();
            position += 1;
        }
        position
    }

    /// Whether a position is done, and the tries it has had.
    pub(super) fn look_up(&mut self, position: Position) -> Option<(u32, i64)> {
        if position < self.group.next {
            return self.pending.remove(&position);
        }
        let tries = self.failed.remove(&position).unwrap_or((0, i64::MIN));
        (!self.done.remove(&position)).then_some(tries)
    }
}
