//! Which series pass matchers: from lists of series by label and value.

use crate::labels::{Matcher, Test};

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
    let mut passed: Option<Set> = None;
    for matcher in matchers.iter().filter(|matcher| !matcher.is_matching_value("")) {
        let set = having(postings, matcher, true);
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
    for matcher in matchers.iter().filter(|matcher| matcher.is_matching_value("")) {
        passed.subtract(&having(postings, matcher, false));
    }
    passed.to_vec()
}

/// The series with a value of the label that passes, or does not.
fn having(postings: &impl Postings, matcher: &Matcher, is_passing: bool) -> Set {
    let mut set = Set::new(postings.bound());
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
