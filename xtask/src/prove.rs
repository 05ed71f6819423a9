//! `cargo xtask prove`: explores every transition table, and writes what was proved into `docs/theory.md`.
//!
//! A proof is a test that is called `proof`; it writes down what it explored where [`PROOFS_DIR`] names a folder.

use std::{
    fmt::Write as _,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::{
    test,
    workspace::{Workspace, is_on_path},
};

/// What tests read to know where proofs are written down.
pub(crate) const PROOFS_DIR: &str = "BOWLINE_PROOFS";

const PAGE: &str = "docs/theory.md";
const BEGIN: &str = "<!-- written by `cargo xtask prove` from here on -->\n";

/// What a proof wrote down.
#[derive(Debug, Deserialize)]
struct Proof {
    name: String,
    file: String,
    formula: String,
    always: Vec<String>,
    sometimes: Vec<String>,
    states: u64,
    diagram: String,
}

/// Runs all proofs and writes the page; true when all hold.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<bool> {
    clear(workspace)?;
    let all = ["--workspace", "--all-features", "--locked"];
    let runner: &[&str] = if is_on_path("cargo-nextest") {
        &["nextest", "run", "-E", "test(/(^|::)proof$/)"]
    } else {
        &["test", "--lib", "proof"]
    };
    let mut command = test::command(workspace, &[&runner[..1], &runner[1..], &all[..]].concat());
    let is_proved = command.env(PROOFS_DIR, dir(workspace)).status().context("run the proofs")?.success();
    if is_proved {
        fs::write(workspace.root.join(PAGE), page(workspace)?).with_context(|| format!("write {PAGE}"))?;
        println!("{PAGE} says what was proved");
    }
    Ok(is_proved)
}

/// Removes what was proved before: what is no table any more is not proved any more.
pub(crate) fn clear(workspace: &Workspace) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir(workspace)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("remove the proofs before"),
        _ => Ok(()),
    }
}

/// Whether the page says what the last run of the tests proved.
pub(crate) fn is_written(workspace: &Workspace) -> anyhow::Result<bool> {
    let is_written = current(workspace)? == page(workspace)?;
    if !is_written {
        println!("{PAGE} is not what the tests proved: run `cargo xtask prove`");
    }
    Ok(is_written)
}

/// Where proofs are written down.
pub(crate) fn dir(workspace: &Workspace) -> PathBuf {
    workspace.target_dir.join("proofs")
}

fn current(workspace: &Workspace) -> anyhow::Result<String> {
    fs::read_to_string(workspace.root.join(PAGE)).with_context(|| format!("read {PAGE}"))
}

/// The page as it should be.
fn page(workspace: &Workspace) -> anyhow::Result<String> {
    let current = current(workspace)?;
    let (by_hand, _) = current.split_once(BEGIN).with_context(|| format!("{PAGE} has lost its line {BEGIN:?}"))?;
    Ok(format!("{by_hand}{BEGIN}{}", chapter(&proofs(&dir(workspace))?)))
}

fn proofs(dir: &Path) -> anyhow::Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let proof: Proof = serde_json::from_slice(&text).with_context(|| format!("understand {}", path.display()))?;
        proofs.push(proof);
    }
    ensure!(!proofs.is_empty(), "no test wrote down a proof");
    proofs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(proofs)
}

/// What was proved, as Markdown.
fn chapter(proofs: &[Proof]) -> String {
    let mut text = "\n| table | where | states explored | what holds in each of them |\n|---|---|---|---|\n".to_owned();
    for Proof { name, file, always, states, .. } in proofs {
        let anchor = name.to_lowercase().replace(' ', "-");
        let _infallible =
            writeln!(text, "| [{name}](#{anchor}) | `{file}` | {} | {} promises |", grouped(*states), always.len());
    }
    for Proof { name, file: _, formula, always, sometimes, states, diagram } in proofs {
        let list = |items: &[String]| items.iter().flat_map(|item| ["- ", item, "\n"]).collect::<String>();
        let _infallible = write!(
            text,
            "\n### {name}\n\n`{formula}`\n\nIn each of {} states:\n\n{}\nAnd in some state, so that this is not kept by doing nothing:\n\n{}\n```mermaid\n{diagram}```\n",
            grouped(*states),
            list(always),
            list(sometimes),
        );
    }
    text
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([7, 123, 1234, 1_234_567].map(grouped), ["7", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn a_proof_becomes_a_row_and_a_section() {
        let proof = Proof {
            name: "Rate limit".to_owned(),
            file: "a.rs".to_owned(),
            formula: "f(x)".to_owned(),
            always: vec!["it holds".to_owned()],
            sometimes: vec!["it happens".to_owned()],
            states: 1234,
            diagram: "stateDiagram-v2\n".to_owned(),
        };
        let text = chapter(&[proof]);
        assert!(text.contains("| [Rate limit](#rate-limit) | `a.rs` | 1,234 | 1 promises |"), "{text}");
        assert!(text.contains("### Rate limit\n\n`f(x)`") && text.contains("- it holds\n"), "{text}");
        assert!(text.contains("```mermaid\nstateDiagram-v2\n```\n"), "{text}");
    }
}
