//! Proofs of transition tables: explored by the model checker, drawn by running them, and written down.
//!
//! `cargo xtask prove` runs every test that is called `proof`, and makes `docs/theory.md` of what they wrote.

use std::{fmt::Debug, fs, hash::Hash, path::Path};

use serde::Serialize;
use stateright::{Checker as _, Expectation, Model};

/// The variable that names the folder in which proofs are written down; without it they are checked alone.
pub const PROOFS_DIR: &str = "BOWLINE_PROOFS";

/// A transition table, as people know it.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// What it is of, in a few words: `Lease`. Its place in the document is by this.
    pub name: &'a str,
    /// Its file, from the root of the workspace.
    pub file: &'a str,
    /// The seed's formula that it is the mechanism of, or what it is in the place of.
    pub formula: &'a str,
    /// The table as a Mermaid state diagram, drawn by running it.
    pub diagram: &'a str,
}

/// What is written down of a proof.
#[derive(Debug, Serialize)]
struct Written<'a> {
    name: &'a str,
    file: &'a str,
    formula: &'a str,
    /// What holds in every state.
    always: Vec<&'a str>,
    /// What is reached in some state, so that the promises are not kept by doing nothing.
    sometimes: Vec<&'a str>,
    /// Different states, all models together.
    states: usize,
    diagram: &'a str,
}

impl Table<'_> {
    /// Explores every model exhaustively, each with other bounds, and writes down what holds.
    ///
    /// # Panics
    /// When a promise is broken, or less than `states_min` states are explored in some model.
    pub fn prove<M>(&self, states_min: usize, models: impl IntoIterator<Item = M>)
    where
        M: Model + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
        M::Action: Clone + Debug + PartialEq + Send + Sync,
    {
        let (mut states, mut promises) = (0, Vec::new());
        for model in models {
            let promised = model.properties().into_iter().map(|property| (property.expectation, property.name));
            promises = promised.collect();
            let checker = model.checker().threads(2).spawn_bfs().join();
            checker.assert_properties();
            let explored = checker.unique_state_count();
            assert!(explored >= states_min, "the model of {} explores {explored} states only", self.name);
            states += explored;
        }
        if let Some(dir) = std::env::var_os(PROOFS_DIR) {
            self.write(Path::new(&dir), states, &promises);
        }
    }

    fn write(&self, dir: &Path, states: usize, promises: &[(Expectation, &'static str)]) {
        let of = |is_meant: fn(&Expectation) -> bool| {
            promises.iter().filter(|(expectation, _)| is_meant(expectation)).map(|(_, name)| *name).collect()
        };
        let Self { name, file, formula, diagram } = *self;
        let written = Written {
            name,
            file,
            formula,
            always: of(|expectation| !matches!(expectation, Expectation::Sometimes)),
            sometimes: of(|expectation| matches!(expectation, Expectation::Sometimes)),
            states,
            diagram,
        };
        let text = serde_json::to_string_pretty(&written).expect("texts and numbers have a form in JSON");
        fs::create_dir_all(dir).expect("the folder of proofs can be made");
        fs::write(dir.join(format!("{}.json", self.name)), text).expect("a proof can be written down");
    }
}

/// A Mermaid state diagram of transitions: from, to, what happens.
pub fn diagram(start: &str, transitions: impl IntoIterator<Item = (String, String, String)>) -> String {
    let mut text = format!("stateDiagram-v2\n    [*] --> {start}\n");
    for (from, to, label) in transitions {
        text.extend(["    ", &from, " --> ", &to, ": ", &label, "\n"]);
    }
    text
}
