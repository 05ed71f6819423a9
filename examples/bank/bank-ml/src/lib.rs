//! The bank's fraud model: generated transfers, a learner of boosted trees, the file a model is kept in, and its service.
//!
//! [`data`] makes transfers, [`training`] learns from them and says how good that is on those that it has not seen,
//! [`model`] says what is kept of it, [`serving`] scores by it. All of it is a function of a seed.

pub mod boosting;
pub mod data;
pub mod model;
pub mod random;
pub mod serving;
pub mod training;

/// Rows of features, and of each whether it was a fraud.
#[derive(Debug, Clone, Default)]
pub struct Set {
    /// The features of each.
    pub rows: Vec<bank_features::Row>,
    /// Whether each was a fraud.
    pub labels: Vec<bool>,
}
