//! The file being read: its text, and what is wrong with it so far.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    ops::Range,
};

use super::{PROBLEMS_MAX, value::in_ticks};
use crate::problem::{Position, Problem};

/// A text with an index of its lines and a growing list of problems.
#[derive(Debug)]
pub(super) struct File<'a> {
    pub(super) text: &'a str,
    line_starts: Vec<usize>,
    is_ascii: bool,
    problems: RefCell<Vec<Problem>>,
    /// Where each of them is and what it says: what is read several times is told once.
    told: RefCell<BTreeSet<(usize, String)>>,
    /// The profile it is read with now.
    profile: RefCell<Option<String>>,
    /// How many of the problems are but that something is not built yet.
    unbuilt_count: Cell<usize>,
}

impl<'a> File<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self {
            text,
            line_starts,
            is_ascii: text.is_ascii(),
            problems: RefCell::default(),
            told: RefCell::default(),
            profile: RefCell::default(),
            unbuilt_count: Cell::default(),
        }
    }

    /// Where a byte offset is; as [`Position::of_offset`], without counting all the lines again.
    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let before = self.text.get(self.line_starts[line - 1]..offset).unwrap_or_default();
        Position { line, column: self.count(before) + 1 }
    }

    fn count(&self, part: &str) -> usize {
        if self.is_ascii { part.len() } else { part.chars().count() }
    }

    /// Says from here on which profile the file is read with.
    pub(super) fn read_with(&self, profile: Option<&str>) {
        *self.profile.borrow_mut() = profile.map(str::to_owned);
    }

    /// Notes a problem; one that spans lines is underlined to the end of its first.
    pub(super) fn fault(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.note(span, message.into(), help.into());
    }

    /// Whether it is told now, and was not before.
    fn note(&self, span: Range<usize>, mut message: String, help: String) -> bool {
        if self.is_full() || !self.told.borrow_mut().insert((span.start, message.clone())) {
            return false;
        }
        if let Some(profile) = &*self.profile.borrow() {
            message = format!("{message} (profile {})", in_ticks(profile));
        }
        let shown = self.text.get(span.clone()).unwrap_or_default();
        let shown = shown.lines().next().unwrap_or_default();
        let position = self.position(span.start.min(self.text.len()));
        let width = self.count(shown).max(1);
        self.problems.borrow_mut().push(Problem { position, width, message, help });
        true
    }

    /// Notes what is understood, and not built yet.
    pub(super) fn fault_unbuilt(&self, span: Range<usize>, what: &str, instead: impl Into<String>) {
        if self.note(span, format!("{what} is not built yet"), instead.into()) {
            self.unbuilt_count.set(self.unbuilt_count.get() + 1);
        }
    }

    /// Whether there is nothing wrong so far but what is not built yet.
    pub(super) fn is_understood(&self) -> bool {
        let count = self.problems.borrow().len();
        count == self.unbuilt_count.get() && count <= PROBLEMS_MAX
    }

    /// Whether no further problem is noted.
    pub(super) fn is_full(&self) -> bool {
        self.problems.borrow().len() > PROBLEMS_MAX
    }

    /// All problems, sorted by position; of one position in the order in which they were found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let position = self.position(self.text.len());
        let mut problems = self.problems.into_inner();
        let is_cut = problems.len() > PROBLEMS_MAX;
        problems.truncate(PROBLEMS_MAX);
        problems.sort_by_key(|problem| problem.position);
        if is_cut {
            let message = format!("there are more than {PROBLEMS_MAX} problems");
            problems.push(Problem { position, ..Problem::of_file(message, "fix these first") });
        }
        problems
    }
}
