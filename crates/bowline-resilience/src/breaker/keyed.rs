//! A breaker for each key: for each tenant, route or host that is left alone by itself.
//!
//! **Bounded**: at most `keys_max` are kept. A new one beyond that takes the place of the one that was not asked for the
//! longest, closed ones first: of a closed one only its counts are lost. Room is shared out among shards; a busy one may
//! begin with that when a few per cent are left elsewhere. Whoever holds a breaker that gave way goes on with it.
//!
//! **Cost**: a short mutex of the key's shard and a search among at most 64; nothing is allocated for a key that is known.

use std::{fmt, mem, sync::Arc};

use bowline_runtime::{
    metric::Padded,
    time::{self, Instant},
};

use super::{Breaker, State};
use crate::{
    nanos::nanos,
    sync::{Mutex, lock},
};

/// So many keys share a mutex.
const SHARD_KEYS: usize = 64;

/// A breaker for each key, or something that has one; shared by all cores.
pub struct Keyed<B = Breaker> {
    make: Box<dyn Fn(u64) -> B + Send + Sync>,
    shard_keys: usize,
    born: Instant,
    shards: Box<[Shard<B>]>,
}

type Shard<B> = Padded<Mutex<Vec<Entry<B>>>>;

#[derive(Debug)]
struct Entry<B> {
    hash: u64,
    /// In nanoseconds since the map was made.
    asked_at: u64,
    kept: Arc<B>,
}

impl<B: AsRef<Breaker>> Keyed<B> {
    /// For at most `keys_max` keys, and at least one; `make` makes that of a key with such a hash, within a mutex: it
    /// must not ask this map.
    pub fn new(keys_max: usize, make: impl Fn(u64) -> B + Send + Sync + 'static) -> Self {
        let shard_count = keys_max.div_ceil(SHARD_KEYS).max(1);
        let shards = (0..shard_count).map(|_| Padded(Mutex::new(Vec::new()))).collect();
        let shard_keys = (keys_max / shard_count).max(1);
        Self { make: Box::new(make), shard_keys, born: time::now(), shards }
    }

    /// That of the key with that hash: its own as long as no other has the same, so a keyed hash of 64 bits.
    pub fn get(&self, hash: u64, now: Instant) -> Arc<B> {
        let asked_at = nanos(now.saturating_duration_since(self.born));
        let at = usize::try_from(hash % self.shards.len() as u64).expect("below the number of shards");
        let mut shard = lock(&self.shards[at].0);
        if let Some(entry) = shard.iter_mut().find(|entry| entry.hash == hash) {
            entry.asked_at = entry.asked_at.max(asked_at);
            return Arc::clone(&entry.kept);
        }
        let kept = Arc::new((self.make)(hash));
        let entry = Entry { hash, asked_at, kept: Arc::clone(&kept) };
        let gone = if shard.len() < self.shard_keys {
            shard.push(entry);
            None
        } else {
            let state = |entry: &Entry<B>| (*entry.kept).as_ref().state(now);
            let gives_way = |entry: &Entry<B>| (state(entry) != State::Closed, entry.asked_at);
            let last = shard.iter_mut().min_by_key(|entry| gives_way(entry)).expect("a shard has room for one");
            Some(mem::replace(last, entry))
        };
        drop(shard);
        drop(gone);
        kept
    }

    /// All that are kept.
    pub fn all(&self) -> Vec<Arc<B>> {
        let of_shard =
            |shard: &Shard<B>| -> Vec<_> { lock(&shard.0).iter().map(|entry| Arc::clone(&entry.kept)).collect() };
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(&shard.0).len()).sum()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl AsRef<Self> for Breaker {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<B: AsRef<Breaker>> fmt::Debug for Keyed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::policy::BreakerPolicy;
    use bowline_runtime::time::Duration;

    use super::*;
    use crate::breaker::Outcome;

    fn keyed(keys_max: usize) -> Keyed {
        let policy = BreakerPolicy { calls_min: 1, ..BreakerPolicy::default() };
        Keyed::new(keys_max, move |_| Breaker::new(&policy))
    }

    fn fail(keyed: &Keyed, hash: u64, now: Instant) {
        keyed.get(hash, now).acquire(now).unwrap().record(Outcome::Failure, now);
    }

    #[test]
    fn each_key_has_its_own() {
        let (keyed, now) = (keyed(100), time::now());
        fail(&keyed, 1, now);
        assert_eq!(keyed.get(1, now).state(now), State::Open);
        assert_eq!(keyed.get(2, now).state(now), State::Closed);
        assert!(Arc::ptr_eq(&keyed.get(1, now), &keyed.get(1, now)));
        assert_eq!(keyed.len(), 2);
    }

    #[test]
    fn the_closed_one_that_was_not_asked_for_the_longest_gives_way() {
        let (keyed, now) = (keyed(3), time::now());
        let second = Duration::from_secs(1);
        fail(&keyed, 0, now);
        keyed.get(1, now + second);
        let kept = keyed.get(2, now + second * 2);
        keyed.get(1, now + second * 3);
        let new = keyed.get(3, now + second * 4);
        assert_eq!(keyed.len(), 3);
        assert_eq!(keyed.get(0, now + second * 4).state(now + second * 4), State::Open, "an open one is kept");
        assert!(Arc::ptr_eq(&new, &keyed.get(3, now + second * 4)));
        assert!(!Arc::ptr_eq(&kept, &keyed.get(2, now + second * 4)), "it gave way, and begins anew");
    }

    #[test]
    fn there_are_never_more_than_it_may_keep() {
        for keys_max in [0, 1, 63, 64, 65, 1000] {
            let (keyed, now) = (keyed(keys_max), time::now());
            (0..5000u64).for_each(|hash| drop(keyed.get(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15), now)));
            assert!(keyed.len() <= keys_max.max(1), "{keys_max}: {}", keyed.len());
        }
    }
}
