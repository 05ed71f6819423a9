//! A plain LRU: what was used least recently goes first.

use std::collections::HashMap;

/// The slot before the first and after the last.
const NONE: usize = usize::MAX;

pub(crate) struct Lru {
    capacity: usize,
    places: HashMap<u64, usize>,
    slots: Vec<Slot>,
    newest: usize,
    oldest: usize,
}

struct Slot {
    key: u64,
    newer: usize,
    older: usize,
}

impl Lru {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, places: HashMap::new(), slots: Vec::new(), newest: NONE, oldest: NONE }
    }

    /// Whether it is there; it is afterwards.
    pub(crate) fn get_or_insert(&mut self, key: u64) -> bool {
        if let Some(at) = self.places.get(&key).copied() {
            self.unlink(at);
            self.link(at);
            return true;
        }
        let at = if self.slots.len() < self.capacity {
            self.slots.push(Slot { key, newer: NONE, older: NONE });
            self.slots.len() - 1
        } else {
            let at = self.oldest;
            self.unlink(at);
            self.places.remove(&self.slots[at].key);
            self.slots[at].key = key;
            at
        };
        self.places.insert(key, at);
        self.link(at);
        false
    }

    fn unlink(&mut self, at: usize) {
        let Slot { newer, older, .. } = self.slots[at];
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older].newer = newer,
        }
    }

    /// As the newest.
    fn link(&mut self, at: usize) {
        (self.slots[at].newer, self.slots[at].older) = (NONE, self.newest);
        match self.newest {
            NONE => self.oldest = at,
            newest => self.slots[newest].newer = at,
        }
        self.newest = at;
    }
}
