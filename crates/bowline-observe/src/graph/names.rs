//! Names, each kept once, and only so many.

use std::{collections::HashSet, sync::Arc};

/// A set of shared texts under a bound.
#[derive(Debug)]
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    count_max: usize,
    /// How many are asked for before it is looked again who is gone.
    look_after: usize,
}

/// Between two looks, which go through all names, as many are asked for as this part of all is.
const LOOK_PART: usize = 16;

impl Names {
    pub(super) fn new(count_max: usize) -> Self {
        Self { known: HashSet::new(), count_max, look_after: 0 }
    }

    /// The name, shared; none when there are too many others in use.
    pub(super) fn share(&mut self, name: &str) -> Option<Arc<str>> {
        self.look_after = self.look_after.saturating_sub(1);
        if let Some(known) = self.known.get(name) {
            return Some(Arc::clone(known));
        }
        if self.known.len() >= self.count_max {
            if self.look_after > 0 {
                return None;
            }
            self.look_after = self.count_max / LOOK_PART;
            // Those that nobody else holds are gone with what they named.
            self.known.retain(|name| Arc::strong_count(name) > 1);
        }
        if self.known.len() >= self.count_max {
            return None;
        }
        let name: Arc<str> = Arc::from(name);
        self.known.insert(Arc::clone(&name));
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_bounded_and_forgotten_when_unused() {
        let mut names = Names::new(2);
        let (a, b) = (names.share("a").unwrap(), names.share("b").unwrap());
        assert!(Arc::ptr_eq(&a, &names.share("a").unwrap()));
        assert_eq!(names.share("c"), None);
        drop(b);
        assert!(names.share("c").is_some());
        assert!(Arc::ptr_eq(&a, &names.share("a").unwrap()));
    }

    #[test]
    fn names_that_never_end_are_mostly_refused_without_a_look_at_all() {
        let mut names = Names::new(64);
        let mut held: Vec<_> = (0..64).map(|number| names.share(&number.to_string()).unwrap()).collect();
        assert_eq!(names.share("a"), None);
        held.clear();
        let refused = (0..64).take_while(|number| names.share(&format!("b{number}")).is_none()).count();
        assert_eq!(refused, 64 / LOOK_PART - 1);
    }
}
