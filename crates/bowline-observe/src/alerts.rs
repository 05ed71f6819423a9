//! Rules and alerts: what is evaluated, what it leads to, who is told, and why not.
//!
//! [`rules`] are read from Prometheus' YAML; [`Config`] adds who is told. [`Alerts`] evaluates them through the port
//! [`Evaluate`], steps each alert through one transition table (see [`diagram`]), and tells people in groups, as
//! Alertmanager does. What was decided and why is in the ledger. Alerts, what receivers know, silences and the ledger
//! survive: each receiver is told once, and again only where nobody can know whether it was.

mod config;
mod duration;
mod error;
mod evaluator;
mod facade;
mod journal;
mod manager;
mod matching;
mod metrics;
mod notifier;
mod silence;
mod table;
mod webhook;

pub mod ledger;
pub mod rules;

use std::sync::Arc;

pub use config::{Config, DOCUMENT_BYTES_MAX, MATCHERS_MAX, RECEIVERS_MAX, Receiver, Route, Target};
pub use duration::{parse_rfc3339, rfc3339};
pub use error::Error;
pub use evaluator::{ALERTS_PER_RULE_MAX, ActiveView, Evaluate, GroupView, HISTORY_MAX, Record, RuleView, Transition};
pub use facade::{Alerts, Settings};
pub use manager::{Alert, AlertManager};
pub use matching::Matching;
pub use notifier::HELD_MAX;
pub use silence::{NewSilence, SILENCES_MAX, Silence, SilenceState};
pub use table::diagram;
pub use webhook::{ALERTS_MAX, Answer, HttpPost, Post, PostError};

/// Tells the time in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

#[cfg(test)]
mod tests;
