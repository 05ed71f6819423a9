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
    /// What holds in every state; of what not every model promises it is said how many do.
    always: Vec<String>,
    /// What is reached in some state, so that the promises are not kept by doing nothing; the same.
    sometimes: Vec<String>,
    /// The different states of each model, all models together.
    states: usize,
    diagram: &'a str,
}

/// What was explored, of all models.
#[derive(Debug, Default)]
struct Explored {
    states: usize,
    models: usize,
    /// In the order in which models have them.
    promises: Vec<Promise>,
}

/// What holds, as a model promises it.
#[derive(Debug)]
struct Promise {
    name: &'static str,
    /// Whether it is reached in some state, else it holds in all.
    is_reached: bool,
    /// How many models promise it.
    models: usize,
}

impl Table<'_> {
    /// Explores every model exhaustively, each with other bounds, and writes down what holds.
    ///
    /// # Panics
    /// When a promise is broken, there is no model, or less than `states_min` states are explored in some model.
    pub fn prove<M>(&self, states_min: usize, models: impl IntoIterator<Item = M>)
    where
        M: Model + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
        M::Action: Clone + Debug + PartialEq + Send + Sync,
    {
        let mut explored = Explored::default();
        for model in models {
            explored.promised(model.properties().into_iter().map(|property| (property.expectation, property.name)));
            let checker = model.checker().threads(2).spawn_bfs().join();
            checker.assert_properties();
            let states = checker.unique_state_count();
            assert!(states >= states_min, "the model of {} explores {states} states only", self.name);
            explored.states += states;
        }
        assert!(explored.models > 0, "nothing is proved of {}: it has no model", self.name);
        if let Some(dir) = std::env::var_os(PROOFS_DIR) {
            self.write(Path::new(&dir), &explored);
        }
    }

    fn write(&self, dir: &Path, explored: &Explored) {
        let Self { name, file, formula, diagram } = *self;
        let written = Written {
            name,
            file,
            formula,
            always: explored.told(|promise| !promise.is_reached),
            sometimes: explored.told(|promise| promise.is_reached),
            states: explored.states,
            diagram,
        };
        let text = serde_json::to_string_pretty(&written).expect("texts and numbers have a form in JSON");
        fs::create_dir_all(dir).expect("the folder of proofs can be made");
        fs::write(dir.join(format!("{}.json", self.name)), text).expect("a proof can be written down");
    }
}

impl Explored {
    /// A further model promises that.
    fn promised(&mut self, promises: impl Iterator<Item = (Expectation, &'static str)>) {
        self.models += 1;
        for (expectation, name) in promises {
            let is_reached = matches!(expectation, Expectation::Sometimes);
            match self.promises.iter_mut().find(|known| (known.name, known.is_reached) == (name, is_reached)) {
                Some(known) => known.models += 1,
                None => self.promises.push(Promise { name, is_reached, models: 1 }),
            }
        }
    }

    fn told(&self, is_meant: impl Fn(&Promise) -> bool) -> Vec<String> {
        let tell = |promise: &Promise| match promise.models {
            models if models == self.models => promise.name.to_owned(),
            models => format!("{} (promised by {models} of {} models)", promise.name, self.models),
        };
        self.promises.iter().filter(|promise| is_meant(promise)).map(tell).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_model_promises_is_written_down_and_who_else_promises_what() {
        let mut explored = Explored::default();
        let always = |name| (Expectation::Always, name);
        explored
            .promised([always("it holds"), always("it is bounded"), (Expectation::Sometimes, "it ends")].into_iter());
        explored.promised([always("it holds"), (Expectation::Sometimes, "it is bounded")].into_iter());
        let table = Table { name: "Thing", file: "thing.rs", formula: "f(x)", diagram: "" };
        let dir = crate::temp_dir();
        table.write(dir.path(), &explored);
        let text = fs::read_to_string(dir.path().join("Thing.json")).unwrap();
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["always"], serde_json::json!(["it holds", "it is bounded (promised by 1 of 2 models)"]));
        let reached = ["it ends (promised by 1 of 2 models)", "it is bounded (promised by 1 of 2 models)"];
        assert_eq!(written["sometimes"], serde_json::json!(reached));
    }
}
