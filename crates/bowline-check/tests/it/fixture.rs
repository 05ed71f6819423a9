//! An example of a page, made real in a folder of its own, and proved.

use std::{fs, path::Path};

use bowline_check::{
    facts,
    tell::{self, Report, Sources},
};
use bowline_model::{
    System,
    check::{self, Facts, Violation},
    observed, parse,
};
use tempfile::TempDir;

use crate::page::Block;

/// The example that these blocks are.
#[derive(Debug)]
pub(crate) struct Fixture {
    system: System,
    sources: Sources,
    pub(crate) violations: Vec<Violation>,
}

impl Fixture {
    /// Writes the files of the blocks, and proves what they declare.
    pub(crate) fn of(blocks: &[Block]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut declared = None;
        let mut seen = None;
        for block in blocks {
            match &*block.file {
                "" => {}
                "observed" => seen = Some(&block.content),
                "bowline.toml" => declared = Some(&block.content),
                file => {
                    let path = dir.path().join(file);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, &block.content).unwrap();
                }
            }
        }
        let text = declared.expect("an example has a bowline.toml");
        let (system, _unbuilt) = parse::declared(text, None).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        let mut violations = check::check(&system, &facts(dir.path(), &system));
        if let Some(seen) = seen {
            violations.extend(observed(&system, seen));
        }
        let mut sources = Sources::new(Path::new("bowline.toml"), text);
        sources.read(dir.path(), &violations);
        Self { system, sources, violations }
    }

    /// As people read it.
    pub(crate) fn told(&self) -> String {
        let Self { system, sources, violations } = self;
        let report = Report { system, violations, notes: &[], loads: &[], seen: None, sources };
        tell::text(&report, false).trim_end().to_owned() + "\n"
    }
}

/// What the workspace in the folder says.
fn facts(dir: &Path, system: &System) -> Facts {
    let runtime = bowline_runtime::task::shared_runtime(1).unwrap();
    let (facts, unread) = runtime.block_on(facts::gather(dir, system));
    assert!(unread.is_empty(), "{unread:?}");
    facts
}

/// What breaks rules in what was seen.
fn observed(system: &System, seen: &str) -> Vec<Violation> {
    observed::check(system, &serde_json::from_str(seen).unwrap_or_else(|error| panic!("{error}\n{seen}")))
}
