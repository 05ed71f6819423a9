//! What is kept of a model: beside the trees what they were learned from, how, and how good they are.

use example_model::metrics;
use serde::{Deserialize, Serialize};

use crate::boosting::Forest;

/// A model; from its threshold on a transfer is denied, unless configuration says otherwise.
pub type Model = example_model::Model<Forest>;

/// What a model was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Of the data and of the learner.
    pub seed: u64,
    /// Customers of the bank.
    pub accounts: u32,
    /// Transfers that it learned from.
    pub trained_on: usize,
    /// Transfers that it was tested on.
    pub tested_on: usize,
    /// The share of frauds among them.
    pub fraud_rate: f64,
}

/// How good a model is, on transfers that it has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// See [`roc_auc`](metrics::roc_auc).
    pub roc_auc: f64,
    /// See [`average_precision`](metrics::average_precision).
    pub average_precision: f64,
    /// What the threshold does.
    pub operating: Operating,
}

/// What a threshold does to a set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operating {
    /// The share of frauds among what it denies.
    pub precision: f64,
    /// The share of the frauds that it denies.
    pub recall: f64,
    /// The share of all transfers that it denies.
    pub denied: f64,
}

impl From<metrics::Operating> for Operating {
    /// What is flagged is denied.
    fn from(metrics::Operating { precision, recall, flagged }: metrics::Operating) -> Self {
        Self { precision, recall, denied: flagged }
    }
}
