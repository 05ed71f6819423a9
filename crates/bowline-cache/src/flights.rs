//! Which keys are loaded now, who waits for them, and which could not be loaded just now.

use std::{
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use quick_cache::DefaultHashBuilder;
use tokio::sync::{Notify, watch};

use crate::{Error, Key, SLOTS_MAX, slot::Slot};

const SHARDS: usize = 64;

/// By key, in shards with a lock each. Memory is written under the lock of the key's shard alone.
pub(crate) struct Flights<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: DefaultHashBuilder,
    waiting: AtomicUsize,
}

/// The keys of a shard that are not idle, in no order: mostly none or a few, and a search looks at their hashes.
///
/// A map would take and give back memory with each load; what is kept for long would come to lie in between.
pub(crate) struct Shard<K, V>(Vec<(u64, K, Flight<V>)>);

/// With more places than this, an empty shard gives its memory back.
const PLACES_MAX: usize = 64;

/// A key that is loaded, or that could not be loaded.
pub(crate) struct Flight<V> {
    /// Without what is kept, which memory knows.
    pub(crate) slot: Slot,
    /// Where the load that counts says what it brought.
    pub(crate) landing: Option<Landing<V>>,
    /// What the last load said that failed.
    pub(crate) error: Option<Error>,
    /// Told when a load has ended.
    pub(crate) ended: Arc<Notify>,
}

pub(crate) type Landing<V> = watch::Receiver<Option<Landed<V>>>;

/// What a load brought to those who wait for it.
pub(crate) enum Landed<V> {
    /// A value, or that there is nothing.
    Brought(Option<Arc<V>>),
    /// It failed, and this may be served all the same.
    Stale(Option<Arc<V>>),
    Failed(Error),
}

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl<K: Key, V> Flights<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard(Vec::new()))).collect(),
            hasher: DefaultHashBuilder::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The same for one key as long as the process lives.
    pub(crate) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(crate) fn lock(&self, hash: u64) -> MutexGuard<'_, Shard<K, V>> {
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits are as good as any")]
        let shard = &self.shards[hash as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All shards, always in the same order.
    pub(crate) fn lock_all(&self) -> Vec<MutexGuard<'_, Shard<K, V>>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// A place among those who wait; none where `max` wait already.
    pub(crate) fn wait(&self, max: usize) -> Option<Waiting<'_>> {
        let waiting = Waiting(&self.waiting);
        (self.waiting.fetch_add(1, Relaxed) < max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<K: Key, V> Shard<K, V> {
    fn find(&self, hash: u64, key: &K) -> Option<usize> {
        self.0.iter().position(|(has, known, _)| *has == hash && known == key)
    }

    pub(crate) fn get(&self, hash: u64, key: &K) -> Option<&Flight<V>> {
        self.find(hash, key).map(|at| &self.0[at].2)
    }

    pub(crate) fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut Flight<V>> {
        self.find(hash, key).map(|at| &mut self.0[at].2)
    }

    /// That of the key, from now on if there was none.
    pub(crate) fn entry(&mut self, hash: u64, key: &K) -> &mut Flight<V> {
        let at = self.find(hash, key).unwrap_or_else(|| {
            self.0.push((hash, key.clone(), Flight::default()));
            self.0.len() - 1
        });
        &mut self.0[at].2
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &K) {
        if let Some(at) = self.find(hash, key) {
            self.0.swap_remove(at);
        }
        if self.0.is_empty() && self.0.capacity() > PLACES_MAX {
            self.0 = Vec::new();
        }
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Flight<V>> {
        self.0.iter_mut().map(|(.., flight)| flight)
    }

    /// Makes room for one more key: forgets the failure whose back-off ends first. False where all keys are being
    /// loaded.
    pub(crate) fn make_room(&mut self) -> bool {
        if self.0.len() < SLOTS_MAX / SHARDS {
            return true;
        }
        let spare = self.0.iter().enumerate().filter_map(|(at, (.., flight))| Some((flight.slot.is_spare()?, at)));
        spare.min().map(|(_, at)| self.0.swap_remove(at)).is_some()
    }
}

impl<V> Default for Flight<V> {
    fn default() -> Self {
        Self { slot: Slot::default(), landing: None, error: None, ended: Arc::default() }
    }
}

impl<V> Clone for Landed<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Brought(value) => Self::Brought(value.clone()),
            Self::Stale(value) => Self::Stale(value.clone()),
            Self::Failed(error) => Self::Failed(error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::{Backoff, Event, Moment};

    const BACKOFF: Backoff = Backoff { min: 100, max: 100 };

    fn stepped(slot: Slot, event: Event, now: u64) -> Slot {
        slot.step(BACKOFF, event, Moment { now, is_followed: true, luck: 0 }).0
    }

    #[test]
    fn room_is_made_by_the_failure_whose_back_off_ends_first_and_by_no_load() {
        let flights = Flights::<u64, u8>::new();
        let mut shard = flights.lock(0);
        let loading = stepped(Slot::default(), Event::Get, 0);
        let failed = |now| stepped(loading, Event::Failed { number: 0 }, now);
        for key in 0..(SLOTS_MAX / SHARDS) as u64 {
            assert!(shard.make_room());
            // The last one of them rests the shortest.
            shard.entry(0, &key).slot = if key < 10 { loading } else { failed(5000 - key) };
        }
        for at in 0..(SLOTS_MAX / SHARDS) as u64 - 10 {
            let last = (SLOTS_MAX / SHARDS) as u64 - 1 - at;
            assert!(shard.get(0, &last).is_some() && shard.make_room() && shard.get(0, &last).is_none(), "{last}");
            shard.entry(0, &(10_000 + at)).slot = loading;
        }
        assert!(!shard.make_room(), "all are being loaded");
        assert_eq!(shard.all().count(), SLOTS_MAX / SHARDS);
    }
}
