//! What a workspace says of a system: whose package depends on whose, and which tables migrations name.
//!
//! | fact | told by |
//! |---|---|
//! | which package a service is | the binary that its `run` names, else the one package that its `build` names, in the folder that they name, if they do |
//! | what a package depends on | `cargo metadata --no-deps`, which neither resolves nor downloads |
//! | which tables a service names | the SQL files in the folder `migrations` of its package |
//!
//! A system that Cargo does not build has no facts, and neither has one whose packages are nowhere to be found, which
//! is noted, as are migrations that no service's package holds. What cannot be read is noted and left out: facts are
//! there to find faults, and a workspace that does not build is told of by Cargo.

mod cargo;
mod command;
mod dependencies;
mod files;
mod manifest;
mod migrations;
mod owners;
mod sql;
#[cfg(test)]
mod tests;

use std::{ffi::OsStr, fmt, path::Path};

use bowline_model::{System, check::Facts};
use bowline_runtime::{fs, task};

use self::{cargo::Workspaces, owners::Declared};

/// The most notes that are kept; one more says that there were more.
const NOTES_MAX: usize = 100;

/// What could not be looked at: the facts lack it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The file or folder, relative to that of `bowline.toml`; absent: the workspace as a whole.
    pub file: Option<String>,
    /// What is wrong with it: lower case, no full stop.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Gathers what is known of the workspace around `dir`, the folder of the system's `bowline.toml`.
///
/// Asks `cargo` once for the workspace, and once more for each that commands name or a path leads to; never
/// the network. It takes 30 s for each at the most, and reads no file of more than 1 MiB. Facts come in
/// an order that depends on what is there alone: dependencies by their services, tables by service,
/// file and line, and notes by file.
///
/// # Cancel safety
/// Dropping the future kills a `cargo` that runs.
pub async fn gather(dir: &Path, system: &System) -> (Facts, Vec<Note>) {
    gather_by(OsStr::new("cargo"), dir, system).await
}

/// [`gather`] with that program for Cargo.
async fn gather_by(program: &OsStr, dir: &Path, system: &System) -> (Facts, Vec<Note>) {
    let declared = owners::declared(system);
    let Ok(dir) = fs::canonicalize(dir) else { return Default::default() };
    let mut notes = Notes::default();
    let folders = owners::folders(&declared);
    let known = if declared.is_empty() {
        Some(Workspaces::default())
    } else if folders.is_empty() && !cargo::is_around(&dir) {
        notes.add(None, outside(&declared));
        None
    } else {
        cargo::workspaces(program, &dir, &folders, &mut notes).await
    };
    let Some(known) = known else { return (Facts::default(), notes.all()) };
    let read = task::spawn_blocking(move || {
        let facts = look(&dir, &declared, &known, &mut notes);
        (facts, notes.all())
    });
    read.await.expect("it neither panics nor is aborted")
}

/// What is said where no Cargo project is around services that Cargo builds.
fn outside(declared: &[Declared]) -> String {
    let (service, more) = (&declared[0].service, declared.len() - 1);
    let and_more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(
        "packages and migrations are not looked at: Cargo builds service {service}{and_more}, and no Cargo.toml is in \
         this folder or above it"
    )
}

fn look(dir: &Path, declared: &[Declared], known: &Workspaces, notes: &mut Notes) -> Facts {
    let owners = owners::find(declared, known, notes);
    let packages = &known.packages;
    let dependencies = dependencies::find(dir, packages, &owners, notes);
    let tables = migrations::find(dir, packages, &owners, notes);
    let read = owners.packages.keys().map(|package| packages[*package].folder().to_owned()).collect();
    migrations::unread(dir, &read, notes);
    Facts { dependencies, tables }
}

/// An error with its causes, on one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The notes so far.
#[derive(Debug, Default)]
struct Notes {
    kept: Vec<Note>,
    is_cut: bool,
}

impl Notes {
    fn add(&mut self, file: Option<String>, message: impl Into<String>) {
        if self.kept.len() < NOTES_MAX {
            self.kept.push(Note { file, message: message.into() });
        } else {
            self.is_cut = true;
        }
    }

    fn all(mut self) -> Vec<Note> {
        self.kept.sort();
        if self.is_cut {
            self.kept.push(Note { file: None, message: format!("there are more than {NOTES_MAX} of such notes") });
        }
        self.kept
    }
}
