//! Which series pass matchers: from lists of series by label and value.

use std::sync::Arc;

use crate::labels::{Matcher, Test};

/// A matcher, and for a regular expression the values that it was tried on and that decide.
///
/// So an expression, which may take long, is tried while nobody waits for the postings.
#[derive(Debug)]
pub(crate) struct Tried<'a> {
    matcher: &'a Matcher,
    values: Option<Vec<Arc<str>>>,
}

impl<'a> Tried<'a> {
    /// A regular expression is tried on those values of its label; one that comes later is as if it were not there.
    pub(crate) fn on(matcher: &'a Matcher, values: impl FnOnce(&str) -> Vec<Arc<str>>) -> Self {
        let is_regex = matches!(matcher.test(), Test::Regex(_) | Test::NotRegex(_));
        let is_deciding = |value: &Arc<str>| matcher.is_matching_value(value) != matcher.is_matching_value("");
        let values = is_regex.then(|| values(matcher.name()).into_iter().filter(is_deciding).collect());
        Self { matcher, values }
    }

    /// It is tried when it is needed.
    fn later(matcher: &'a Matcher) -> Self {
        Self { matcher, values: None }
    }
}

/// Series by label and value. A series is a number below [`Postings::bound`].
pub(crate) trait Postings {
    /// One more than the highest number of a series.
    fn bound(&self) -> usize;
    /// All series.
    fn all(&self, visit: impl FnMut(u32));
    /// The series with that label and value.
    fn equal(&self, name: &str, value: &str) -> &[u32];
    /// The values of that label, each with its series.
    fn values<'a>(&'a self, name: &str, visit: impl FnMut(&'a str, &'a [u32]));
}

/// The series that pass all matchers, by number.
pub(crate) fn resolve(postings: &impl Postings, matchers: &[Matcher]) -> Vec<u32> {
    resolve_tried(postings, &matchers.iter().map(Tried::later).collect::<Vec<_>>())
}

/// The series that pass all matchers, by number.
pub(crate) fn resolve_tried(postings: &impl Postings, matchers: &[Tried<'_>]) -> Vec<u32> {
    let mut passed: Option<Set> = None;
    for tried in matchers.iter().filter(|tried| !tried.matcher.is_matching_value("")) {
        let set = having(postings, tried, true);
        match &mut passed {
            None => passed = Some(set),
            Some(passed) => passed.intersect(&set),
        }
    }
    let mut passed = passed.unwrap_or_else(|| {
        let mut all = Set::new(postings.bound());
        postings.all(|series| all.insert(series));
        all
    });
    // What passes without the label fails only by another value of it.
    for tried in matchers.iter().filter(|tried| tried.matcher.is_matching_value("")) {
        passed.subtract(&having(postings, tried, false));
    }
    passed.to_vec()
}

/// The series with a value of the label that passes, or does not.
fn having(postings: &impl Postings, tried: &Tried<'_>, is_passing: bool) -> Set {
    let Tried { matcher, values } = tried;
    let mut set = Set::new(postings.bound());
    if let Some(values) = values {
        for value in values {
            set.extend(postings.equal(matcher.name(), value));
        }
        return set;
    }
    let exact = match matcher.test() {
        Test::Equal(value) if is_passing => Some(value),
        Test::NotEqual(value) if !is_passing => Some(value),
        Test::Equal(_) | Test::NotEqual(_) | Test::Regex(_) | Test::NotRegex(_) => None,
    };
    if let Some(value) = exact {
        set.extend(postings.equal(matcher.name(), value));
        return set;
    }
    postings.values(matcher.name(), |value, series| {
        if matcher.is_matching_value(value) == is_passing {
            set.extend(series);
        }
    });
    set
}

/// A set of numbers, one bit each.
#[derive(Debug, Clone)]
struct Set(Vec<u64>);

impl Set {
    fn new(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    fn insert(&mut self, number: u32) {
        self.0[number as usize / 64] |= 1 << (number % 64);
    }

    fn extend(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.insert(*number);
        }
    }

    fn intersect(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    fn subtract(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    fn to_vec(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        for (word, at) in self.0.iter().zip(0_u32..) {
            let mut word = *word;
            while word != 0 {
                numbers.push(at * 64 + word.trailing_zeros());
                word &= word - 1;
            }
        }
        numbers
    }
}
