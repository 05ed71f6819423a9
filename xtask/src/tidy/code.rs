//! Rust files: a first line that says what for, sizes, no sleeping tests, no escape hatches.

use std::{
    fs,
    path::{Component, Path},
};

use anyhow::Context as _;

use super::{
    File, Problem,
    ratchet::{self, Ratchet},
    source::{Source, words},
};
use crate::workspace::Workspace;

/// Text of code that must not be there, and what to do.
const BANNED: [(&str, &str); 7] = [
    ("#[ignore", "assert what it does today, or delete the test"),
    ("#[should_panic", "return an error and assert it, or catch the panic where it is expected"),
    ("todo!", "write it, or return an error that says so"),
    ("unimplemented!", "write it, or return an error that says so"),
    ("dbg!", "remove it"),
    ("#[allow(", "use `#[expect(…, reason = \"…\")]`"),
    ("#![allow(", "use `#![expect(…, reason = \"…\")]`"),
];

/// Marks of virtual time: where one is in the file, sleeping costs nothing.
const VIRTUAL_TIME: [&str; 3] = ["start_paused", "time::pause(", "cfg(bowline_sim)"];

/// The comment that argues for a real sleep in a test.
const SLEEP_ARGUED: &str = "tidy: sleep";

pub(super) fn check(workspace: &Workspace, files: &[File]) -> anyhow::Result<Vec<Problem>> {
    let text = fs::read_to_string(workspace.root.join(ratchet::PATH)).context("read the ratchet")?;
    let mut ratchet = Ratchet::parse(&text).context(ratchet::PATH)?;
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("rs") && !is_generated(&file.path)) {
        let source = Source::read(&file.text);
        problems.extend(first_line(file));
        problems.extend(banned(&file.path, &source));
        problems.extend(sleeps(&file.path, &source));
        problems.extend(ratchet.check(&file.path, &source));
    }
    problems.extend(ratchet.stale());
    Ok(problems)
}

/// Generated code is committed under `src/gen/` and looks as its generator likes.
fn is_generated(path: &Path) -> bool {
    path.components().any(|component| component == Component::Normal("gen".as_ref()))
}

fn first_line(file: &File) -> Option<Problem> {
    let says = file.text.strip_prefix("//! ").is_some_and(|rest| !rest.starts_with('\n'));
    (!says).then(|| Problem::new(&*file.path, 1, "the file does not say what it is for, begin it with `//! …`"))
}

fn banned(path: &Path, source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, line) in source.lines() {
        for (text, instead) in BANNED {
            if line.code.contains(text) {
                problems.push(Problem::new(path, number, format!("`{text}` is banned, {instead}")));
            }
        }
    }
    problems
}

fn sleeps(path: &Path, source: &Source) -> Vec<Problem> {
    if VIRTUAL_TIME.iter().any(|mark| source.has_code(mark)) {
        return Vec::new();
    }
    let is_test_file = is_test_file(path);
    let is_argued = |number: usize| {
        let argument = |number| source.line(number).and_then(|line| line.comment.split_once(SLEEP_ARGUED));
        // The mark alone is no argument.
        argument(number)
            .or_else(|| argument(number - 1))
            .is_some_and(|(_, why)| why.trim_matches([':', ' ']).len() > 10)
    };
    source
        .lines()
        .filter(|(number, line)| {
            let calls = words(&line.code, "sleep").any(|at| line.code[at + "sleep".len()..].starts_with('('));
            calls && (is_test_file || source.is_in_test_module(*number)) && !is_argued(*number)
        })
        .map(|(number, _)| {
            let message = format!(
                "a test sleeps, wait for a condition or pause the clock (`start_paused = true`), or argue: `// {SLEEP_ARGUED}: why`"
            );
            Problem::new(path, number, message)
        })
        .collect()
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|component| component == Component::Normal("tests".as_ref()))
        || path.file_name().is_some_and(|name| name == "tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(problems: &[Problem]) -> Vec<usize> {
        problems.iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        let has_problem = |text: &str| first_line(&File { path: "a.rs".into(), text: text.to_owned() }).is_some();
        assert!(!has_problem("//! What for.\n"));
        assert!(has_problem("//!\n"));
        assert!(has_problem("use std::fmt;\n"));
        assert!(has_problem(""));
    }

    #[test]
    fn escape_hatches_are_found_in_code_only() {
        let source =
            Source::read("// todo!()\nlet a = \"dbg!\";\n#[ignore = \"slow\"]\nfn b() { todo!() }\n#[expect(x)]\n");
        assert_eq!(lines(&banned(Path::new("a.rs"), &source)), [3, 4]);
    }

    #[test]
    fn tests_do_not_sleep() {
        let check = |path: &str, text: &str| lines(&sleeps(Path::new(path), &Source::read(text)));
        assert_eq!(check("src/a.rs", "fn a() { sleep(x) }\n"), [0; 0], "not a test");
        assert_eq!(check("tests/it/a.rs", "fn a() { time::sleep(x) }\n"), [1]);
        assert_eq!(check("src/a/tests.rs", "fn a() { sleep(x) }\n"), [1]);
        assert_eq!(check("src/a.rs", "#[cfg(test)]\nmod tests {\n  fn a() { sleep(x) }\n}\n"), [3]);
        assert_eq!(check("tests/a.rs", "#[tokio::test(start_paused = true)]\nfn a() { sleep(x) }\n"), [0; 0]);
        assert_eq!(check("tests/a.rs", "// tidy: sleep: a child's exit has no event to wait for\nsleep(x)\n"), [0; 0]);
        assert_eq!(check("tests/a.rs", "// tidy: sleep\nsleep(x)\n"), [2], "no argument");
        assert_eq!(check("tests/a.rs", "thread_sleep(x); asleep(y); sleep_until(z)\n"), [0; 0]);
    }
}
