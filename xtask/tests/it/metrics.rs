//! `docs/metrics.md` names every metric there is, and none that there is not.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn the_tables_name_every_metric() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
    let mut named = BTreeSet::new();
    for file in sources(&root.join("crates")) {
        let source = fs::read_to_string(&file).unwrap();
        // Names stand as whole literals; what follows a module of tests is not production's.
        let production = source.split("#[cfg(test)]").next().unwrap_or_default();
        named.extend(production.split('"').filter(|literal| is_metric(literal)).map(str::to_owned));
    }
    assert_eq!(named, documented);
}

/// Crates' names begin alike and are no metrics, nor is what is only the beginning of a name.
fn is_metric(literal: &str) -> bool {
    let is_whole = |rest: &str| !rest.is_empty() && !rest.ends_with('_');
    let is_name = |rest: &str| is_whole(rest) && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let crates =
        ["model", "runtime", "telemetry", "resilience", "balance", "transport", "upstream", "registry", "observe"];
    let also =
        ["store", "proxy", "gateway", "supervisor", "server", "cli", "testkit", "sim", "provider_remote", "cache"];
    let is_crate = |rest: &str| crates.contains(&rest) || also.contains(&rest);
    literal.strip_prefix("bowline_").is_some_and(|rest| is_name(rest) && !is_crate(rest))
}

/// The sources below a folder, without tests and examples.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_test = ["tests", "examples", "tests.rs"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !is_test {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            found.push(path);
        }
    }
    found
}
