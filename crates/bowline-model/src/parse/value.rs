//! Readers over TOML's spanned values: each gives what was asked for or notes what is wrong.

use std::{borrow::Cow, fmt, ops::RangeInclusive, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    file::File,
    schema::{Key, Schema},
    suggest,
    table::Table,
};
use crate::{
    name::ServiceName,
    policy::DURATION_MAX,
    problem::Position,
    units::{self, Share},
};

/// Whether a text is a letter or `_`, then these and digits: what variables and labels are called.
pub(super) fn is_word(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(is_letter) && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// The most elements a list has.
pub(super) const LIST_MAX: usize = 1000;

/// A text in backticks, cut short, with control characters escaped: fit for a message.
pub(crate) fn in_ticks(text: &str) -> String {
    format!("`{}`", printable(text))
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

fn printable(text: &str) -> String {
    const SHOWN_MAX: usize = 64;
    let mut shown = String::new();
    for letter in text.chars().take(SHOWN_MAX) {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// A value and the key it stands under; elements of a list stand under the list's key.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    key: &'a Spanned<Cow<'a, str>>,
    node: &'a Spanned<DeValue<'a>>,
    known: &'static Key,
    is_element: bool,
    file: &'a File<'a>,
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("key", self.key).field("node", self.node).finish()
    }
}

// === what it is ===

impl<'a> Value<'a> {
    pub(super) fn new(
        key: &'a Spanned<Cow<'a, str>>,
        node: &'a Spanned<DeValue<'a>>,
        known: &'static Key,
        file: &'a File<'a>,
    ) -> Self {
        Self { key, node, known, is_element: false, file }
    }

    pub(super) fn key(self) -> &'a str {
        self.key.get_ref()
    }

    /// The key in backticks.
    pub(super) fn key_quoted(self) -> String {
        in_ticks(self.key())
    }

    pub(super) fn key_position(self) -> Position {
        self.file.position(self.key.span().start)
    }

    pub(super) fn position(self) -> Position {
        self.file.position(self.node.span().start)
    }

    /// The key and what it was given: `` `timeout` ("5") ``.
    pub(super) fn quoted_with(self, text: &str) -> String {
        format!("{} ({})", self.key_quoted(), in_quotes(text))
    }
}

// === what is wrong with it ===

impl Value<'_> {
    /// Notes what is wrong with the value.
    pub(super) fn fault(self, message: impl Into<String>, help: impl Into<String>) {
        self.file.fault(self.node.span(), message, help);
    }

    /// Notes what is wrong with the value, and gives the `None` that goes on in its place.
    pub(super) fn refuse<T>(self, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.fault(message, help);
        None
    }

    /// Notes what is wrong with the key.
    pub(super) fn fault_key(self, message: impl Into<String>, help: impl Into<String>) {
        self.file.fault(self.key.span(), message, help);
    }

    /// Notes that what the text asks for is understood, and not built yet.
    pub(super) fn fault_unbuilt(self, text: &str, instead: impl Into<String>) {
        self.file.fault_unbuilt(self.node.span(), &self.quoted_with(text), instead);
    }

    pub(super) fn like_this(self) -> String {
        self.known.like_this(&printable(self.key()))
    }

    fn refuse_type<T>(self, expected: &str) -> Option<T> {
        let which = if self.is_element { "an element of " } else { "" };
        let message = format!("{which}{} is {}, not {expected}", self.key_quoted(), type_of(self.node.get_ref()));
        self.refuse(message, self.like_this())
    }
}

fn type_of(node: &DeValue<'_>) -> &'static str {
    match node {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with decimals",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

// === readers of compound values ===

impl<'a> Value<'a> {
    /// A table with the keys of a schema.
    pub(super) fn table(self, schema: &'static Schema) -> Option<Table<'a>> {
        Some(Table::open(self.nodes()?, schema, self.node.span(), self.file))
    }

    /// A table as it is written.
    pub(super) fn nodes(self) -> Option<&'a DeTable<'a>> {
        let DeValue::Table(nodes) = self.node.get_ref() else { return self.refuse_type("a table") };
        Some(nodes)
    }

    /// A table whose keys are the file's own, in the order of the file; `known` is what each holds.
    pub(super) fn entries(self, known: &'static Key, count_max: usize) -> Vec<Self> {
        let DeValue::Table(nodes) = self.node.get_ref() else {
            return self.refuse_type("a table").unwrap_or_default();
        };
        let mut entries: Vec<Self> = nodes.iter().map(|(key, node)| Self::new(key, node, known, self.file)).collect();
        // toml's map is sorted by name.
        entries.sort_by_key(|entry| entry.key.span().start);
        if let Some(first_beyond) = entries.get(count_max) {
            let message =
                format!("{} has {} entries, above the limit of {count_max}", self.key_quoted(), entries.len());
            first_beyond.fault_key(message, "remove this one and those after it");
            entries.truncate(count_max);
        }
        entries
    }

    /// The elements of a list.
    pub(super) fn list(self, count_max: usize) -> Vec<Self> {
        let DeValue::Array(nodes) = self.node.get_ref() else {
            return self.refuse_type("a list").unwrap_or_default();
        };
        if let Some(node) = nodes.get(count_max) {
            let message = format!("{} has {} elements, above the limit of {count_max}", self.key_quoted(), nodes.len());
            self.element(node).fault(message, "remove this one and those after it");
        }
        nodes.iter().take(count_max).map(|node| self.element(node)).collect()
    }

    fn element(self, node: &'a Spanned<DeValue<'a>>) -> Self {
        Self { node, is_element: true, ..self }
    }

    /// Whether it is a table with that key; nothing is noted.
    pub(super) fn has(self, name: &str) -> bool {
        self.node.get_ref().as_table().is_some_and(|nodes| nodes.contains_key(name))
    }

    pub(super) fn is_list(self) -> bool {
        self.node.get_ref().is_array()
    }

    pub(super) fn is_list_empty(self) -> bool {
        self.node.get_ref().as_array().is_some_and(|nodes| nodes.is_empty())
    }

    /// Whether it is the word by which a part is switched off.
    pub(super) fn is_off(self) -> bool {
        self.node.get_ref().as_str() == Some("off")
    }

    pub(super) fn is_text(self) -> bool {
        self.node.get_ref().is_str()
    }
}

/// Adds to a list what is not in it yet.
pub(super) fn once<T: PartialEq>(value: Value<'_>, item: T, items: &mut Vec<T>) {
    once_by(value, item, items, T::eq);
}

/// The same, of things of which two may be the same without being equal.
pub(super) fn once_by<T>(value: Value<'_>, item: T, items: &mut Vec<T>, is_same: impl Fn(&T, &T) -> bool) {
    if items.iter().any(|other| is_same(other, &item)) {
        value.fault(format!("{} has this twice", value.key_quoted()), "remove one of them");
    } else {
        items.push(item);
    }
}

// === readers of plain values ===

impl<'a> Value<'a> {
    pub(super) fn text(self) -> Option<&'a str> {
        match self.node.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.refuse_type("a string"),
        }
    }

    /// A name: a DNS label.
    pub(super) fn label(self) -> Option<ServiceName> {
        let text = self.text()?;
        ServiceName::new(text)
            .map_or_else(|invalid| self.refuse(format!("{} is not a name", self.quoted_with(text)), invalid.rule), Some)
    }

    /// The key as a name: a DNS label.
    pub(super) fn key_label(self) -> Option<ServiceName> {
        ServiceName::new(self.key())
            .map_err(|invalid| self.fault_key(format!("{} is not a name", self.key_quoted()), invalid.rule))
            .ok()
    }

    /// A text that `parse` reads; its error is the rule that the text breaks.
    pub(super) fn parsed<T>(self, what: &str, parse: impl Fn(&str) -> Result<T, &'static str>) -> Option<T> {
        let text = self.text()?;
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(rule) => self.refuse(format!("{} is not {what}", self.quoted_with(text)), rule),
        }
    }

    /// A duration above zero, up to [`DURATION_MAX`].
    pub(super) fn duration(self) -> Option<Duration> {
        let duration = self.parsed("a duration", units::parse_duration)?;
        let written = units::format_duration(duration);
        if duration.is_zero() {
            return self.refuse(format!("{} ({written}) must be above zero", self.key_quoted()), self.like_this());
        }
        if duration > DURATION_MAX {
            let max = units::format_duration(DURATION_MAX);
            let message = format!("{} ({written}) is above {max}", self.key_quoted());
            return self.refuse(message, format!("write {max} or less"));
        }
        Some(duration)
    }

    pub(super) fn boolean(self) -> Option<bool> {
        match self.node.get_ref() {
            DeValue::Boolean(is_so) => Some(*is_so),
            _ => self.refuse_type("a boolean"),
        }
    }

    /// A share of 0 % to 100 %.
    pub(super) fn share(self) -> Option<Share> {
        self.parsed("a share", Share::parse)
    }

    /// A whole number within a range.
    pub(super) fn integer(self, range: RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(number) = self.node.get_ref() else { return self.refuse_type("a whole number") };
        // What does not fit an i64 is above or below any range of ours.
        let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| u32::try_from(n).ok());
        match parsed {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let message = format!("{} ({}) is out of range", self.key_quoted(), printable(&number.to_string()));
                self.refuse(message, format!("write a whole number from {} to {}", range.start(), range.end()))
            }
        }
    }

    /// One of a few words; `planned` ones are known and not built yet.
    pub(super) fn choice<T: Copy>(self, built: &[(&'static str, T)], planned: &[&'static str]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, choice)) = built.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let names = built.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let or_these = if built.len() == 1 { format!("write {names}") } else { format!("write one of {names}") };
        if planned.contains(&text) {
            self.fault_unbuilt(text, or_these);
            return None;
        }
        let known = built.iter().map(|(name, _)| *name).chain(planned.iter().copied());
        let help = suggest::nearest(text, known).map_or(or_these, |name| format!("did you mean \"{name}\"?"));
        self.refuse(format!("{} is unknown", self.quoted_with(text)), help)
    }
}
