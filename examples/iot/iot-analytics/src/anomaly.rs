//! What is told of an episode in which something was wrong with a device.

use iot_detect::Kind;
use serde::{Deserialize, Serialize};

use crate::fleet::Name;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    Info,
    Warning,
    Critical,
}

/// An anomaly, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Anomaly {
    /// It grows from one to the next.
    pub(crate) id: i64,
    pub(crate) device: String,
    pub(crate) kind: Kind,
    pub(crate) began_ms: i64,
    /// None while it lasts.
    pub(crate) ended_ms: Option<i64>,
    /// The value it was found at; none of a dropout.
    pub(crate) value: Option<f64>,
    /// What was expected instead, where that was known.
    pub(crate) expected: Option<f64>,
    /// How odd it is, from 0 to 1.
    pub(crate) score: f64,
    pub(crate) severity: Severity,
    /// The version of the model that scored it, or `fallback`.
    pub(crate) by: String,
}

/// What is to be kept of an episode.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Noted {
    /// Its id is given when it is kept.
    Began(Anomaly),
    Ended {
        device: Name,
        kind: Kind,
        at_ms: i64,
    },
}

/// Which anomalies are asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    pub(crate) device: Option<String>,
    /// Those that last, or those that are over; absent: both.
    #[serde(default)]
    pub(crate) open: Option<bool>,
    /// Those after that id.
    #[serde(default)]
    pub(crate) after: Option<i64>,
    /// How many at most.
    #[serde(default)]
    pub(crate) limit: Option<i64>,
}

/// Some anomalies, by their ids.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Anomalies {
    pub(crate) anomalies: Vec<Anomaly>,
}

impl Severity {
    const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

pub(crate) fn parse_kind(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == text)
}
