//! What is kept of a model: beside the trees what they were learned from, how, and how good they are.

use example_model::metrics::Operating;
use iot_detect::Kind;
use serde::{Deserialize, Serialize};

use crate::forest::Forest;

/// A model; from its threshold on, nine of ten hours have a fault.
pub type Model = example_model::Model<Forest>;

/// What a model was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Of the devices and of the learner.
    pub seed: u64,
    /// Devices that it learned from, and as many that it was tested on.
    pub devices: u32,
    /// Hours that it learned from.
    pub trained_on: usize,
    /// Hours that it was tested on.
    pub tested_on: usize,
    /// The share of those that had a fault.
    pub fault_rate: f64,
}

/// How good a model is, on devices that it has not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// See [`roc_auc`](example_model::metrics::roc_auc).
    pub roc_auc: f64,
    /// What the threshold does.
    pub operating: Operating,
    /// The same of each kind of fault.
    pub kinds: Vec<OfKind>,
}

/// How good a model is at one kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfKind {
    /// The kind.
    pub kind: Kind,
    /// Against hours without any fault.
    pub roc_auc: f64,
    /// The share of its hours that the threshold flags.
    pub recall: f64,
}
