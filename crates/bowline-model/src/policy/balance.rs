//! How an instance is picked, and among whom.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{InvalidPolicy, Share, check_duration, check_that};
use crate::{text_form::text_form, units};

/// The most instances a subset may be of.
pub const SUBSET_MAX: u32 = 10_000;

/// How an instance is picked among those that may be. In JSON a name alone where only the strategy is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct BalancePolicy {
    /// The strategy.
    pub by: Balance,
    /// What of a request says where it goes; the strategies that hash need it, the others have none.
    pub key: Option<HashKey>,
    /// By how much an instance of a ring may have more in flight than its fair share; absent: as much as comes.
    pub headroom: Option<Share>,
    /// Of how many instances, at most, one caller uses; absent: of all.
    pub subset: Option<u32>,
    /// How long a new instance takes to come to its full share; absent: it has it at once.
    pub slow_start: Option<Duration>,
    /// Whether instances of the caller's own zone are preferred.
    pub zones: Zones,
    /// Below that share of instances that are well, all are picked from. Zero: only where none is well.
    pub panic_below: Share,
}

/// Whether the caller's own zone is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zones {
    /// All zones are one.
    #[default]
    Any,
    /// What its own zone can bear stays there, the rest spills over to the others.
    Prefer,
}

impl Zones {
    /// The ways there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 2] = [("any", Self::Any), ("prefer", Self::Prefer)];
}

/// The strategy by which an instance is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
    /// In turn, in proportion to weights (smooth).
    Weighted,
    /// The one with the fewest requests in flight.
    LeastConnections,
    /// The less loaded of two at random, by peak-EWMA latency and requests in flight.
    #[default]
    P2cEwma,
    /// By a hash of a key, through a table: even, and nearly nothing moves when an instance goes.
    Maglev,
    /// By a hash of a key, on a ring; with `headroom`, no instance gets more than it can bear.
    Ring,
}

impl Balance {
    /// The strategies there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("round-robin", Self::RoundRobin),
        ("random", Self::Random),
        ("weighted", Self::Weighted),
        ("least-connections", Self::LeastConnections),
        ("p2c-ewma", Self::P2cEwma),
        ("maglev", Self::Maglev),
        ("ring", Self::Ring),
    ];

    /// Its name in `bowline.toml`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, strategy)| *strategy == self).map_or("", |(name, _)| name)
    }

    /// Whether it picks by a key.
    pub fn hashes(self) -> bool {
        matches!(self, Self::Maglev | Self::Ring)
    }
}

impl From<Balance> for BalancePolicy {
    fn from(by: Balance) -> Self {
        Self { by, ..Self::default() }
    }
}

impl BalancePolicy {
    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        let Self { by, key, headroom, subset, slow_start, zones: _, panic_below: _ } = self;
        check_that(!by.hashes() || key.is_some(), "balance.key", "maglev and ring need a key")?;
        check_that(by.hashes() || key.is_none(), "balance.key", "maglev and ring alone have a key")?;
        check_that(headroom.is_none() || *by == Balance::Ring, "balance.headroom", "a ring alone has headroom")?;
        check_that(*headroom != Some(Share::ZERO), "balance.headroom", "it is above 0%")?;
        let is_subset = subset.is_none_or(|count| (1..=SUBSET_MAX).contains(&count));
        check_that(is_subset, "balance.subset", "it is 1 to 10000")?;
        slow_start.map_or(Ok(()), |time| check_duration("balance.slow_start", time))
    }

    fn is_strategy_alone(&self) -> bool {
        *self == Self::from(self.by)
    }
}

/// What of a request a strategy hashes. As text: `"header:x-user"`, `"cookie:session"`, `"query:user"`, `"path"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HashKey {
    /// A header, by its name in lower case.
    Header(String),
    /// A cookie, by its name.
    Cookie(String),
    /// A parameter of the query, by its name.
    Query(String),
    /// The path, without the query.
    Path,
}

impl HashKey {
    /// Reads `"header:x-user"`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write \"header:NAME\", \"cookie:NAME\", \"query:NAME\" or \"path\"";
        if text == "path" {
            return Ok(Self::Path);
        }
        let (kind, name) = text.split_once(':').ok_or(RULE)?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) {
            return Err("the name is of 1 to 64 of a-z, A-Z, 0-9, - _ . ~");
        }
        match kind {
            "header" => Ok(Self::Header(name.to_ascii_lowercase())),
            "cookie" => Ok(Self::Cookie(name.to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            _ => Err(RULE),
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Path => f.write_str("path"),
        }
    }
}

text_form!(HashKey);

/// A balance as JSON holds it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Strategy(Balance),
    Whole(Whole),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default)]
    by: Balance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<HashKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    headroom: Option<Share>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subset: Option<u32>,
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    slow_start: Option<Duration>,
    #[serde(default)]
    zones: Zones,
    #[serde(default = "zero")]
    panic_below: Share,
}

fn zero() -> Share {
    Share::ZERO
}

impl From<Form> for BalancePolicy {
    fn from(form: Form) -> Self {
        match form {
            Form::Strategy(by) => by.into(),
            Form::Whole(Whole { by, key, headroom, subset, slow_start, zones, panic_below }) => {
                Self { by, key, headroom, subset, slow_start, zones, panic_below }
            }
        }
    }
}

impl From<BalancePolicy> for Form {
    fn from(policy: BalancePolicy) -> Self {
        if policy.is_strategy_alone() {
            return Self::Strategy(policy.by);
        }
        let BalancePolicy { by, key, headroom, subset, slow_start, zones, panic_below } = policy;
        Self::Whole(Whole { by, key, headroom, subset, slow_start, zones, panic_below })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_alone_is_written_as_its_name() {
        for (name, by) in Balance::NAMES {
            let json = serde_json::to_string(&BalancePolicy::from(by)).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<BalancePolicy>(&json).unwrap(), by.into());
            assert_eq!(by.name(), name);
        }
        let whole = BalancePolicy {
            key: Some(HashKey::Header("x-user".to_owned())),
            headroom: Some(Share::from_percent(25)),
            slow_start: Some(Duration::from_secs(30)),
            ..Balance::Ring.into()
        };
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<BalancePolicy>(&json).unwrap(), whole, "{json}");
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        for text in ["header:x-user", "cookie:Session", "query:user", "path"] {
            assert_eq!(HashKey::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(HashKey::parse("header:X-User").unwrap().to_string(), "header:x-user");
        for bad in ["", "header", "header:", "header:a b", "body:x", "path:1"] {
            assert!(HashKey::parse(bad).is_err(), "{bad}");
        }
    }
}
