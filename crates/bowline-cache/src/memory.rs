//! The level in memory: `quick_cache`, with the times that it does not have.

use std::{hash::Hash, mem::size_of, sync::Arc};

use bowline_runtime::{metric::Counter, task};
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, Options, OptionsBuilder, Weighter, sync};

use crate::{Key, slot::Ms};

/// How much smaller than a shard of it an item has to be at least: a larger one would throw out too much.
const ITEMS_PER_SHARD_MIN: u64 = 16;

/// About what an entry takes beside its key and its value.
pub(crate) const ENTRY_BYTES: u64 = 96;

/// Entries by key, bounded by their weight.
pub(crate) struct Memory<K, V>(sync::Cache<K, Entry<V>, Weights, DefaultHashBuilder, Evictions>);

/// What is kept of a key. It is copied for each reader, and most of what a reader waits for is memory: so it is small.
pub(crate) struct Entry<V> {
    /// None: there is no such thing.
    pub(crate) value: Option<Arc<V>>,
    /// Until when it is fresh, above [`WEIGHT_BITS`] of its weight.
    packed: u64,
}

/// A weight is a mantissa and, above it, by how many bits that is shifted.
const WEIGHT_BITS: u32 = MANTISSA_BITS + 5;
const MANTISSA_BITS: u32 = 16;

#[derive(Debug, Clone)]
struct Weights;

#[derive(Debug, Clone)]
struct Evictions(Counter);

/// Shards that an item of that weight fits into, for so many as there will be of the usual weight.
pub(crate) fn options(weight_max: u64, item_max: u64, item_usual: u64) -> Options {
    let cores = task::cores();
    let by_weight = weight_max / ITEMS_PER_SHARD_MIN.saturating_mul(item_max.max(1));
    let shards = usize::try_from(by_weight).unwrap_or(usize::MAX).clamp(1, 4 * cores);
    let items = usize::try_from(weight_max / item_usual.max(1)).unwrap_or(usize::MAX);
    let mut options = OptionsBuilder::new();
    // A power of two, downwards: `quick_cache` rounds up.
    options.shards(1 << shards.ilog2()).weight_capacity(weight_max).estimated_items_capacity(items);
    options.build().expect("all that it needs is set")
}

impl<V> Entry<V> {
    /// Fresh until then (8,000 years are enough). The weight is rounded up, by a thirty-thousandth at most.
    pub(crate) fn new(value: Option<Arc<V>>, fresh: Ms, weight: u64) -> Self {
        let fresh = fresh.min(u64::MAX >> WEIGHT_BITS);
        Self { value, packed: fresh << WEIGHT_BITS | packed_weight(weight.max(1)) }
    }

    #[inline]
    pub(crate) fn fresh(&self) -> Ms {
        self.packed >> WEIGHT_BITS
    }

    fn weight(&self) -> u64 {
        let weight = self.packed & ((1 << WEIGHT_BITS) - 1);
        (weight & ((1 << MANTISSA_BITS) - 1)) << (weight >> MANTISSA_BITS)
    }
}

fn packed_weight(weight: u64) -> u64 {
    let weight = weight.min((1 << 40) - 1);
    let mut shift = (u64::BITS - weight.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let mut mantissa = weight.div_ceil(1 << shift);
    if mantissa >> MANTISSA_BITS > 0 {
        (mantissa, shift) = (mantissa.div_ceil(2), shift + 1);
    }
    u64::from(shift) << MANTISSA_BITS | mantissa
}

impl<K: Key, V> Memory<K, V> {
    /// For that weight in all; no item is heavier than `item_max`, or it is not kept.
    pub(crate) fn new(weight_max: u64, item_max: u64, evictions: Counter) -> Self {
        let usual = ENTRY_BYTES + (size_of::<K>() + size_of::<V>()) as u64;
        let options = options(weight_max, item_max, usual.min(item_max.max(1)));
        Self(sync::Cache::with_options(options, Weights, DefaultHashBuilder::default(), Evictions(evictions)))
    }

    #[inline]
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<Entry<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.0.get(key)
    }

    /// The same without making it look used.
    pub(crate) fn peek<Q>(&self, key: &Q) -> Option<Entry<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.0.peek(key)
    }

    /// Whether it is kept: what is too heavy is not.
    pub(crate) fn insert(&self, key: K, entry: Entry<V>) -> bool {
        if entry.weight() > self.0.shard_capacity() {
            self.0.remove(&key);
            return false;
        }
        self.0.insert(key, entry);
        true
    }

    pub(crate) fn remove(&self, key: &K) {
        drop(self.0.remove(key));
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    /// Removes what those keys have, as if it were evicted.
    pub(crate) fn remove_where(&self, is_meant: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| !is_meant(key));
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(crate) fn weight(&self) -> u64 {
        self.0.weight()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.0.capacity()
    }
}

impl<V> Clone for Entry<V> {
    #[inline]
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), packed: self.packed }
    }
}

impl<K, V> Weighter<K, Entry<V>> for Weights {
    fn weight(&self, _: &K, entry: &Entry<V>) -> u64 {
        entry.weight()
    }
}

impl<K, V> Lifecycle<K, Entry<V>> for Evictions {
    /// What is evicted is dropped once no lock is held; mostly that is one or two.
    type RequestState = [Option<(K, Entry<V>)>; 2];

    fn on_evict(&self, state: &mut Self::RequestState, key: K, entry: Entry<V>) {
        self.0.increment();
        if let Some(place) = state.iter_mut().find(|place| place.is_none()) {
            *place = Some((key, entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small_and_keeps_its_time_and_weight() {
        assert_eq!(size_of::<Entry<String>>(), 16);
        for weight in [1, 2, 65_535, 65_536, 65_537, 131_071, 1 << 20, (1 << 20) + 1, (1 << 30) - 1, 1 << 39] {
            let entry = Entry::<u8>::new(None, 1 << 42, weight);
            assert_eq!(entry.fresh(), 1 << 42);
            assert!((weight..=weight + weight / 30_000).contains(&entry.weight()), "{weight}: {}", entry.weight());
        }
        assert_eq!(Entry::<u8>::new(None, u64::MAX, u64::MAX).fresh(), u64::MAX >> WEIGHT_BITS);
    }

    #[test]
    fn weight_is_bounded_and_what_is_too_heavy_is_not_kept() {
        let evictions = Counter::default();
        let memory = Memory::<u64, u8>::new(10_000, 500, evictions.clone());
        let entry = |weight| Entry::new(None, 1, weight);
        assert!((0..100).all(|key| memory.insert(key, entry(500))));
        assert!(memory.weight() <= memory.capacity() && memory.weight() >= 8000, "{}", memory.weight());
        assert!(evictions.get() >= 80);
        assert!(memory.insert(7, entry(1)) && !memory.insert(7, entry(20_000)));
        assert!(memory.peek(&7).is_none(), "not what was there before, either");
    }
}
