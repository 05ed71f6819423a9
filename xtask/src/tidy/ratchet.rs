//! The sizes that files and functions may have, and the exceptions, which only shrink.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{Problem, source::Source};

/// Where the exceptions are listed.
pub(super) const PATH: &str = "xtask/ratchet.toml";

/// Lines of code in a file, without its inline tests.
const FILE_LINES_MAX: usize = 500;

/// Lines of code between a function's braces.
const FUNCTION_LINES_MAX: usize = 70;

/// The exceptions: what it is → how many lines it has today.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ratchet {
    /// By path.
    #[serde(default)]
    files: BTreeMap<String, usize>,
    /// By path and name, `crates/a/src/b.rs::name`.
    #[serde(default)]
    functions: BTreeMap<String, usize>,
    /// What was found to exist, so that the rest can be called stale.
    #[serde(skip)]
    seen: Vec<String>,
}

impl Ratchet {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// Measures a file and its functions.
    pub(super) fn check(&mut self, path: &Path, source: &Source) -> Vec<Problem> {
        let key = path.display().to_string();
        let lines = source.code_lines();
        let mut problems = Vec::new();
        let message =
            judge(lines, FILE_LINES_MAX, self.files.get(&key).copied(), "the file", "split it by what it hides");
        problems.extend(message.map(|message| Problem::new(path, 1, message)));
        self.seen.push(key.clone());
        for function in source.functions() {
            let name = format!("{key}::{}", function.name);
            let allowed = self.functions.get(&name).copied();
            let what = format!("fn {}", function.name);
            let message = judge(function.code_lines, FUNCTION_LINES_MAX, allowed, &what, "split it into leaves");
            problems.extend(message.map(|message| Problem::new(path, function.line, message)));
            self.seen.push(name);
        }
        problems
    }

    /// Exceptions of what is no more.
    pub(super) fn stale(&self) -> Vec<Problem> {
        let listed = self.files.keys().chain(self.functions.keys());
        let stale = listed.filter(|key| !self.seen.contains(key));
        stale.map(|key| Problem::new(PATH, 1, format!("{key} is no more, remove its line"))).collect()
    }
}

/// What is wrong with that many lines, if anything.
fn judge(lines: usize, limit: usize, allowed: Option<usize>, what: &str, remedy: &str) -> Option<String> {
    match allowed {
        None if lines > limit => Some(format!("{what} has {lines} lines of code (at most {limit}), {remedy}")),
        Some(allowed) if lines > allowed => {
            Some(format!("{what} grew from {allowed} to {lines} lines of code (at most {limit}), {remedy}"))
        }
        Some(_) if lines <= limit => Some(format!("{what} is within {limit} lines again, remove its line from {PATH}")),
        Some(allowed) if lines < allowed => Some(format!("{what} shrank to {lines} lines, lower its line in {PATH}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_may_only_shrink() {
        let is_fault = |lines, allowed| judge(lines, 500, allowed, "it", "split it").is_some();
        assert!(!is_fault(500, None));
        assert!(is_fault(501, None));
        assert!(!is_fault(600, Some(600)));
        assert!(is_fault(601, Some(600)), "grown");
        assert!(is_fault(599, Some(600)), "shrunk");
        assert!(is_fault(500, Some(600)), "not needed");
    }

    #[test]
    fn an_exception_of_nothing_is_stale() {
        let mut ratchet = Ratchet::parse("[files]\n\"a.rs\" = 600\n\"b.rs\" = 600\n").unwrap();
        let lines = "x\n".repeat(600);
        assert_eq!(ratchet.check(Path::new("a.rs"), &Source::read(&lines)), []);
        let stale: Vec<String> = ratchet.stale().iter().map(ToString::to_string).collect();
        assert_eq!(stale, ["xtask/ratchet.toml:1: error: b.rs is no more, remove its line"]);
    }

    #[test]
    fn a_long_function_is_found_at_its_line() {
        let text = format!("//! A.\n\nfn long() {{\n{}}}\n", "    x;\n".repeat(71));
        let problems = Ratchet::default().check(Path::new("a.rs"), &Source::read(&text));
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [3]);
    }
}
