//! Names, each kept once, and only so many.

use std::{collections::HashSet, sync::Arc};

/// A set of shared texts under a bound.
#[derive(Debug)]
pub(super) struct Names {
    names: HashSet<Arc<str>>,
    count_max: usize,
}

impl Names {
    pub(super) fn new(count_max: usize) -> Self {
        Self { names: HashSet::new(), count_max }
    }

    /// The name, shared; none when there are too many others in use.
    pub(super) fn share(&mut self, name: &str) -> Option<Arc<str>> {
        if let Some(known) = self.names.get(name) {
            return Some(Arc::clone(known));
        }
        if self.names.len() >= self.count_max {
            // Those that nobody else holds are gone with what they named.
            self.names.retain(|name| Arc::strong_count(name) > 1);
        }
        if self.names.len() >= self.count_max {
            return None;
        }
        let name: Arc<str> = Arc::from(name);
        self.names.insert(Arc::clone(&name));
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
}
