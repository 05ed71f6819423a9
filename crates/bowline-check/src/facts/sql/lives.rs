//! What becomes of tables over scripts that are run one after another: made, renamed, done away with.

use std::collections::BTreeMap;

use super::cursor::Key;

/// The tables of a service, as its scripts make them and do away with them.
#[derive(Debug, Default)]
pub(super) struct Lives {
    all: Vec<Life>,
    /// Of each table, the latest.
    latest: BTreeMap<Key, LifeId>,
}

/// A table from when it is made until it is done away with. What is made again under its name is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LifeId(usize);

#[derive(Debug)]
struct Life {
    stage: Stage,
    is_view: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It was there, as far as the scripts tell.
    Old,
    /// The scripts did away with one that was there.
    OldGone,
    /// The scripts made it.
    Made,
    /// The scripts made it, and did away with it.
    Passed,
}

impl Lives {
    /// That of a table which is named now: the latest, else one from before the scripts.
    pub(super) fn of(&mut self, key: &Key) -> LifeId {
        match self.latest.get(key) {
            Some(id) => *id,
            None => self.begin(key.clone(), Stage::Old, false),
        }
    }

    /// A script makes it; where it is there, that changes nothing.
    pub(super) fn made(&mut self, key: &Key, is_view: bool) {
        let latest = self.latest.get(key).map(|id| self.all[id.0].stage);
        if matches!(latest, None | Some(Stage::OldGone | Stage::Passed)) {
            self.begin(key.clone(), Stage::Made, is_view);
        }
    }

    /// A script does away with it.
    pub(super) fn gone(&mut self, key: &Key, is_view: bool) {
        let id = self.of(key);
        let life = &mut self.all[id.0];
        life.is_view |= is_view;
        life.stage = match life.stage {
            Stage::Old | Stage::OldGone => Stage::OldGone,
            Stage::Made | Stage::Passed => Stage::Passed,
        };
    }

    /// What was named so has another name from now on.
    pub(super) fn renamed(&mut self, old: &Key, new: &Key) {
        let id = self.of(old);
        let is_view = self.all[id.0].is_view;
        let is_made = self.all[id.0].stage == Stage::Made;
        self.gone(old, is_view);
        if is_made {
            self.made(new, is_view);
        }
    }

    /// Whether the scripts made it and did away with it: it is nobody's business any more.
    pub(super) fn has_passed(&self, id: LifeId) -> bool {
        self.all[id.0].stage == Stage::Passed
    }

    /// Whether it is a view, as far as the scripts tell.
    pub(super) fn is_view(&self, id: LifeId) -> bool {
        self.all[id.0].is_view
    }

    fn begin(&mut self, key: Key, stage: Stage, is_view: bool) -> LifeId {
        let id = LifeId(self.all.len());
        self.all.push(Life { stage, is_view });
        self.latest.insert(key, id);
        id
    }
}
