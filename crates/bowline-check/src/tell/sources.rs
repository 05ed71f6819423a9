//! The files that violations point into: how they are called, and what is in them.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Component, Path},
};

use bowline_model::check::{Site, Violation};
use bowline_runtime::fs;

/// The most files that are read to be shown.
const FILES_MAX: usize = 200;

/// The largest file that is read to be shown, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The texts of the files that sites name; of a file that is not here the place alone is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The system's file as the person who asks names it.
    main: String,
    /// The folder of it, with its slash; empty where it is the current one.
    dir: String,
    /// By the names that sites have for them; `bowline.toml` itself by the empty one.
    texts: BTreeMap<String, Text>,
}

/// How many characters of a long line are between two places that are known.
const STEP: usize = 256;

/// A text, and where its lines begin, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    whole: String,
    starts: Vec<usize>,
    /// By the number of a long line: where each 256th character of it begins, in bytes. Many violations may be in one
    /// line of a file that a program wrote, and none of them counts it again.
    steps: BTreeMap<usize, Vec<usize>>,
}

impl Text {
    fn new(text: &str) -> Self {
        // Editors do not count a byte order mark as a column.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let long = (1..).zip(text.split('\n')).filter(|(_, line)| line.len() > STEP);
        let steps = long.map(|(number, line)| (number, line.char_indices().step_by(STEP).map(|(at, _)| at).collect()));
        let steps = steps.collect();
        Self { whole: text, starts, steps }
    }

    /// The line of that number, counted from 1, without its end; a text that ends with a line break has an empty
    /// one behind it.
    pub(super) fn line(&self, number: usize) -> Option<&str> {
        let start = *self.starts.get(number.checked_sub(1)?)?;
        let line = self.starts.get(number).map_or(&self.whole[start..], |end| &self.whole[start..end - 1]);
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// What of a line begins at that column, counted from 1 in characters; empty at its end and beyond.
    pub(super) fn rest(&self, number: usize, column: usize) -> Option<&str> {
        let line = self.line(number)?;
        let before = column.saturating_sub(1);
        let known = self.steps.get(&number).and_then(|steps| {
            let last = (before / STEP).min(steps.len().checked_sub(1)?);
            Some((last * STEP, steps[last]))
        });
        let (passed, at) = known.unwrap_or_default();
        let rest = line.get(at..).unwrap_or_default();
        Some(rest.char_indices().nth(before - passed).map_or("", |(at, _)| &rest[at..]))
    }
}

impl Sources {
    /// The system's file alone: as it is to be called, and its text.
    pub fn new(file: &Path, text: &str) -> Self {
        let main = named(file);
        let dir = main.rfind('/').map_or("", |slash| &main[..=slash]).to_owned();
        let mut sources = Self { main, dir, texts: BTreeMap::new() };
        sources.add("", text);
        sources
    }

    /// Adds the text of a file, by the name that sites have for it: relative to the folder of `bowline.toml`.
    pub fn add(&mut self, file: impl Into<String>, text: &str) {
        self.texts.insert(file.into(), Text::new(text));
    }

    /// Reads the files that violations point into, `dir` being the folder of `bowline.toml`.
    ///
    /// At most 200 files of at most 1 MiB. One that is no UTF-8, too long or gone is left out.
    pub fn read(&mut self, dir: &Path, violations: &[Violation]) {
        let sites = violations.iter().flat_map(|violation| &violation.sites);
        for file in sites.filter_map(|site| site.file.as_ref()) {
            if self.texts.len() >= FILES_MAX {
                return;
            }
            if !self.texts.contains_key(file)
                && let Some(text) = read(&dir.join(file))
            {
                self.add(file, &text);
            }
        }
    }

    /// What the system's file is called.
    pub(super) fn main(&self) -> &str {
        &self.main
    }

    /// What the file of a site is called: relative to where `bowline.toml` is called so.
    pub(super) fn name_of(&self, site: &Site) -> String {
        match &site.file {
            None => self.main.clone(),
            Some(file) if file.starts_with('/') => file.clone(),
            Some(file) => format!("{}{file}", self.dir),
        }
    }

    /// The text of the file of a site.
    pub(super) fn text_of(&self, site: &Site) -> Option<&Text> {
        self.texts.get(site.file.as_deref().unwrap_or_default())
    }

    /// What of its line begins at a site.
    pub(super) fn rest_of(&self, site: &Site) -> Option<&str> {
        self.text_of(site)?.rest(site.position.line, site.position.column)
    }
}

/// A path as it is told: with slashes, without a `./` before it.
fn named(file: &Path) -> String {
    let parts = file.components().filter(|part| *part != Component::CurDir);
    let path: std::path::PathBuf = parts.collect();
    path.display().to_string()
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    // What is no plain file (a pipe, a device) might never end.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return None;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use bowline_model::Position;

    use super::*;

    fn site(file: Option<&str>, line: usize) -> Site {
        let file = file.map(str::to_owned);
        Site { file, position: Position { line, column: 1 }, label: String::new() }
    }

    #[test]
    fn files_are_called_as_the_one_of_the_system_is() {
        for (file, main, other) in [
            ("bowline.toml", "bowline.toml", "sql/1.sql"),
            ("./bowline.toml", "bowline.toml", "sql/1.sql"),
            ("examples/shop/./bowline.toml", "examples/shop/bowline.toml", "examples/shop/sql/1.sql"),
            ("../shop/other.toml", "../shop/other.toml", "../shop/sql/1.sql"),
            ("/srv/bowline.toml", "/srv/bowline.toml", "/srv/sql/1.sql"),
        ] {
            let sources = Sources::new(Path::new(file), "");
            assert_eq!(sources.name_of(&site(None, 1)), main);
            assert_eq!(sources.name_of(&site(Some("sql/1.sql"), 1)), other);
            assert_eq!(sources.name_of(&site(Some("/elsewhere"), 1)), "/elsewhere");
        }
    }

    #[test]
    fn what_begins_at_a_column_is_found_in_lines_of_any_length() {
        for long in [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP + 7] {
            let line: String = "aß→".chars().cycle().take(long).collect();
            let text = Text::new(&format!("{line}\r\n{line}"));
            for number in [1, 2] {
                for column in 1..=long + 2 {
                    let expected: String = line.chars().skip(column - 1).collect();
                    assert_eq!(text.rest(number, column), Some(&*expected), "{long} {number}:{column}");
                }
                assert_eq!((text.rest(number, 0), text.rest(number, usize::MAX)), (Some(&*line), Some("")));
            }
        }
    }

    #[test]
    fn files_that_can_be_shown_are_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sql")).unwrap();
        fs::replace(&dir.path().join("sql/1.sql"), "\u{feff}one\r\ntwo".as_bytes()).unwrap();
        fs::replace(&dir.path().join("bad.sql"), b"\xff").unwrap();
        fs::replace(&dir.path().join("long.sql"), &vec![b'x'; 1 + (1 << 20)]).unwrap();
        let mut sources = Sources::new(Path::new("bowline.toml"), "name = \"shop\"\n");
        let all = ["sql/1.sql", "bad.sql", "long.sql", "gone.sql", "sql"];
        let violation =
            Violation { sites: all.map(|file| site(Some(file), 1)).to_vec(), ..crate::tell::stand_in::two_owners() };
        sources.read(dir.path(), &[violation]);
        assert_eq!(sources.rest_of(&site(None, 1)), Some("name = \"shop\""));
        assert_eq!(sources.rest_of(&site(Some("sql/1.sql"), 1)), Some("one"));
        assert_eq!(sources.rest_of(&site(Some("sql/1.sql"), 2)), Some("two"));
        assert_eq!(sources.rest_of(&site(None, 2)), Some(""));
        for (file, line) in [(Some("sql/1.sql"), 3), (None, 3), (None, 0)] {
            assert_eq!(sources.rest_of(&site(file, line)), None);
        }
        for file in &all[1..] {
            assert_eq!(sources.text_of(&site(Some(file), 1)), None, "{file}");
        }
    }
}
