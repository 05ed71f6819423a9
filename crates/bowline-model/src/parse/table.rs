//! A table with a fixed set of keys: what is in it and should not be, and what should be and is not.

use std::{
    borrow::Cow,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use toml::{Spanned, de::DeTable};

use super::{
    file::File,
    schema::Schema,
    suggest,
    value::{LIST_MAX, Value, in_ticks},
};
use crate::problem::Position;

/// A table whose keys its schema lists; the unlisted and the unbuilt ones were noted at its opening.
#[derive(Debug)]
pub(super) struct Table<'a> {
    nodes: &'a DeTable<'a>,
    schema: &'static Schema,
    span: Range<usize>,
    /// Keys that unknown ones were told to mean.
    meant: Vec<&'static str>,
    file: &'a File<'a>,
}

impl<'a> Table<'a> {
    /// The whole file.
    pub(super) fn root(nodes: &'a DeTable<'a>, schema: &'static Schema, file: &'a File<'a>) -> Self {
        Self::open(nodes, schema, 0..0, file)
    }

    pub(super) fn open(
        nodes: &'a DeTable<'a>,
        schema: &'static Schema,
        span: Range<usize>,
        file: &'a File<'a>,
    ) -> Self {
        let mut table = Self { nodes, schema, span, meant: Vec::new(), file };
        for key in nodes.keys() {
            if schema.key(key.get_ref()).is_none() {
                table.fault_unknown(key);
            }
            if file.is_full() {
                break;
            }
        }
        table
    }

    fn fault_unknown(&mut self, key: &Spanned<Cow<'_, str>>) {
        let known = || self.schema.keys.iter().map(|key| key.name);
        let meant = suggest::nearest(key.get_ref(), known());
        let help = match meant {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("{} has: {}", self.schema.title, known().collect::<Vec<_>>().join(", ")),
        };
        self.file.fault(key.span(), format!("unknown key {} in {}", in_ticks(key.get_ref()), self.schema.title), help);
        self.meant.extend(meant);
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, name: &'static str) -> Option<Value<'a>> {
        let known = self.schema.key(name).expect("the schema lists every key that is read");
        let (key, node) = self.nodes.get_key_value(name)?;
        Some(Value::new(key, node, known, self.file))
    }

    /// The value of a key that must be there; a misspelt one was told already.
    pub(super) fn need(&self, name: &'static str) -> Option<Value<'a>> {
        let value = self.get(name);
        if !self.has(name) {
            let help = self.schema.key(name).map_or_else(String::new, |key| key.like_this(name));
            self.fault(format!("{} has no `{name}`", self.schema.title), help);
        }
        value
    }

    /// Whether a key is there, or a misspelt one was told to mean it.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.get(name).is_some() || self.meant.contains(&name)
    }

    /// The duration of a key, or the default where the key is absent or faulty.
    pub(super) fn duration_or(&self, name: &'static str, default: Duration) -> Duration {
        self.get(name).and_then(Value::duration).unwrap_or(default)
    }

    /// The whole number of a key, or the default where the key is absent or faulty.
    pub(super) fn integer_or(&self, name: &'static str, range: RangeInclusive<u32>, default: u32) -> u32 {
        self.get(name).and_then(|value| value.integer(range)).unwrap_or(default)
    }

    /// Whether a key is there and true.
    pub(super) fn is_on(&self, name: &'static str) -> bool {
        self.get(name).and_then(Value::boolean).unwrap_or_default()
    }

    /// The elements of a key's list; empty where the key is absent.
    pub(super) fn list(&self, name: &'static str) -> Vec<Value<'a>> {
        self.get(name).map(|value| value.list(LIST_MAX)).unwrap_or_default()
    }

    /// Notes what is wrong with the table as a whole.
    pub(super) fn fault(&self, message: impl Into<String>, help: impl Into<String>) {
        self.file.fault(self.span.clone(), message, help);
    }

    pub(super) fn position(&self) -> Position {
        self.file.position(self.span.start)
    }
}
