//! The tables of the strategies that hash: made when the set changes, shared by all snapshots for which they are the same.

mod maglev;
mod ring;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bowline_model::policy::Balance;

pub(crate) use self::{maglev::Maglev, ring::Ring};

/// Where each key belongs, among the places of a list of instances.
#[derive(Debug)]
pub(crate) struct Table {
    kind: Kind,
    of: Box<[Entry]>,
    weight_sum: u64,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Maglev(Maglev),
    Ring(Ring),
}

/// One instance, as a table sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Of its id.
    pub(crate) hash: u64,
    pub(crate) weight: u32,
}

/// The tables that are in use.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<Vec<Weak<Table>>>);

impl Tables {
    /// The table of a strategy that hashes for those instances, made where none is in use yet.
    pub(crate) fn of(&self, by: Balance, entries: Vec<Entry>) -> Option<Arc<Table>> {
        if !by.hashes() || entries.is_empty() {
            return None;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|table| table.strong_count() > 0);
        let is_same = |table: &Arc<Table>| table.is_by(by) && *table.of == *entries;
        if let Some(table) = known.iter().filter_map(Weak::upgrade).find(is_same) {
            return Some(table);
        }
        let table = Arc::new(Table::new(by, entries));
        known.push(Arc::downgrade(&table));
        Some(table)
    }
}

impl Table {
    fn new(by: Balance, of: Vec<Entry>) -> Self {
        let kind = match by {
            Balance::Ring => Kind::Ring(Ring::new(&of)),
            _ => Kind::Maglev(Maglev::new(&of)),
        };
        let weight_sum = of.iter().map(|entry| u64::from(entry.weight)).sum();
        Self { kind, of: of.into(), weight_sum }
    }

    fn is_by(&self, by: Balance) -> bool {
        matches!((&self.kind, by), (Kind::Maglev(_), Balance::Maglev) | (Kind::Ring(_), Balance::Ring))
    }

    #[inline]
    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(crate) fn weight(&self, at: usize) -> u64 {
        u64::from(self.of[at].weight)
    }

    pub(crate) fn weight_sum(&self) -> u64 {
        self.weight_sum
    }
}
