//! Finds where a manifest declares a dependency.

use bowline_model::problem::Position;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::cargo::Requirement;

/// Where the manifest declares it: its key in the table of its kind and platform.
///
/// What is not found, as in a manifest that changed since Cargo read it, is at the beginning.
pub(super) fn position(manifest: &str, needed: &Requirement) -> Position {
    let offset = DeTable::parse(manifest).ok().and_then(|root| offset(root.get_ref(), needed));
    Position::of_offset(manifest, offset.unwrap_or(0))
}

fn offset(root: &DeTable<'_>, needed: &Requirement) -> Option<usize> {
    let holder = match &needed.target {
        None => root,
        Some(target) => table(table(root, "target")?, target)?,
    };
    let kind = if needed.kind.as_deref() == Some("build") { "build-dependencies" } else { "dependencies" };
    let (key, _) = entry(table(holder, kind)?, needed.key())?;
    Some(key)
}

fn table<'t>(parent: &'t DeTable<'_>, name: &str) -> Option<&'t DeTable<'t>> {
    let (_, value) = entry(parent, name)?;
    value.as_table()
}

/// The key's offset, and its value.
fn entry<'t>(parent: &'t DeTable<'_>, name: &str) -> Option<(usize, &'t DeValue<'t>)> {
    let (key, value) = parent.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span().start, Spanned::get_ref(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, kind: Option<&str>, target: Option<&str>, line: usize, column: usize) {
        let manifest = "\
[dev-dependencies]
payment.path = '../payment'

[dependencies]
serde = '1'
payment = { path = '../payment' }

[build-dependencies.payment]
path = '../payment'

[target.'cfg(unix)'.dependencies]
\"card\".workspace = true
";
        let needed: Requirement = serde_json::from_value(serde_json::json!({
            "name": "of-the-package", "rename": key, "kind": kind, "target": target,
        }))
        .unwrap();
        assert_eq!(position(manifest, &needed), Position { line, column });
    }

    #[test]
    fn a_dependency_is_where_its_key_is() {
        check("payment", None, None, 6, 1);
        check("payment", Some("build"), None, 8, 21);
        check("card", None, Some("cfg(unix)"), 12, 1);
        check("card", None, None, 1, 1);
        check("card", None, Some("cfg(windows)"), 1, 1);
    }
}
