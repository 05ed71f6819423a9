//! Silences: alerts of which nobody is told for a while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::{config::MATCHERS_MAX, duration, error::Error, matching::Matching};
use crate::labels::Labels;

/// The most silences, those that ended lately included.
pub const SILENCES_MAX: usize = 1000;

/// The longest author and comment, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// For how long a silence that has ended is still listed.
const ENDED_KEPT_MS: i64 = 5 * 86_400_000;

/// A silence to be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewSilence {
    /// All must match: `service="order"`, with `=`, `!=`, `=~` or `!~`.
    pub matchers: Vec<String>,
    /// When it begins, as RFC 3339; none: now.
    pub starts_at: Option<String>,
    /// When it ends, as RFC 3339.
    pub ends_at: String,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// Its name.
    pub id: String,
    /// All must match.
    pub matchers: Vec<String>,
    /// When it begins, in milliseconds since 1970.
    #[serde(serialize_with = "as_rfc3339", deserialize_with = "from_rfc3339")]
    pub starts_at: i64,
    /// When it ends, in milliseconds since 1970.
    #[serde(serialize_with = "as_rfc3339", deserialize_with = "from_rfc3339")]
    pub ends_at: i64,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// Where a silence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceState {
    /// It begins later.
    Pending,
    /// It holds.
    Active,
    /// It is over.
    Expired,
}

impl SilenceState {
    /// Its name: `pending`, `active` or `expired`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// All silences, by id.
#[derive(Debug, Default)]
pub(crate) struct Silences(BTreeMap<String, (Silence, Vec<Matching>)>);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_rfc3339<S: Serializer>(at_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration::rfc3339(*at_ms))
}

fn from_rfc3339<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("it is no time as RFC 3339 has it"))
}

impl NewSilence {
    /// Checks it.
    ///
    /// # Errors
    /// [`Error::InvalidSilence`].
    pub(crate) fn check(self, id: String, now_ms: i64) -> Result<(Silence, Vec<Matching>), Error> {
        let invalid = |rule: String| Error::InvalidSilence { rule };
        let Self { matchers, starts_at, ends_at, created_by, comment } = self;
        if matchers.is_empty() || matchers.len() > MATCHERS_MAX {
            return Err(invalid(format!("it has 1 to {MATCHERS_MAX} matchers")));
        }
        if [&created_by, &comment].iter().any(|text| text.trim().is_empty() || text.len() > TEXT_BYTES_MAX) {
            return Err(invalid(format!("`createdBy` and `comment` have 1 to {TEXT_BYTES_MAX} bytes")));
        }
        let read: Vec<_> = matchers.iter().map(|m| Matching::parse(m)).collect::<Result<_, _>>().map_err(invalid)?;
        if read.iter().all(Matching::is_matching_absent) {
            return Err(invalid("one of its matchers has to demand a value: it would silence everything".to_owned()));
        }
        let time = |text: &str| {
            duration::parse_rfc3339(text).ok_or_else(|| invalid(format!("`{text}` is no time as RFC 3339 has it")))
        };
        let starts_at = starts_at.map_or(Ok(now_ms), |text| time(&text))?;
        let ends_at = time(&ends_at)?;
        if ends_at <= starts_at || ends_at <= now_ms {
            return Err(invalid("it ends after it begins, and in the future".to_owned()));
        }
        Ok((Silence { id, matchers, starts_at, ends_at, created_by, comment }, read))
    }
}

impl Silence {
    /// Where it stands at that time, in milliseconds since 1970.
    pub fn state(&self, now_ms: i64) -> SilenceState {
        match now_ms {
            now if now < self.starts_at => SilenceState::Pending,
            now if now < self.ends_at => SilenceState::Active,
            _ => SilenceState::Expired,
        }
    }
}

impl Silences {
    /// Adds one; those that ended long ago, and where there is no more room those that ended at all, go. Their ids
    /// are answered.
    pub(crate) fn add(&mut self, silence: (Silence, Vec<Matching>), now_ms: i64) -> Result<Vec<String>, Error> {
        let mut gone = self.take(|silence| silence.ends_at < now_ms - ENDED_KEPT_MS);
        if self.0.len() >= SILENCES_MAX {
            gone.extend(self.take(|silence| silence.state(now_ms) == SilenceState::Expired));
        }
        if self.0.len() >= SILENCES_MAX {
            return Err(Error::TooMany { what: "silences", max: SILENCES_MAX });
        }
        self.0.insert(silence.0.id.clone(), silence);
        Ok(gone)
    }

    /// Puts one that was kept in its place; what can no longer be read silences nothing.
    pub(crate) fn restore(&mut self, silence: Silence) {
        let matchers: Result<Vec<_>, _> = silence.matchers.iter().map(|text| Matching::parse(text)).collect();
        if let Ok(matchers) = matchers.map_err(|error| tracing::warn!(silence = silence.id, error, "cannot be used")) {
            self.0.insert(silence.id.clone(), (silence, matchers));
        }
    }

    /// Ends one now.
    pub(crate) fn expire(&mut self, id: &str, now_ms: i64) -> Result<Silence, Error> {
        let (silence, _) = self.0.get_mut(id).ok_or_else(|| Error::NoSilence { id: id.to_owned() })?;
        silence.ends_at = silence.ends_at.min(now_ms);
        Ok(silence.clone())
    }

    /// The silence that holds for those labels now.
    pub(crate) fn silencing(&self, labels: &Labels, now_ms: i64) -> Option<&Silence> {
        let is_silencing = |(silence, matchers): &&(Silence, Vec<Matching>)| {
            silence.state(now_ms) == SilenceState::Active && matchers.iter().all(|m| m.is_matching(labels))
        };
        self.0.values().find(is_silencing).map(|(silence, _)| silence)
    }

    pub(crate) fn all(&self) -> Vec<Silence> {
        self.0.values().map(|(silence, _)| silence.clone()).collect()
    }

    fn take(&mut self, is_taken: impl Fn(&Silence) -> bool) -> Vec<String> {
        let taken: Vec<String> = self.0.values().filter(|(s, _)| is_taken(s)).map(|(s, _)| s.id.clone()).collect();
        self.0.retain(|id, _| !taken.contains(id));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(matcher: &str, ends_at_ms: i64) -> NewSilence {
        NewSilence {
            matchers: vec![matcher.to_owned()],
            starts_at: None,
            ends_at: duration::rfc3339(ends_at_ms),
            created_by: "ann".to_owned(),
            comment: "deploy".to_owned(),
        }
    }

    #[test]
    fn silences_hold_for_a_while_and_are_bounded() {
        let mut silences = Silences::default();
        for id in 0..SILENCES_MAX {
            let silence = new("service=order", 2000 + i64::from(id > 0) * 10_000).check(id.to_string(), 1000).unwrap();
            silences.add(silence, 1000).unwrap();
        }
        let labels = Labels::new([("service", "order")]);
        assert_eq!(silences.silencing(&labels, 1999).map(|silence| silence.id.as_str()), Some("0"));
        let another = || new("service=order", 50_000).check("x".to_owned(), 1500).unwrap();
        assert!(matches!(silences.add(another(), 1500), Err(Error::TooMany { .. })));
        // Where there is no room, those that ended make it.
        assert_eq!(silences.add(another(), 2000).unwrap(), ["0"]);
        assert_eq!(silences.expire("x", 2500).unwrap().state(2500), SilenceState::Expired);
        assert!(matches!(silences.expire("y", 2500), Err(Error::NoSilence { .. })));
        assert!(silences.silencing(&Labels::new([("service", "x")]), 1999).is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |silence: NewSilence| silence.check("a".to_owned(), 1000).is_err();
        assert!(check(new("service=", 2000)) && check(new("service=~.*", 2000)) && check(new("a=b", 1000)));
        assert!(check(NewSilence { matchers: vec![], ..new("a=b", 2000) }));
        assert!(check(NewSilence { comment: String::new(), ..new("a=b", 2000) }));
        assert!(check(NewSilence { ends_at: "soon".to_owned(), ..new("a=b", 2000) }));
    }
}
