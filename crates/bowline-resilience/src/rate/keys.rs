//! What is kept of each key, in shards with a short mutex each.

use std::hash::Hasher as _;

use bowline_runtime::{
    metric::{Counter, Padded},
    rand,
    time::{self, Instant},
};

use super::table::Table;
use crate::{
    nanos::nanos,
    sync::{Mutex, MutexGuard, lock},
};

/// The most shards, each with its own lock. A power of two.
const SHARDS_MAX: usize = 64;

/// Fewer keys than this are not worth a lock of their own.
const SHARD_KEYS_MIN: usize = 256;

/// At most so many keys, each with the instant from which on nothing is remembered of it, and a value.
pub(super) struct Keys<V> {
    born: Instant,
    hash: KeyedHash,
    /// A power of two.
    shards: Box<[Padded<Mutex<Table<V>>>]>,
    /// Keys that gave way to others while something was remembered of them.
    pub(super) forgotten: Counter,
}

impl<V> Keys<V> {
    pub(super) fn new(keys_max: usize) -> Self {
        let wanted = (keys_max / SHARD_KEYS_MIN).clamp(1, SHARDS_MAX);
        let shard_count = 1 << wanted.ilog2();
        let shards = (0..shard_count).map(|_| Padded(Mutex::new(Table::new(keys_max / shard_count)))).collect();
        Self { born: time::now(), hash: KeyedHash::random(), shards, forgotten: Counter::default() }
    }

    pub(super) fn hash(&self, key: &[u8]) -> u128 {
        self.hash.of(key)
    }

    /// Where a key of that hash is kept.
    pub(super) fn table(&self, hash: u128) -> MutexGuard<'_, Table<V>> {
        let mask = self.shards.len() - 1;
        let at = hash as usize & mask;
        // A table is whole between any two of its methods, and none of them panics on what comes from outside.
        lock(&self.shards[at].0)
    }

    /// Remembers a key that is not there, in the place of another where there is no room.
    pub(super) fn insert(&self, mut table: MutexGuard<'_, Table<V>>, hash: u128, new: (u64, V), now: u64) {
        if table.insert(hash, new.0, new.1).is_some_and(|evicted| evicted > now) {
            self.forgotten.increment();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(&shard.0).len()).sum()
    }

    /// In nanoseconds.
    pub(super) fn since_born(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.born))
    }
}

/// Two independent hashes by `SipHash`: 128 bits that nobody outside can aim.
struct KeyedHash([(u64, u64); 2]);

impl KeyedHash {
    fn random() -> Self {
        Self([(); 2].map(|()| (rand::u64(), rand::u64())))
    }

    #[expect(deprecated, reason = "its successor draws its keys itself, which no simulation can repeat")]
    fn of(&self, key: &[u8]) -> u128 {
        let [high, low] = self.0.map(|(first, second)| {
            let mut hasher = std::hash::SipHasher::new_with_keys(first, second);
            hasher.write(key);
            hasher.finish()
        });
        u128::from(high) << 64 | u128::from(low)
    }
}
