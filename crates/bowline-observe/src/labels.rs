//! What tells one time series from all others, and what selects them.

use std::{fmt, sync::Arc};

use regex::Regex;

/// The label that holds a metric's name.
pub const NAME: &str = "__name__";

/// Whether a text is the name of a label: a letter or `_`, then these and digits. How long it may be is not asked.
pub fn is_label_name(text: &str) -> bool {
    is_word(text, false)
}

/// Whether a text is the name of a metric: as that of a label, and with `:`.
pub fn is_metric_name(text: &str) -> bool {
    is_word(text, true)
}

fn is_word(text: &str, has_colons: bool) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || has_colons && byte == b':';
    text.bytes().next().is_some_and(is_letter) && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// Names and values of labels: sorted by name, each name once, no value empty.
///
/// Cheap to clone. As text: `name{label="value"}`, as Prometheus writes it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Those labels; of a name that comes twice the last value holds, an empty value means none.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        pairs.reverse();
        // Stable: the last one given comes first among its equals, and is the one that stays.
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|(later, _), (first, _)| later == first);
        pairs.retain(|(_, value)| !value.is_empty());
        Self(pairs.into())
    }

    /// Pairs that are sorted by name, each name once, no value empty.
    pub(crate) fn from_sorted(pairs: impl Into<Arc<[(Arc<str>, Arc<str>)]>>) -> Self {
        let pairs = pairs.into();
        debug_assert!(pairs.is_sorted_by(|(a, _), (b, _)| a < b), "sorted, and none twice");
        Self(pairs)
    }

    /// The value of that name; an absent label is as good as an empty one, which this gives as `None`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// The metric's name.
    pub fn name(&self) -> Option<&str> {
        self.get(NAME)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// All of them by name, to share their texts.
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those whose name passes.
    pub fn filtered(&self, is_kept: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| is_kept(name)).cloned().collect())
    }

    /// With that value of that label; an empty one removes it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let kept = self.0.iter().filter(|(known, _)| &**known != name).cloned();
        Self::new(kept.chain([(Arc::from(name), Arc::from(value))]))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        f.write_str(name.unwrap_or_default())?;
        let mut labels = self.iter().filter(|(label, _)| *label != NAME).peekable();
        if labels.peek().is_none() && name.is_some() {
            return Ok(());
        }
        f.write_str("{")?;
        for (at, (label, value)) in labels.enumerate() {
            write!(f, "{}{label}={value:?}", if at == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A demand on one label.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: Arc<str>,
    test: Test,
}

/// How a label's value is held against a matcher's.
#[derive(Debug, Clone)]
pub enum Test {
    /// `=`
    Equal(Arc<str>),
    /// `!=`
    NotEqual(Arc<str>),
    /// `=~`, on the whole value.
    Regex(Regex),
    /// `!~`, on the whole value.
    NotRegex(Regex),
}

/// A regular expression that is none, or that would take too much memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}` is not a regular expression that can be used: {rule}")]
pub struct InvalidRegex {
    /// What was given.
    pub expression: String,
    /// What is wrong with it.
    pub rule: String,
}

/// The most memory that a compiled expression takes, in bytes.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

impl Matcher {
    /// `name="value"`
    pub fn equal(name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), test: Test::Equal(value.into()) }
    }

    /// `name!="value"`
    pub fn not_equal(name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), test: Test::NotEqual(value.into()) }
    }

    /// `name=~"expression"`
    ///
    /// # Errors
    /// [`InvalidRegex`].
    pub fn regex(name: impl Into<Arc<str>>, expression: &str) -> Result<Self, InvalidRegex> {
        Ok(Self { name: name.into(), test: Test::Regex(anchored(expression)?) })
    }

    /// `name!~"expression"`
    ///
    /// # Errors
    /// [`InvalidRegex`].
    pub fn not_regex(name: impl Into<Arc<str>>, expression: &str) -> Result<Self, InvalidRegex> {
        Ok(Self { name: name.into(), test: Test::NotRegex(anchored(expression)?) })
    }

    /// The label it is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it demands of the value.
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// Whether a label of that value passes; of an absent one the value is empty.
    pub fn is_matching_value(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(wanted) => **wanted == *value,
            Test::NotEqual(unwanted) => **unwanted != *value,
            Test::Regex(regex) => regex.is_match(value),
            Test::NotRegex(regex) => !regex.is_match(value),
        }
    }

    /// Whether the series of those labels passes.
    pub fn is_matching(&self, labels: &Labels) -> bool {
        self.is_matching_value(labels.get(&self.name).unwrap_or_default())
    }
}

/// The expression over a whole value; `.` is any character, as in Prometheus since its version 3.
pub(crate) fn anchored(expression: &str) -> Result<Regex, InvalidRegex> {
    let build = |text: &str| regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    // By itself first: a bracket that it closes and did not open would let it out of the anchors.
    let built = build(expression).and_then(|_| build(&format!("^(?s:{expression})$")));
    built.map_err(|error| InvalidRegex { expression: expression.to_owned(), rule: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_each_is_there_once() {
        let labels = Labels::new([("b", "1"), (NAME, "up"), ("a", "x\"y"), ("b", "2"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"up{a="x\"y", b="2"}"#);
        assert_eq!((labels.get("b"), labels.get("c"), labels.len()), (Some("2"), None, 3));
        assert_eq!(labels.with("b", "").with("a", "z").to_string(), r#"up{a="z"}"#);
        assert_eq!(Labels::default().to_string(), "{}");
        assert_eq!(Labels::new([("a", "1"), ("a", "")]), Labels::default());
    }

    #[test]
    fn a_regex_holds_for_the_whole_value() {
        let labels = Labels::new([("code", "502")]);
        let is_matching = |expression| Matcher::regex("code", expression).unwrap().is_matching(&labels);
        assert!(is_matching("5..") && is_matching("4..|5.."));
        assert!(!is_matching("5.") && !is_matching("0"));
        assert!(Matcher::not_regex("absent", ".+").unwrap().is_matching(&labels));
        assert!(Matcher::equal("absent", "").is_matching(&labels));
        assert!(Matcher::regex("code", "(").is_err() && Matcher::regex("code", "a)|(b").is_err());
    }
}
