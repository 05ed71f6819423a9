//! Which entries there are: what there is to remove, and which id is next.

use std::collections::{BTreeMap, BTreeSet};

use bowline_provider_remote::wire::AuditClass;

/// How many entries of a class are kept: registrations cannot push out the rest, nor refusals.
pub(super) const MAX: fn(AuditClass) -> usize = |class| match class {
    AuditClass::Registry => 5000,
    AuditClass::Messages => 2000,
    AuditClass::Other => 10_000,
    AuditClass::Refused => 1000,
};

/// So many more than are kept may there be before some are removed: many at once cost little more.
const SLACK: usize = 100;

/// The ids of every class. They may include some that were never written, but none is missing.
#[derive(Debug)]
pub(super) struct Kept {
    classes: BTreeMap<&'static str, Ids>,
    last: u64,
}

/// The ids of one class.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) kept: BTreeSet<u64>,
    pub(super) max: usize,
}

impl Kept {
    pub(super) fn new(classes: BTreeMap<&'static str, Ids>) -> Self {
        let last = classes.values().filter_map(|ids| ids.kept.last().copied()).max().unwrap_or(0);
        Self { classes, last }
    }

    /// The id of a new entry: the time in nanoseconds, but always more than the one before.
    pub(super) fn begin(&mut self, class: &'static str, now: u64) -> u64 {
        self.last = now.max(self.last.saturating_add(1));
        let last = self.last;
        if let Some(ids) = self.classes.get_mut(class) {
            ids.kept.insert(last);
        }
        last
    }

    /// Forgets an entry that is not there.
    pub(super) fn forget(&mut self, class: &'static str, id: u64) {
        if let Some(ids) = self.classes.get_mut(class) {
            ids.kept.remove(&id);
        }
    }

    /// Whether there is enough to remove that it is worth it.
    pub(super) fn has_surplus(&self) -> bool {
        self.classes.values().any(|ids| ids.kept.len() > ids.max + SLACK)
    }

    /// The oldest entries beyond what is kept, of one class.
    pub(super) fn surplus(&self, count_max: usize) -> Option<(&'static str, Vec<u64>)> {
        let (class, ids) = self.classes.iter().find(|(_, ids)| ids.kept.len() > ids.max)?;
        let count = (ids.kept.len() - ids.max).min(count_max);
        Some((class, ids.kept.iter().copied().take(count).collect()))
    }

    /// The oldest entries of the class that has the most, but for half of them; none if it has few.
    pub(super) fn oldest(&self, count_max: usize) -> Option<(&'static str, Vec<u64>)> {
        let (class, ids) = self.classes.iter().max_by_key(|(_, ids)| ids.kept.len())?;
        let oldest: Vec<u64> = ids.kept.iter().copied().take((ids.kept.len() / 2).min(count_max)).collect();
        (!oldest.is_empty()).then_some((class, oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let ids = |kept: &[u64]| Ids { kept: kept.iter().copied().collect(), max: 2 };
        let mut kept = Kept::new(BTreeMap::from([("a", ids(&[5, 7])), ("b", ids(&[6]))]));
        assert_eq!([kept.begin("a", 1), kept.begin("b", 8), kept.begin("a", 100)], [8, 9, 100]);
        assert_eq!(kept.surplus(10), Some(("a", vec![5, 7])));
        assert_eq!(kept.surplus(1), Some(("a", vec![5])));
        kept.forget("a", 100);
        kept.forget("a", 5);
        assert_eq!(kept.surplus(10), None);
        assert!(!kept.has_surplus());
    }
}
