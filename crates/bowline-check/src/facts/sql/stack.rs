//! Where in a statement a scan is: within which parentheses, and what they hold.

use std::collections::BTreeSet;

/// What stands between two parentheses, or outside of all.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// The common table expressions that are seen from here on.
    pub(super) expressions: BTreeSet<String>,
    /// The one that is defined by what is in here.
    pub(super) defines: Option<String>,
    /// Whether such a one has just been defined, so that another, or the query itself, may follow.
    pub(super) is_after_definition: bool,
    /// Whether they may name themselves.
    pub(super) is_recursive: bool,
    /// What is done here, as far as it decides what `FROM` means.
    pub(super) verb: Verb,
    /// Within a list of tables: whether they are written.
    pub(super) list: Option<bool>,
    /// Where the next name is a table: whether it is written.
    pub(super) expects: Option<bool>,
}

impl Level {
    /// From here on no name is a table.
    pub(super) fn end_list(&mut self) {
        (self.list, self.expects) = (None, None);
    }

    /// What follows is a list of tables.
    pub(super) fn begin_list(&mut self, is_written: bool) {
        (self.list, self.expects) = (Some(is_written), Some(is_written));
    }
}

/// What a statement, or a part of it, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Verb {
    /// Nothing that has tables after `FROM`: `EXTRACT(year FROM placed_at)`.
    #[default]
    None,
    Select,
    Update,
    /// Before its `FROM`.
    Delete,
    /// After its `FROM`.
    DeleteFrom,
    Merge,
}

/// The levels that a scan is within; there is always one.
#[derive(Debug)]
pub(super) struct Stack {
    levels: Vec<Level>,
}

impl Stack {
    pub(super) fn new() -> Self {
        Self { levels: vec![Level::default()] }
    }

    pub(super) fn top(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the outermost level is never closed")
    }

    pub(super) fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    pub(super) fn open(&mut self, level: Level) {
        self.levels.push(level);
    }

    /// Closes the innermost; the outermost stays, whatever the text says.
    pub(super) fn close(&mut self) {
        if self.depth() == 0 {
            return;
        }
        let closed = self.levels.pop().and_then(|level| level.defines);
        if let Some(name) = closed {
            let top = self.top();
            top.expressions.insert(name);
            top.is_after_definition = true;
        }
    }

    pub(super) fn has_expression(&self, name: &str) -> bool {
        self.levels.iter().any(|level| level.expressions.contains(name))
    }
}
