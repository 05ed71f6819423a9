//! How a system watches itself: which traces are kept, what is scraped, who is told of alerts.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{gateway::SecretSource, name::ServiceName, problem::Position, units::Share};

/// What the file says of traces: `[tracing]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TracingPolicy {
    /// Which traces are kept, while nothing else is published.
    pub sampling: Sampling,
    /// Where spans are passed on to; absent: nowhere.
    pub export: Option<TraceExport>,
}

/// Which traces are kept: the document `bowline/tracing`, which changes live.
///
/// It decides where a trace begins; every hop after that follows what its caller decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// The share of the traces that begin anywhere. 100 %.
    #[serde(default = "all")]
    pub sample: Share,
    /// Other shares, of those that begin at a service; `gateway` is one here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ServiceName, Share>,
}

fn all() -> Share {
    Share::ALL
}

impl Default for Sampling {
    fn default() -> Self {
        Self { sample: all(), services: BTreeMap::new() }
    }
}

impl Sampling {
    /// The share of the traces that begin at that service.
    pub fn of(&self, service: &str) -> Share {
        self.services.get(service).copied().unwrap_or(self.sample)
    }
}

/// Where spans are passed on to, in OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceExport {
    /// The collector's URL: `http://collector:4318`.
    pub otlp: String,
    /// Headers that go with each request.
    pub headers: BTreeMap<String, SecretText>,
}

/// A text that may be a secret, or stand elsewhere: as text, `env:NAME`, `file:PATH` or the text itself.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretText {
    /// The text itself.
    Plain(String),
    /// Where it stands.
    At(SecretSource),
}

impl SecretText {
    /// Reads a source, or takes the text as it is.
    pub fn parse(text: &str) -> Self {
        SecretSource::parse(text).map_or_else(|_| Self::Plain(text.to_owned()), Self::At)
    }
}

/// Tells where the text stands, and never the text.
impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("SecretText(…)"),
            Self::At(source) => write!(f, "SecretText({source})"),
        }
    }
}

/// What the file says of metrics: `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsPolicy {
    /// How often each target is scraped, and each rule evaluated. 5 s.
    pub every: Duration,
    /// How long samples are kept, where the cap of bytes lets them. 15 d.
    pub retention: Duration,
    /// What is scraped beside the registered instances.
    pub targets: Vec<StaticTarget>,
}

/// The least and the most of [`MetricsPolicy::every`].
pub const SCRAPE_EVERY_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));
/// The least and the most of [`MetricsPolicy::retention`].
pub const RETENTION_RANGE: (Duration, Duration) = (Duration::from_hours(1), Duration::from_hours(24 * 365 * 10));

impl Default for MetricsPolicy {
    fn default() -> Self {
        Self { every: Duration::from_secs(5), retention: Duration::from_hours(24 * 15), targets: Vec::new() }
    }
}

/// Something that is scraped though no registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticTarget {
    /// The label `job`.
    pub job: String,
    /// A host and a port, which is the label `instance`: `127.0.0.1:9100`.
    pub address: String,
    /// Where it shows its metrics. `/metrics`.
    pub path: String,
    /// More labels of all its series.
    pub labels: BTreeMap<String, String>,
}

/// Where an instance of a service shows its metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MetricsPath {
    /// At `/metrics`, if it has any.
    #[default]
    Usual,
    /// There.
    At(String),
    /// It has none.
    Off,
}

/// What the file says of alerts: `[alerts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertPolicy {
    /// Files of rules in Prometheus' format, relative to `bowline.toml`, each with where it is named.
    pub rules: Vec<(String, Position)>,
    /// The labels whose values make a group; alerts of a group are told together. None: all are one group.
    pub group_by: Vec<String>,
    /// How long a new group waits for others before it is told. 0 s.
    pub group_wait: Duration,
    /// How long after it was told a group waits to tell of changes. 1 m.
    pub group_interval: Duration,
    /// How long until what still fires is told again. 4 h.
    pub repeat_interval: Duration,
    /// Who is told.
    pub receivers: Vec<Receiver>,
}

impl Default for AlertPolicy {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            group_by: vec!["alertname".to_owned()],
            group_wait: Duration::ZERO,
            group_interval: Duration::from_mins(1),
            repeat_interval: Duration::from_hours(4),
            receivers: Vec::new(),
        }
    }
}

/// Who is told of alerts: `[alerts.receivers.X]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// Where it is declared.
    pub position: Position,
    /// The URL that is posted to, or where it stands.
    pub webhook: SecretText,
    /// Which alerts: `severity="page"`, all of them true. None: every one.
    pub matchers: Vec<String>,
    /// Whether it is told that an alert is over.
    pub send_resolved: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_have_a_share_of_its_own() {
        let sampling: Sampling =
            serde_json::from_str(r#"{"sample": "10%", "services": {"order": "100%"}}"#).expect("it is one");
        assert_eq!((sampling.of("order"), sampling.of("user")), (Share::ALL, Share::from_percent(10)));
        let nothing: Sampling = serde_json::from_str("{}").expect("all has a default");
        assert_eq!(nothing, Sampling::default());
        assert!(serde_json::from_str::<Sampling>(r#"{"ratio": 1}"#).is_err());
    }

    #[test]
    fn a_secret_is_not_told() {
        let plain = SecretText::parse("https://hooks.example/T0/hunter2");
        assert_eq!(format!("{plain:?} {:?}", SecretText::parse("env:HOOK")), "SecretText(…) SecretText(env:HOOK)");
    }
}
