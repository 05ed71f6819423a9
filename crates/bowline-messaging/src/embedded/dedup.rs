//! The ids that were published lately.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::delivery::Position;

/// The most ids that are remembered, whatever their age.
pub(super) const IDS_MAX: usize = 200_000;

/// Ids, and where their messages stand.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    positions: BTreeMap<Arc<str>, Position>,
    /// The oldest first, with when they were published.
    order: VecDeque<(i64, Arc<str>)>,
}

impl Dedup {
    pub(super) fn find(&self, id: &str) -> Option<Position> {
        self.positions.get(id).copied()
    }

    pub(super) fn add(&mut self, id: &str, position: Position, now_ms: i64) {
        let id: Arc<str> = id.into();
        self.positions.insert(id.clone(), position);
        self.order.push_back((now_ms, id));
        if self.order.len() > IDS_MAX {
            self.pop();
        }
    }

    /// The last ones were not published after all.
    pub(super) fn forget_last(&mut self, count: usize) {
        for _ in 0..count {
            if let Some((_, id)) = self.order.pop_back() {
                self.positions.remove(&id);
            }
        }
    }

    /// Forgets what was published up to then.
    pub(super) fn forget_until(&mut self, until_ms: i64) {
        while self.order.front().is_some_and(|(at, _)| *at <= until_ms) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.positions.remove(&id);
        }
    }
}
