//! Functions of labels and of the order of series.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    data::{Charge, Column, Vector},
    kahan,
    run::Run,
};
use crate::{
    labels::{Labels, Matcher, NAME, Test},
    promql::{
        error::Error,
        expr::{LabelJoin, LabelReplace},
    },
    source::Sample,
};

/// The longest value that a label may be set to, in bytes: nested, each function could double it.
const VALUE_BYTES_MAX: usize = 4096;

/// Sets a label to what a pattern makes of another one, where it matches the whole of that.
pub(super) fn replace(run: &Run<'_>, mut vector: Vector, replace: &LabelReplace) -> Result<Vector, Error> {
    for column in &mut vector.columns {
        run.worked(replace.replacement.len())?;
        let value = column.labels.get(&replace.source).unwrap_or_default();
        let Some(captures) = replace.regex.captures(value) else { continue };
        let mut replacement = String::new();
        captures.expand(&replace.replacement, &mut replacement);
        take(&mut vector.charge, replacement.len())?;
        column.labels = column.labels.with(&replace.target, &replacement);
    }
    vector.unique()
}

/// Sets a label to the values of others.
pub(super) fn join(run: &Run<'_>, mut vector: Vector, join: &LabelJoin) -> Result<Vector, Error> {
    for column in &mut vector.columns {
        run.worked(join.sources.len())?;
        let values: Vec<_> = join.sources.iter().map(|label| column.labels.get(label).unwrap_or_default()).collect();
        let separators = join.separator.len() * values.len().saturating_sub(1);
        take(&mut vector.charge, values.iter().map(|value| value.len()).sum::<usize>() + separators)?;
        column.labels = column.labels.with(&join.target, &values.join(&join.separator));
    }
    vector.unique()
}

/// Has the budget of samples pay for a label's new value.
fn take(charge: &mut Charge, bytes: usize) -> Result<(), Error> {
    if bytes > VALUE_BYTES_MAX {
        let rule = format!("a label's value would have {bytes} bytes, {VALUE_BYTES_MAX} are allowed");
        return Err(Error::InvalidArgument { rule });
    }
    charge.grow(bytes.div_ceil(size_of::<Sample>()))
}

/// By value at the only step; NaN last. With many steps there is no order of values.
pub(super) fn sort(mut vector: Vector, is_descending: bool) -> Vector {
    let value = |column: &Column| column.values.first().copied().unwrap_or(f64::NAN);
    if vector.columns.iter().all(|column| column.values.len() == 1) {
        vector.columns.sort_by(|a, b| {
            let (a, b) = (value(a), value(b));
            let by_value = if is_descending { kahan::nan_first(b, a) } else { kahan::nan_first(a, b) };
            a.is_nan().cmp(&b.is_nan()).then(by_value)
        });
    }
    vector
}

/// By the values of labels, numbers within them by their value, then by all labels.
pub(super) fn sort_by_label(mut vector: Vector, names: &[Arc<str>], is_descending: bool) -> Vector {
    let compare = |a: &Labels, b: &Labels| {
        let by_name = |name: &Arc<str>| natural(a.get(name).unwrap_or_default(), b.get(name).unwrap_or_default());
        names.iter().map(by_name).find(|order| order.is_ne()).unwrap_or_else(|| a.cmp(b))
    };
    vector.columns.sort_by(|a, b| {
        let order = compare(&a.labels, &b.labels);
        if is_descending { order.reverse() } else { order }
    });
    vector
}

/// As people sort: `a2` before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (a_part, a_rest) = part(a);
        let (b_part, b_rest) = part(b);
        let is_number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
        let order = if is_number(a_part) && is_number(b_part) {
            let (a_digits, b_digits) = (a_part.trim_start_matches('0'), b_part.trim_start_matches('0'));
            a_digits.len().cmp(&b_digits.len()).then_with(|| a_digits.cmp(b_digits))
        } else {
            a_part.cmp(b_part)
        };
        if order.is_ne() || (a_part.is_empty() && b_part.is_empty()) {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
}

/// The digits, or what is none, that a text begins with, and the rest.
fn part(text: &str) -> (&str, &str) {
    let is_digit = |c: char| c.is_ascii_digit();
    let is_number = text.starts_with(is_digit);
    text.split_at(text.find(|c: char| is_digit(c) != is_number).unwrap_or(text.len()))
}

/// The labels that an absent series would have: those whose last matcher is their first `=`.
pub(in crate::promql) fn of_absent(matchers: &[Matcher]) -> Labels {
    let mut pinned: HashMap<&str, &str> = HashMap::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != NAME) {
        match matcher.test() {
            Test::Equal(value) if seen.insert(matcher.name()) => pinned.insert(matcher.name(), value),
            _ => pinned.remove(matcher.name()),
        };
    }
    Labels::new(matchers.iter().filter_map(|matcher| Some((matcher.name(), *pinned.get(matcher.name())?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_series_has_the_labels_that_are_pinned() {
        let (equal, other) = (|value: &str| Matcher::equal("a", value), Matcher::not_equal("a", "x"));
        let labels = |matchers: &[Matcher]| of_absent(matchers).to_string();
        assert_eq!(labels(&[equal("1"), Matcher::equal(NAME, "m"), Matcher::equal("b", "2")]), "{a=\"1\", b=\"2\"}");
        assert_eq!(labels(&[other.clone(), equal("1")]), "{a=\"1\"}");
        assert_eq!(labels(&[equal("1"), other]), "{}");
        assert_eq!(labels(&[equal("1"), equal("1"), equal("1")]), "{}");
    }

    #[test]
    fn numbers_are_sorted_by_value() {
        let mut texts = ["a10", "a2", "", "b1", "a2b", "10", "9", "a02"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "9", "10", "a2", "a02", "a2b", "a10", "b1"]);
    }
}
