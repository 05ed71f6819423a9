//! What the compiler cannot check: floors, sizes, sleeps, links, words that must not be there.
//!
//! Each finding is one line, `file:line: error: what is wrong, what to do`, so that editors jump.

mod code;
mod floors;
mod links;
mod manifests;
mod ratchet;
mod source;
mod words;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;

use crate::workspace::Workspace;

/// Documents that a newcomer and an operator look for.
const DOCUMENTS: [&str; 6] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "STYLE.md", "LICENSE"];

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    path: PathBuf,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl Problem {
    fn new(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: error: {}", self.path.display(), self.line, self.message)
    }
}

/// A text file of the checkout.
#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
}

impl File {
    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }
}

/// Prints every finding; true when there is none.
pub(crate) fn report(workspace: &Workspace) -> anyhow::Result<bool> {
    let start = Instant::now();
    let problems = check(workspace)?;
    for problem in &problems {
        println!("{problem}");
    }
    println!("tidy: {} problems, {:.1} s", problems.len(), start.elapsed().as_secs_f64());
    Ok(problems.is_empty())
}

fn check(workspace: &Workspace) -> anyhow::Result<Vec<Problem>> {
    let paths = workspace.files()?;
    let files = read(workspace, &paths)?;
    let mut problems = documents(&workspace.root);
    problems.extend(floors::check(workspace));
    problems.extend(manifests::check(workspace)?);
    problems.extend(code::check(workspace, &files)?);
    problems.extend(words::check(&files));
    problems.extend(links::check(&workspace.root, &files));
    problems.sort();
    Ok(problems)
}

/// The files that hold text; others (pictures, databases) are not ours to judge.
fn read(workspace: &Workspace, paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths {
        let bytes = fs::read(workspace.root.join(path)).with_context(|| format!("read {}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.clone(), text });
        }
    }
    Ok(files)
}

fn documents(root: &Path) -> Vec<Problem> {
    let missing = DOCUMENTS.iter().filter(|name| !root.join(name).is_file());
    missing.map(|name| Problem::new(name, 1, "the document is missing, write it")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_tidy() {
        let problems = check(&Workspace::load().unwrap()).unwrap();
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }

    #[test]
    fn a_finding_is_a_line_that_editors_jump_to() {
        let problem = Problem::new("src/lib.rs", 3, "x is banned, use y");
        assert_eq!(problem.to_string(), "src/lib.rs:3: error: x is banned, use y");
    }
}
