//! The name of a release that nobody named.

use std::collections::BTreeSet;

use bowline_model::mesh::is_version;

/// The name that follows a release's, and that is not taken: `v2` after `v1`, `1.4.10` after `1.4.9`, `blue-2` after
/// `blue`; after none `v2`, since the service's own is the first.
pub(super) fn after(version: &str, taken: &BTreeSet<String>) -> String {
    let digits = version.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (stem, number) = version.split_at(version.len() - digits);
    let (stem, first) = match (version, number.parse::<u64>()) {
        ("", _) => ("v".to_owned(), 2),
        (_, Ok(number)) => (stem.to_owned(), number.saturating_add(1)),
        (_, Err(_)) => (format!("{version}-"), 2),
    };
    let names = (first..=u64::MAX).map(|number| format!("{stem}{number}"));
    // A name that has grown too long is not one: whoever wants such names has to give them.
    let mut free = names.take_while(|name| is_version(name)).filter(|name| !taken.contains(name));
    free.next().unwrap_or_else(|| format!("v{first}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: &str, taken: &[&str], expect: &str) {
        let taken = taken.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(after(version, &taken), expect);
    }

    #[test]
    fn a_name_follows_that_is_free() {
        check("v1", &["v1"], "v2");
        check("v1", &["v1", "v2", "v3"], "v4");
        check("v9", &[], "v10");
        check("1.4.9", &[], "1.4.10");
        check("blue", &["blue-2"], "blue-3");
        check("2026-01-02", &[], "2026-01-3");
        check("", &["v2"], "v3");
        check(&format!("v{}", u64::MAX), &[], &format!("v{}", u64::MAX));
    }
}
