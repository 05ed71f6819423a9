//! The port between who raises alerts and who tells people.

use std::collections::BTreeMap;

use bowline_runtime::BoxFuture;
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::labels::Labels;

/// One alert, as its manager sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// What tells it from all others.
    pub labels: Labels,
    /// What people are told.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires, in milliseconds since 1970.
    pub starts_at_ms: i64,
    /// When it ended; none: it fires.
    pub ends_at_ms: Option<i64>,
    /// Where people see what raised it.
    pub generator_url: String,
}

/// Takes alerts, and tells people.
pub trait AlertManager: Send + Sync + 'static {
    /// Takes alerts as they are now; one that it knows already changes nothing.
    ///
    /// # Errors
    /// When it is not certain that each of them will survive: they are to be sent again.
    fn send(&self, alerts: Vec<Alert>) -> BoxFuture<'_, Result<(), Error>>;
}

/// An alert as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptAlert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at_ms: i64,
    ends_at_ms: Option<i64>,
    generator_url: String,
}

impl Alert {
    /// Tells its labels from others', in 16 characters.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.labels)
    }
}

/// Tells labels from others, in 16 characters.
pub(crate) fn fingerprint(labels: &Labels) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(labels.to_string().as_bytes()))
}

/// Labels by name.
pub(crate) fn label_map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl From<&Alert> for KeptAlert {
    fn from(alert: &Alert) -> Self {
        let Alert { labels, annotations, starts_at_ms, ends_at_ms, generator_url } = alert;
        Self {
            labels: label_map(labels),
            annotations: annotations.clone(),
            starts_at_ms: *starts_at_ms,
            ends_at_ms: *ends_at_ms,
            generator_url: generator_url.clone(),
        }
    }
}

impl From<KeptAlert> for Alert {
    fn from(kept: KeptAlert) -> Self {
        let KeptAlert { labels, annotations, starts_at_ms, ends_at_ms, generator_url } = kept;
        let labels = Labels::new(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Self { labels, annotations, starts_at_ms, ends_at_ms, generator_url }
    }
}
