//! The name and the labels of a series as a target writes them.

use std::borrow::Cow;

use super::{BLANK, Broken, Format, LABELS_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use crate::labels::{is_label_name, is_metric_name};

/// Reads a series as it was written: hands out its labels in their order, and gives its name.
///
/// # Errors
/// The rule that it breaks.
pub fn parse_labels<'a>(
    series: &'a str,
    mut label: impl FnMut(&'a str, Cow<'a, str>),
) -> Result<&'a str, &'static str> {
    let (name, braces) = series.split_at(series.find('{').unwrap_or(series.len()));
    let name = name.trim_end_matches(BLANK);
    check_metric(name)?;
    if !braces.is_empty() {
        let mut seen: Vec<&str> = Vec::new();
        let mut is_twice = false;
        read_braces(braces, |name, value| {
            is_twice |= seen.contains(&name) || name == crate::labels::NAME;
            seen.push(name);
            label(name, value);
        })?;
        if is_twice {
            return Err("a label comes twice");
        }
    }
    Ok(name)
}

/// How many bytes of the line the series takes, its braces included.
pub(super) fn series_length(line: &str, format: Format) -> Result<usize, Broken> {
    let name = line.find(['{', ' ', '\t']).unwrap_or(line.len());
    let rest = line.get(name..).unwrap_or_default();
    let braces = if format == Format::Text { rest.trim_start_matches(BLANK) } else { rest };
    if braces.starts_with('{') {
        return Ok(line.len() - braces.len() + braces_length(braces)?);
    }
    check_metric(line.get(..name).unwrap_or_default())?;
    Ok(name)
}

/// How far the braces go that the text begins with.
pub(super) fn braces_length(text: &str) -> Result<usize, Broken> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Ok(at + 1),
            _ => {}
        }
    }
    Err(if is_quoted { "a label's value does not end" } else { "the labels do not end with `}`" })
}

/// Reads `{NAME="VALUE",…}` as a whole.
pub(super) fn read_braces<'a>(braces: &'a str, mut label: impl FnMut(&'a str, Cow<'a, str>)) -> Result<(), Broken> {
    let inner = braces.strip_prefix('{').and_then(|braces| braces.strip_suffix('}'));
    let mut rest = inner.ok_or("labels stand in braces")?.trim_start_matches(BLANK);
    let mut count = 0;
    while !rest.is_empty() {
        count += 1;
        if count > LABELS_MAX {
            return Err("it has more than 64 labels");
        }
        let (name, value, after) = read_label(rest)?;
        label(name, value);
        let after = after.trim_start_matches(BLANK);
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start_matches(BLANK),
            None if after.is_empty() => after,
            None => return Err("labels are parted by commas"),
        };
    }
    Ok(())
}

fn read_label(text: &str) -> Result<(&str, Cow<'_, str>, &str), Broken> {
    let (name, rest) = text.split_once('=').ok_or("a label is NAME=\"VALUE\"")?;
    let name = name.trim_end_matches(BLANK);
    if name.starts_with('"') {
        return Err("names in quotes are not read");
    }
    if name.len() > NAME_BYTES_MAX || !is_label_name(name) {
        return Err("a label's name has letters, digits and `_`, 512 at most");
    }
    let rest = rest.trim_start_matches(BLANK).strip_prefix('"').ok_or("a label's value stands in quotes")?;
    let mut is_escaped = false;
    let end = rest.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    let (value, after) = rest.split_at(end.ok_or("a label's value does not end")?);
    if value.len() > VALUE_BYTES_MAX {
        return Err("a label's value has 4096 bytes at most");
    }
    Ok((name, unescaped(value), after.get(1..).unwrap_or_default()))
}

/// Other escapes than the three of the formats stay as they are.
pub(in crate::scrape) fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        let (char, length) = match after.as_bytes().first() {
            Some(b'n') => ('\n', 1),
            Some(b'"') => ('"', 1),
            Some(b'\\') => ('\\', 1),
            _ => ('\\', 0),
        };
        plain.push_str(before);
        plain.push(char);
        rest = after.get(length..).unwrap_or_default();
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// Checks the name of a metric.
pub(super) fn check_metric(name: &str) -> Result<(), Broken> {
    match name {
        "" => Err("the name is missing"),
        name if name.len() <= NAME_BYTES_MAX && is_metric_name(name) => Ok(()),
        _ => Err("a metric's name has letters, digits, `_` and `:`, 512 at most"),
    }
}
