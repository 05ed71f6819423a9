//! The difference of two documents, line by line.

use std::time::Duration;

use similar::TextDiff;

/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;

/// After so long a search for the shortest difference, a longer one is told.
const SEARCH_MAX: Duration = Duration::from_millis(500);

/// The lines that differ, in the unified form that `diff -u` and `git` have, under the two names;
/// empty where nothing does.
///
/// # Complexity
/// O(lines × differences); after half a second of search the differences told are right, but
/// maybe not the fewest.
pub fn diff(old: &str, new: &str, old_name: &str, new_name: &str) -> String {
    let diff = TextDiff::configure().timeout(SEARCH_MAX).diff_lines(old, new);
    diff.unified_diff().context_radius(CONTEXT).header(old_name, new_name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_told() {
        let old = "a = 1\nb = 2\nc = 3\n";
        let new = "a = 1\nb = 20\nc = 3\n";
        let expected = "--- version 1\n+++ version 2\n@@ -1,3 +1,3 @@\n a = 1\n-b = 2\n+b = 20\n c = 3\n";
        assert_eq!(diff(old, new, "version 1", "version 2"), expected);
        assert_eq!(diff(old, old, "version 1", "version 2"), "");
    }

    #[test]
    fn a_line_break_that_is_missing_is_a_difference() {
        let told = diff("a\n", "a", "old", "new");
        assert_eq!(told, "--- old\n+++ new\n@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n");
    }

    #[test]
    fn what_has_nothing_in_common_is_told_in_time() {
        let lines = |from: u32| (from..from + 40_000).map(|n| n.to_string()).collect::<Vec<_>>().join("\n") + "\n";
        let told = diff(&lines(0), &lines(100_000), "old", "new");
        assert_eq!(told.lines().count(), 80_000 + 3);
    }
}
