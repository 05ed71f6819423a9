//! The classes of a cache's keys, and how each is kept.

use crate::{
    ClassStatus,
    strategy::{Choice, ChoiceCell},
};

/// The classes, at least one.
pub(crate) struct Classes<K> {
    classes: Vec<Class>,
    /// Which one a key is of; a number that is none is the last one.
    of: fn(&K) -> usize,
}

pub(crate) struct Class {
    pub(crate) name: String,
    pub(crate) choice: ChoiceCell,
}

impl<K> Classes<K> {
    pub(crate) fn new(names: &[String], of: fn(&K) -> usize, choice: Choice) -> Self {
        let class = |name: &String| Class { name: name.clone(), choice: ChoiceCell::new(choice) };
        Self { classes: names.iter().map(class).collect(), of }
    }

    pub(crate) fn index(&self, key: &K) -> usize {
        (self.of)(key).min(self.classes.len() - 1)
    }

    pub(crate) fn choice(&self, key: &K) -> Choice {
        self.classes[self.index(key)].choice.get()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }

    pub(crate) fn status(&self) -> Vec<ClassStatus> {
        let status = |class: &Class| ClassStatus {
            class: class.name.clone(),
            strategy: class.choice.get().shown(),
            why: "the application says so".to_owned(),
            is_adaptive: false,
        };
        self.classes.iter().map(status).collect()
    }
}
