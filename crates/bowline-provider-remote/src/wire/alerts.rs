//! Alerts, silences and notifications, as a server tells of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /api/v1/alerts`, within Prometheus' envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertList {
    /// Those that are pending or fire.
    pub alerts: Vec<ActiveAlert>,
}

/// An alert that is pending or fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveAlert {
    /// What tells it from all others.
    pub labels: BTreeMap<String, String>,
    /// What people are told.
    pub annotations: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: String,
    /// Since when, as RFC 3339.
    pub active_at: String,
    /// The value of its expression.
    pub value: String,
}

/// `GET /api/v1/rules`, within Prometheus' envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleList {
    /// The groups, in their order.
    pub groups: Vec<RuleGroup>,
}

/// A group of rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleGroup {
    /// Its name.
    pub name: String,
    /// How often it is evaluated, in seconds.
    pub interval: f64,
    /// Its rules, in their order.
    pub rules: Vec<RuleStanding>,
}

/// A rule, and how it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleStanding {
    /// Of an alert: `inactive`, `pending` or `firing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Its name.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// `for`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// `unknown`, `ok` or `err`.
    pub health: String,
    /// Why it is `err`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// `alerting` or `recording`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// `GET /v1/alerts/history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertHistory {
    /// The newest first.
    pub transitions: Vec<AlertTransition>,
}

/// A change of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertTransition {
    /// When, as RFC 3339.
    pub at: String,
    /// The group of its rule.
    pub group: String,
    /// What tells it from all others.
    pub labels: BTreeMap<String, String>,
    /// `inactive`, `pending`, `firing` or `resolved`.
    pub from: String,
    /// The same.
    pub to: String,
    /// The value of its expression then.
    pub value: String,
}

/// `GET /v1/alerts/notifications`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationList {
    /// The newest first.
    pub notifications: Vec<Notification>,
}

/// Who was told what, or was not, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Counts from 1.
    pub id: u64,
    /// When it was decided, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who was, or would be, told.
    pub receiver: String,
    /// Of which group.
    pub group: String,
    /// The alerts, each as its labels.
    pub alerts: Vec<String>,
    /// How many there are.
    pub alert_count: usize,
    /// What was decided, and why: `decision` says which of them, the rest belongs to it.
    pub decision: BTreeMap<String, serde_json::Value>,
}

/// `POST /v1/alerts/silences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewSilence {
    /// All must match: `service="order"`.
    pub matchers: Vec<String>,
    /// When it ends, as RFC 3339.
    pub ends_at: String,
    /// Who makes it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// `GET /v1/alerts/silences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceList {
    /// Those that ended lately included.
    pub silences: Vec<StandingSilence>,
}

/// A silence, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StandingSilence {
    /// Its name.
    pub id: String,
    /// All must match.
    pub matchers: Vec<String>,
    /// When it begins, as RFC 3339.
    pub starts_at: String,
    /// When it ends, as RFC 3339.
    pub ends_at: String,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// `pending`, `active` or `expired`.
    pub state: String,
}

/// `POST /v1/alerts/receivers/{name}/test`: what the receiver answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// The beginning of what it said.
    pub text: String,
}

/// `GET /api/v1/targets`, within Prometheus' envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeTargetList {
    /// What is scraped.
    pub active_targets: Vec<ScrapeTarget>,
}

/// A scrape target, and how that goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeTarget {
    /// The labels of all its series.
    pub labels: BTreeMap<String, String>,
    /// Where it is asked.
    pub scrape_url: String,
    /// Why it is not up.
    pub last_error: String,
    /// When it was asked last, as RFC 3339.
    pub last_scrape: String,
    /// How long that took, in seconds.
    pub last_scrape_duration: f64,
    /// `up`, `down`, `none` or `unknown`.
    pub health: String,
    /// How many samples it exposed then.
    #[serde(default)]
    pub samples: usize,
}
