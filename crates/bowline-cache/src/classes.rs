//! The classes of a cache's keys, and how each is kept.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bowline_runtime::time::coarse;

use crate::{
    ClassStatus,
    estimate::Estimator,
    slot::Ms,
    strategy::{Choice, ChoiceCell, Judge, Rules, why},
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
    /// None where the application says how it is kept.
    observed: Option<Mutex<Observed>>,
}

struct Observed {
    estimator: Estimator,
    judge: Judge,
    why: String,
}

impl<K> Classes<K> {
    pub(crate) fn new(names: &[String], of: fn(&K) -> usize, choice: Choice, is_adaptive: bool) -> Self {
        let observed = || Observed {
            estimator: Estimator::new(coarse()),
            judge: Judge::default(),
            why: "nothing was observed yet".to_owned(),
        };
        let class = |name: &String| Class {
            name: name.clone(),
            choice: ChoiceCell::new(choice),
            observed: is_adaptive.then(|| Mutex::new(observed())),
        };
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

    /// Tells what happens to a key to whoever observes its class.
    pub(crate) fn observe<T>(&self, key: &K, tell: impl FnOnce(&mut Estimator) -> T) -> Option<T> {
        let mut observed = self.classes[self.index(key)].lock()?;
        Some(tell(&mut observed.estimator))
    }

    pub(crate) fn status(&self) -> Vec<ClassStatus> {
        self.classes.iter().map(Class::status).collect()
    }
}

impl Class {
    fn lock(&self) -> Option<MutexGuard<'_, Observed>> {
        Some(self.observed.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Chooses how it is kept from now on; true where that is another choice.
    pub(crate) fn judge(&self, now: Ms, rules: &Rules) -> bool {
        let Some(mut observed) = self.lock() else { return false };
        let estimate = observed.estimator.estimate(now);
        let before = self.choice.get();
        let found = observed.judge.judge(before, &estimate, rules);
        let choice = found.unwrap_or(before);
        self.choice.set(choice);
        observed.why = why(&estimate, choice);
        found.is_some()
    }

    fn status(&self) -> ClassStatus {
        let observed = self.lock();
        ClassStatus {
            class: self.name.clone(),
            strategy: self.choice.get().shown(),
            why: observed.as_ref().map_or("the application says so", |observed| observed.why.as_str()).to_owned(),
            is_adaptive: observed.is_some(),
        }
    }
}
