//! Words that no file of the checkout holds: notes to oneself, places of one machine.

use super::{File, Problem};

/// Notes that belong into an issue. In pieces, so that this file passes.
const NOTES: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("X", "XX")];

/// Places that exist on somebody's machine only. In pieces, so that this file passes.
const PLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!(".libr", "ary")];

/// Files that others write.
const FOREIGN: [&str; 2] = ["Cargo.lock", "LICENSE"];

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let ours = files.iter().filter(|file| !FOREIGN.iter().any(|name| file.path.as_os_str() == *name));
    ours.flat_map(check_file).collect()
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
}
