//! The manifests: lints inherited, heavy engines kept out of applications, banned crates absent.

use std::fs;

use anyhow::{Context as _, ensure};

use super::Problem;
use crate::workspace::{Workspace, cargo};

/// Crates that must not be built, and what to use.
const BANNED: [(&str, &str); 4] = [
    ("openssl", "TLS is rustls on aws-lc-rs"),
    ("openssl-sys", "TLS is rustls on aws-lc-rs"),
    ("native-tls", "TLS is rustls on aws-lc-rs"),
    ("ring", "aws-lc-rs is the one provider of cryptography, turn the importer's default features off"),
];

/// An application that stands for all: what it links, every user's binary carries.
const APPLICATION: &str = "shop-order";

/// Embedded engines, which applications leave off.
const ENGINES: [&str; 1] = ["redb"];

pub(super) fn check(workspace: &Workspace) -> anyhow::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let text = fs::read_to_string(&package.manifest_path)?;
        let manifest = workspace.relative(&package.manifest_path);
        if !inherits_lints(&text).with_context(|| format!("read {}", manifest.display()))? {
            problems.push(Problem::new(manifest, 1, "lints are not inherited, add `[lints] workspace = true`"));
        }
    }
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock")).context("read Cargo.lock")?;
    problems.extend(banned(&lock, &built(workspace)?));
    problems.extend(engines(workspace)?);
    Ok(problems)
}

fn inherits_lints(manifest: &str) -> anyhow::Result<bool> {
    let manifest: toml::Table = toml::from_str(manifest)?;
    Ok(manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool) == Some(true))
}

/// The packages that are built for any feature and target, a line each.
///
/// The lock file has more: those, too, that a weak feature (`ring?/std`) would only adapt if they were there.
fn built(workspace: &Workspace) -> anyhow::Result<String> {
    tree(workspace, &["--workspace", "--all-features", "--target", "all", "--edges", "all", "--format", "{p}"])
}

fn tree(workspace: &Workspace, args: &[&str]) -> anyhow::Result<String> {
    let mut command = cargo();
    command.args(["tree", "--locked", "--prefix", "none"]).args(args).current_dir(&workspace.root);
    let output = command.output().context("run cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Those of the lock file that are banned and built.
fn banned(lock: &str, built: &str) -> Vec<Problem> {
    let is_built = |name: &str| built.lines().any(|line| line.split(' ').next() == Some(name));
    let mut problems = Vec::new();
    for (index, line) in lock.lines().enumerate() {
        let name = line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"'));
        if let Some((name, instead)) = BANNED.iter().find(|(banned, _)| Some(*banned) == name && is_built(banned)) {
            let message = format!("{name} is banned, {instead}; `cargo tree -i {name}` shows who brings it");
            problems.push(Problem::new("Cargo.lock", index + 1, message));
        }
    }
    problems
}

fn engines(workspace: &Workspace) -> anyhow::Result<Vec<Problem>> {
    let Some(package) = workspace.packages.iter().find(|package| package.name == APPLICATION) else {
        return Ok(vec![Problem::new(
            "Cargo.toml",
            1,
            format!("the member {APPLICATION} is gone, name another in {}", file!()),
        )]);
    };
    let tree = tree(workspace, &["--package", APPLICATION, "--edges", "normal", "--format", "{lib}"])?;
    let linked = ENGINES.iter().filter(|engine| tree.lines().any(|line| line == **engine));
    let manifest = workspace.relative(&package.manifest_path);
    Ok(linked
        .map(|engine| {
            let message = format!(
                "{APPLICATION} links {engine}, leave the feature `embedded` off; `cargo tree -p {APPLICATION} -i {engine}` shows who brings it"
            );
            Problem::new(&*manifest, 1, message)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_must_be_inherited() {
        assert!(inherits_lints("[lints]\nworkspace = true\n").unwrap());
        assert!(!inherits_lints("[lints]\nworkspace = false\n").unwrap());
        assert!(!inherits_lints("[lints.rust]\nunsafe_code = \"deny\"\n").unwrap());
        assert!(!inherits_lints("[package]\n").unwrap());
    }

    #[test]
    fn a_banned_crate_is_found_at_its_line() {
        let lock = "[[package]]\nname = \"bring\"\n\n[[package]]\nname = \"ring\"\n";
        let lines = |built| banned(lock, built).iter().map(|problem| problem.line).collect::<Vec<usize>>();
        assert_eq!(lines("a v1.0.0\nring v0.17.0\n"), [5]);
        assert_eq!(lines("a v1.0.0\nbring v0.17.0\n"), Vec::<usize>::new(), "the lock file alone does not build it");
    }
}
