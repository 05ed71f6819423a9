//! What waits for long is kept by its position only, outside of the table: what is delayed, until it is due, and what
//! is far behind others of its key, until those are done. It is loaded then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::delivery::{Key, Position};

/// After which time what could not be read is read again.
pub(in crate::embedded) const RETRY_AFTER_MS: i64 = 30_000;

/// The positions that wait.
#[derive(Debug, Default)]
pub(super) struct Parked {
    positions: BTreeSet<Position>,
    /// What is delayed, by when it is due; what could not be read, by when it is read again.
    later: BTreeSet<(i64, Position)>,
    /// What is behind others of its key, in the order in which it took its place.
    behind: BTreeMap<Key, VecDeque<Position>>,
    /// The tries of what could not be read, and when the next one is due.
    tried: BTreeMap<Position, (u32, i64)>,
    /// Keys of `behind` of which one may have become free.
    freed: BTreeSet<Key>,
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// In order.
    pub(super) fn positions(&self) -> impl Iterator<Item = Position> {
        self.positions.iter().copied()
    }

    pub(super) fn delay(&mut self, position: Position, due: i64) {
        self.positions.insert(position);
        self.later.insert((due, position));
    }

    pub(super) fn line_up(&mut self, position: Position, key: Key) {
        self.positions.insert(position);
        self.behind.entry(key).or_default().push_back(position);
    }

    /// What cannot be read now is read again later; it was tried so often, and is due then.
    pub(super) fn add_unread(&mut self, position: Position, tries: (u32, i64), now: i64) {
        self.delay(position, now.saturating_add(RETRY_AFTER_MS));
        if tries.0 > 0 {
            self.tried.insert(position, tries);
        }
    }

    /// How often it was tried, and when it is due.
    pub(super) fn tries(&self, position: Position) -> (u32, i64) {
        self.tried.get(&position).copied().unwrap_or_default()
    }

    /// Whether others of that key are here.
    pub(super) fn has(&self, key: Key) -> bool {
        self.behind.contains_key(&key)
    }

    /// One of that key is done.
    pub(super) fn free(&mut self, key: Key) {
        if self.has(key) {
            self.freed.insert(key);
        }
    }

    /// It is not read any more.
    pub(super) fn lose(&mut self, position: Position) {
        let is_its = |(_, behind): &(&Key, &VecDeque<Position>)| behind.front() == Some(&position);
        let key = self.behind.iter().find(is_its).map(|(key, _)| *key);
        self.take(position, key);
        if let Some(key) = key {
            self.free(key);
        }
    }

    /// When something is due next.
    pub(super) fn due_at(&self) -> Option<i64> {
        self.later.first().map(|(due, _)| *due)
    }

    /// What may be loaded now: the next one of a key that `has_room`, or one that is due.
    pub(super) fn next(&mut self, now: i64, has_room: impl Fn(Key) -> bool) -> Option<Position> {
        while let Some(key) = self.freed.first() {
            match self.behind.get(key).and_then(VecDeque::front) {
                Some(position) if has_room(*key) => return Some(*position),
                _ => drop(self.freed.pop_first()),
            }
        }
        while let Some((due, position)) = self.later.first().copied() {
            if due > now || self.positions.contains(&position) {
                return (due <= now).then_some(position);
            }
            // It could not be read once, and was meanwhile.
            self.later.pop_first();
        }
        None
    }

    /// Takes out what was loaded; whether it had its place behind others of its key.
    pub(super) fn take(&mut self, position: Position, key: Option<Key>) -> bool {
        self.positions.remove(&position);
        self.tried.remove(&position);
        if self.later.first().is_some_and(|(_, first)| *first == position) {
            self.later.pop_first();
        }
        let Some((key, behind)) = key.and_then(|key| Some((key, self.behind.get_mut(&key)?))) else { return false };
        let was_behind = behind.front() == Some(&position);
        if was_behind {
            behind.pop_front();
        }
        if behind.is_empty() {
            self.behind.remove(&key);
            self.freed.remove(&key);
        }
        was_behind
    }

    /// What cannot be read is tried again later, and others are not held up by it.
    pub(super) fn put_off(&mut self, position: Position, now: i64) {
        match self.freed.first().and_then(|key| self.behind.get(key)?.front()) {
            Some(front) if *front == position => drop(self.freed.pop_first()),
            _ => drop(self.later.pop_first()),
        }
        self.later.insert((now.saturating_add(RETRY_AFTER_MS), position));
    }
}
