//! The parts of a snapshot, and who is in each: worked out when the set changes.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use bowline_model::{Health, policy::Balance};

use crate::{
    chunks::{Chunks, Fact, Slot},
    hash::nth,
    load::Tally,
    route::Sound,
    shape::Shape,
    shared::Shared,
    table::{Entry, Table},
};

/// The instances of one level that are near the caller, or those that are not, of which one may be picked.
#[derive(Debug)]
pub(crate) struct Part {
    well: Lot,
    /// All that are not draining, where that is not the same.
    all: Option<Lot>,
    /// Over all that are not draining, for the strategies that hash.
    pub(crate) table: Option<Arc<Table>>,
    /// How many there are, whatever subset of them is used.
    pub(crate) sound: Sound,
    /// Together they count what is in flight, where somebody asks for that.
    tallies: Box<[Tally]>,
}

/// A list to pick from, in the order of ids.
#[derive(Debug, Default)]
pub(crate) struct Lot {
    pub(crate) slots: Box<[Slot]>,
    /// The sum of the weights up to and with each, for the strategy that goes by weight.
    pub(crate) weight_sums: Box<[u64]>,
}

/// Two parts for each level up to the last that somebody is at: the near one, and the far one.
pub(crate) fn parts<T>(chunks: &Chunks<T>, shape: &Shape, shared: &Shared) -> Box<[Part]> {
    let mut lists: Vec<Vec<Slot>> = vec![Vec::new(), Vec::new()];
    lists[0].reserve(chunks.len());
    for (slot, fact) in chunks.facts().filter(|(_, fact)| fact.health != Health::Draining) {
        let at = 2 * usize::from(fact.level) + usize::from(!fact.is_near);
        if at >= lists.len() {
            lists.resize_with((at / 2 + 1) * 2, Vec::new);
        }
        lists[at].push(slot);
    }
    lists.into_iter().map(|slots| Part::of(slots, chunks, shape, shared)).collect()
}

impl Part {
    fn of<T>(mut slots: Vec<Slot>, chunks: &Chunks<T>, shape: &Shape, shared: &Shared) -> Self {
        let is_well = |slot: &Slot| chunks.fact(*slot).health == Health::Healthy;
        let well_count = slots.iter().filter(|slot| is_well(slot)).count();
        let sound = Sound { well: as_number(well_count), total: as_number(slots.len()) };
        if let Some(count) = shape.subset {
            take_subset(&mut slots, count, |slot| (!is_well(&slot), nth(chunks.fact(slot).hash, shape.caller)));
        }
        let table = shape.by.hashes().then(|| slots.iter().map(|slot| Entry::of(chunks.fact(*slot))).collect());
        let table = table.and_then(|entries| shared.tables.of(shape.by, entries));
        let tallies = if shape.headroom.is_some() { tallies(&slots, chunks) } else { Box::default() };
        let is_all_well = well_count >= slots.len() && slots.iter().all(is_well);
        let lot = |slots| Lot::of(slots, chunks, shape.by);
        let (well, all) = if is_all_well {
            (lot(slots), None)
        } else {
            (lot(slots.iter().copied().filter(is_well).collect()), Some(lot(slots)))
        };
        Self { well, all, table, sound, tallies }
    }

    /// Those that are well, or all that are not draining.
    #[inline]
    pub(crate) fn lot(&self, all: bool) -> &Lot {
        if all { self.all.as_ref().unwrap_or(&self.well) } else { &self.well }
    }

    /// Whether some that are not draining are not well.
    #[inline]
    pub(crate) fn has_ill(&self) -> bool {
        self.all.is_some()
    }

    /// Whether it is known what is in flight at all of them together.
    pub(crate) fn is_counted(&self) -> bool {
        !self.tallies.is_empty()
    }

    /// Requests in flight at all of them, and at those with whom they are counted.
    pub(crate) fn in_flight(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.0.load(Relaxed)).sum()
    }
}

/// Leaves so many of the slots, the first by their rank, in the order in which they were.
///
/// Ranked by a hash of caller and instance together, each caller has its own order of all instances: subsets are even
/// over many callers, and when an instance goes each caller replaces that one alone.
///
/// Source: D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998.
fn take_subset<R: Ord>(slots: &mut Vec<Slot>, count: usize, rank: impl Fn(Slot) -> R) {
    if count < slots.len() {
        slots.select_nth_unstable_by_key(count, |slot| rank(*slot));
        slots.truncate(count);
        slots.sort_unstable();
    }
}

fn tallies<T>(slots: &[Slot], chunks: &Chunks<T>) -> Box<[Tally]> {
    let mut tallies: Vec<Tally> = Vec::new();
    for tally in slots.iter().filter_map(|slot| chunks.load(*slot).tally()) {
        if !tallies.iter().any(|known| Arc::ptr_eq(known, tally)) {
            tallies.push(Arc::clone(tally));
        }
    }
    tallies.into()
}

impl Lot {
    fn of<T>(slots: Vec<Slot>, chunks: &Chunks<T>, by: Balance) -> Self {
        let mut sum = 0;
        let mut add = |slot: &Slot| {
            sum += u64::from(chunks.fact(*slot).weight);
            sum
        };
        let weight_sums = if by == Balance::Weighted { slots.iter().map(&mut add).collect() } else { Box::default() };
        Self { slots: slots.into(), weight_sums }
    }
}

impl Entry {
    fn of(fact: &Fact) -> Self {
        Self { hash: fact.hash, weight: fact.weight }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of instances")]
fn as_number(count: usize) -> f64 {
    count as f64
}
