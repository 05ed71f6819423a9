//! "did you mean …?": the name that a mistyped one is nearest to.

/// Longer words are no slip of the finger; comparing them would only cost time.
const WORD_MAX: usize = 64;

/// The nearest candidate, if one is near enough to have been meant.
///
/// Near are: a third of the letters changed, the parts between `_` swapped, or an end left out.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > WORD_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase().replace(['-', ' '], "_");
    let rank = |candidate: &'a str| distance_meant(&word, candidate).map(|distance| (distance, candidate));
    candidates.into_iter().filter_map(rank).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

fn distance_meant(word: &str, candidate: &str) -> Option<usize> {
    let target = candidate.to_ascii_lowercase().replace(['-', ' '], "_");
    let distance = distance(word, &target).min(distance(&parts_sorted(word), &parts_sorted(&target)));
    let letters = word.chars().count();
    let is_near = distance <= (letters / 3).max(1) && distance < letters;
    let is_cut_off = letters >= 3 && target.starts_with(word);
    (is_near || is_cut_off).then_some(distance)
}

fn parts_sorted(word: &str) -> String {
    let mut parts: Vec<&str> = word.split('_').collect();
    parts.sort_unstable();
    parts.join("_")
}

/// Optimal string alignment distance: insertions, deletions, changes and swaps of neighbours.
///
/// Source: <https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance>. O(length × length).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
                let is_swap = i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
                let swapped = if is_swap { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(swapped)
            };
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let keys = ["attempts_max", "backoff", "budget", "per_try_timeout", "replicas"];
        for (word, expect) in [
            ("atempts_max", Some("attempts_max")),
            ("max_attempts", Some("attempts_max")),
            ("attempts", Some("attempts_max")),
            ("Back-Off", Some("backoff")),
            ("bugdet", Some("budget")),
            ("replica", Some("replicas")),
            ("timeout", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys), expect, "{word}");
        }
        assert_eq!(nearest("c", ["a", "b"]), None);
        assert_eq!(nearest(&"a".repeat(WORD_MAX + 1), keys), None);
    }

    #[test]
    fn distances() {
        for (left, right, expect) in [("", "", 0), ("abc", "", 3), ("abc", "acb", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(left, right), expect, "{left} {right}");
        }
    }
}
