//! Observes a sample of what is asked, and chooses how each class of keys is kept.

use std::{
    sync::{Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use bowline_runtime::time::{self, coarse};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Key, cache::Inner, strategy::Rules};

/// How often it is chosen.
const EVERY: Duration = Duration::from_secs(10);

/// From so many requests in that time on, one of [`THIN`] is sampled.
const BUSY: u64 = 10_000;
const THIN: u64 = 64;

/// The mask of a cache whose classes are not observed: next to no request is sampled.
pub(crate) const NEVER: u64 = u64::MAX;

/// Chooses again and again, until the cache is gone.
pub(crate) async fn adapt<K: Key, V: Send + Sync + 'static>(cache: Weak<Inner<K, V>>) {
    let mut asked = 0;
    loop {
        time::sleep(EVERY).await;
        let Some(inner) = cache.upgrade() else { return };
        let now_asked = inner.metrics.fresh.get().saturating_add(inner.metrics.misses.get());
        let is_busy = now_asked.saturating_sub(asked) > BUSY;
        asked = now_asked;
        inner.sample_mask.store(if is_busy { THIN - 1 } else { 0 }, Relaxed);
        inner.choose();
    }
}

impl<K: Key, V: Send + Sync + 'static> Inner<K, V> {
    fn choose(&self) {
        let rules = Rules { ttl: self.windows.ttl, lru: self.windows.lru(), is_followed: !self.feeds.is_empty() };
        for (at, class) in self.classes.iter().enumerate() {
            let before = class.choice.get();
            if class.judge(coarse(), &rules) {
                let (choice, name) = (class.choice.get(), &class.name);
                // What is kept by the choice before may be kept too long.
                if self.windows.whole(choice, false) < self.windows.whole(before, false) {
                    self.memory.remove_where(|key| self.classes.index(key) == at);
                }
                self.metrics.strategy(name, choice.kind());
                tracing::info!(cache = &*self.name, class = name, strategy = choice.shown(), "a cache keeps otherwise");
            }
        }
    }

    /// A request that is one of the sample.
    #[cold]
    pub(crate) fn sample(&self, key: &K) {
        let mask = self.sample_mask.load(Relaxed);
        if mask != NEVER {
            let weight = u32::try_from(mask + 1).unwrap_or(1);
            self.classes.observe(key, |estimator| estimator.read(self.flights.hash(key), weight));
        }
    }

    pub(crate) fn observe_invalidation(&self, key: &K) {
        if self.is_adaptive() {
            self.classes.observe(key, |estimator| estimator.invalidated(self.flights.hash(key)));
        }
    }

    /// Looks whether the loader brings something else than before, where values have a form that can be compared.
    pub(crate) fn observe_load(&self, key: &K, value: Option<&V>) {
        let (true, Some(codec)) = (self.is_adaptive(), &self.codec) else { return };
        let hash = self.flights.hash(key);
        if self.classes.observe(key, |estimator| estimator.is_curious(hash)) != Some(true) {
            return;
        }
        if let Some(encoded) = codec.encode(value, 0) {
            self.classes.observe(key, |estimator| estimator.loaded(hash, xxh3_64(&encoded)));
        }
    }

    fn is_adaptive(&self) -> bool {
        self.sample_mask.load(Relaxed) != NEVER
    }
}
