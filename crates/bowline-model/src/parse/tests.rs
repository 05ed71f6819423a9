//! The parser: what is right is read as it should be, and what is wrong is told where it is.

mod auth;
mod caches;
mod calls;
mod config;
mod databases;
mod deploy;
mod file;
mod gateway;
mod mesh;
mod messages;
mod middleware;
mod monitor;
mod profile;
mod random;
mod reference;
mod routes;
mod services;
mod table;
mod whole;

use super::*;

fn told(problem: &Problem) -> String {
    let Problem { position, width, message, help } = problem;
    format!("{}:{}+{width} {message} → {help}", position.line, position.column)
}

/// Checks that a text has these problems, in this order, each `line:column+width message → help`.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let problems = parse(text).err().unwrap_or_default();
    let found: Vec<String> = problems.iter().map(told).collect();
    assert_eq!(found, expect, "in\n{text}\n");
}

/// Checks all cases of a text, each within a file.
///
/// A case is the lines that stand for `$` in the file and then, indented, its problems. A blank
/// line ends it.
#[track_caller]
fn check_all(file: &str, cases: &str) {
    for case in cases.trim().split("\n\n") {
        let (expect, lines): (Vec<&str>, Vec<&str>) = case.lines().partition(|line| line.starts_with("  "));
        let expect: Vec<&str> = expect.iter().map(|line| line.trim_start()).collect();
        check(&file.replacen('$', &lines.join("\n"), 1), &expect);
    }
}
