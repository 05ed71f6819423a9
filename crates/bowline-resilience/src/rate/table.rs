//! The keys of one shard: found by hash, and ordered by who has its full burst again the soonest.

use std::collections::BTreeMap;

/// At most so many keys, each with one instant and a value. What is new takes the place of the least instant when full.
#[derive(Debug)]
pub(super) struct Table<V> {
    capacity: usize,
    /// Where each key is in `entries`.
    places: BTreeMap<u128, Place>,
    entries: Vec<Entry<V>>,
    /// A binary heap of places, the least `full_at` first.
    heap: Vec<Place>,
}

/// An index into the table's entries; stays a key's own as long as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

#[derive(Debug)]
struct Entry<V> {
    hash: u128,
    full_at: u64,
    value: V,
    /// Where it is in the heap.
    rank: u32,
}

impl<V> Table<V> {
    /// An empty table for so many keys, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, u32::MAX as usize);
        Self { capacity, places: BTreeMap::new(), entries: Vec::new(), heap: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&self, hash: u128) -> Option<Place> {
        self.places.get(&hash).copied()
    }

    pub(super) fn full_at(&self, place: Place) -> u64 {
        self.entry(place).full_at
    }

    pub(super) fn value(&self, place: Place) -> &V {
        &self.entry(place).value
    }

    pub(super) fn value_mut(&mut self, place: Place) -> &mut V {
        &mut self.entry_mut(place).value
    }

    /// Sets a later instant for a key.
    pub(super) fn raise(&mut self, place: Place, full_at: u64) {
        let entry = self.entry_mut(place);
        debug_assert!(full_at >= entry.full_at, "instants only grow");
        entry.full_at = full_at;
        let rank = entry.rank as usize;
        self.sink(rank);
    }

    /// Adds a key that is not there; gives the instant of the one that had to go for it.
    pub(super) fn insert(&mut self, hash: u128, full_at: u64, value: V) -> Option<u64> {
        if self.len() == self.capacity {
            return Some(self.replace_least(hash, full_at, value));
        }
        let at = u32::try_from(self.len()).expect("the capacity is below this");
        self.places.insert(hash, Place(at));
        self.entries.push(Entry { hash, full_at, value, rank: at });
        self.heap.push(Place(at));
        self.rise(at as usize);
        None
    }

    fn replace_least(&mut self, hash: u128, full_at: u64, value: V) -> u64 {
        let place = self.heap[0];
        let entry = self.entry_mut(place);
        let (evicted, evicted_at) = (entry.hash, entry.full_at);
        (entry.hash, entry.full_at, entry.value) = (hash, full_at, value);
        self.places.remove(&evicted);
        self.places.insert(hash, place);
        self.sink(0);
        evicted_at
    }

    fn sink(&mut self, mut rank: usize) {
        loop {
            let children = (2 * rank + 1)..(2 * rank + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.key(*child)) else { return };
            if self.key(rank) <= self.key(least) {
                return;
            }
            self.swap(rank, least);
            rank = least;
        }
    }

    fn rise(&mut self, mut rank: usize) {
        while rank > 0 {
            let parent = (rank - 1) / 2;
            if self.key(parent) <= self.key(rank) {
                return;
            }
            self.swap(rank, parent);
            rank = parent;
        }
    }

    fn key(&self, rank: usize) -> u64 {
        self.full_at(self.heap[rank])
    }

    fn swap(&mut self, left: usize, right: usize) {
        self.heap.swap(left, right);
        for rank in [left, right] {
            let place = self.heap[rank];
            self.entry_mut(place).rank = u32::try_from(rank).expect("no more ranks than entries");
        }
    }

    fn entry(&self, place: Place) -> &Entry<V> {
        &self.entries[place.0 as usize]
    }

    fn entry_mut(&mut self, place: Place) -> &mut Entry<V> {
        &mut self.entries[place.0 as usize]
    }
}
