//! Words that no file of the checkout holds: notes to oneself, places of one machine.

use std::path::{Component, Path};

use super::{File, Problem};

/// Notes that belong into an issue. In pieces, so that this file passes.
const NOTES: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("X", "XX")];

/// Places that exist on somebody's machine only. In pieces, so that this file passes.
const PLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!(".libr", "ary")];

/// Files that others write.
const FOREIGN: [&str; 2] = ["Cargo.lock", "LICENSE"];

/// The folders of what is taken from others as it is.
const VENDOR: &str = "vendor";

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    files.iter().filter(|file| !is_foreign(&file.path)).flat_map(check_file).collect()
}

fn is_foreign(path: &Path) -> bool {
    FOREIGN.iter().any(|name| path.as_os_str() == *name)
        || path.components().any(|component| component == Component::Normal(VENDOR.as_ref()))
}

fn check_file(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for note in NOTES.iter().filter(|note| has_word(line, note)) {
            problems.push(Problem::new(&*file.path, index + 1, format!("{note} is left over, open an issue or do it")));
        }
        for place in PLACES.iter().filter(|place| has_place(line, place)) {
            let message = format!("{place} is a place of one machine, name it by what it is");
            problems.push(Problem::new(&*file.path, index + 1, message));
        }
    }
    problems
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next())
    })
}

/// An absolute path: what comes before is not the path's beginning.
fn has_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| !line[..at].chars().next_back().is_some_and(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_overs_are_found_as_words_and_paths() {
        let has_problem = |line: String| !check_file(&File { path: "a.md".into(), text: line }).is_empty();
        assert!(has_problem(format!("// {}: later", NOTES[0])));
        assert!(has_problem(format!("see {}main", PLACES[0])));
        assert!(has_problem(format!("cd ~/{}", PLACES[2])));
        assert!(!has_problem(format!("mask{}a", NOTES[2])), "inside a word");
        assert!(!has_problem("https://host/homework/1 and my/work/it".to_owned()), "inside another path");
    }

    #[test]
    fn what_others_wrote_is_theirs() {
        for foreign in ["Cargo.lock", "crates/a/assets/vendor/b.js"] {
            assert!(is_foreign(Path::new(foreign)), "{foreign}");
        }
        for ours in ["crates/a/Cargo.lock", "crates/a/src/vendor.rs", "crates/a/assets/b.js"] {
            assert!(!is_foreign(Path::new(ours)), "{ours}");
        }
    }
}
