//! The labels of the head's series.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use crate::{labels::Labels, series::postings::Postings};

type Values = BTreeMap<Arc<str>, Vec<u32>>;

/// The places of series, by name and value of their labels.
#[derive(Debug, Default)]
pub(super) struct Index {
    names: BTreeMap<Arc<str>, Values>,
    places: BTreeSet<u32>,
}

impl Index {
    /// Adds a series; gives its labels, their texts shared with other series.
    pub(super) fn insert(&mut self, labels: &Labels, at: u32) -> Labels {
        self.places.insert(at);
        let shared = labels.pairs().iter().map(|(name, value)| {
            let name = self.names.get_key_value(name).map_or_else(|| Arc::clone(name), |(known, _)| Arc::clone(known));
            let values = self.names.entry(Arc::clone(&name)).or_default();
            let value = values.get_key_value(value).map_or_else(|| Arc::clone(value), |(known, _)| Arc::clone(known));
            values.entry(Arc::clone(&value)).or_default().push(at);
            (name, value)
        });
        Labels::from_sorted(shared.collect::<Vec<_>>())
    }

    /// Removes series.
    pub(super) fn remove(&mut self, series: &[(u32, Labels)]) {
        let places: HashSet<u32> = series.iter().map(|(at, _)| *at).collect();
        let pairs: BTreeSet<_> = series.iter().flat_map(|(_, labels)| labels.iter()).collect();
        // Each list is gone through once, however many of its series go.
        for (name, value) in pairs {
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(list) = values.get_mut(value) {
                list.retain(|at| !places.contains(at));
                if list.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
        self.places.retain(|at| !places.contains(at));
    }

    /// The values of a label.
    pub(super) fn values_of(&self, name: &str) -> Vec<Arc<str>> {
        self.names.get(name).into_iter().flat_map(Values::keys).cloned().collect()
    }

    pub(super) fn names(&self, visit: impl FnMut(&str)) {
        self.names.keys().map(|name| &**name).for_each(visit);
    }
}

impl Postings for Index {
    fn bound(&self) -> usize {
        self.places.last().map_or(0, |last| *last as usize + 1)
    }

    fn all(&self, visit: impl FnMut(u32)) {
        self.places.iter().copied().for_each(visit);
    }

    fn equal(&self, name: &str, value: &str) -> &[u32] {
        self.names.get(name).and_then(|values| values.get(value)).map_or(&[], |list| list.as_slice())
    }

    fn values<'a>(&'a self, name: &str, mut visit: impl FnMut(&'a str, &'a [u32])) {
        for (value, list) in self.names.get(name).into_iter().flatten() {
            visit(value, list);
        }
    }
}
