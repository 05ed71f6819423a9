//! What the ml services of the examples share: how good a model is ([`metrics`]), the file it is kept in ([`Model`]),
//! the commands that train and judge it ([`Program`]), and the service that scores by it ([`router`]).
//!
//! What is learned, from what and how, is each service's own: its [`Learned`].

mod file;
pub mod metrics;
mod program;
mod serving;

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

pub use file::{Error, FILE_BYTES_MAX, FORMAT, Model};
pub use program::Program;
pub use serving::router;

/// What was learned: trees, by which rows are scored.
pub trait Learned: Part {
    /// The program that trains it; who is refused a file is sent there.
    const PROGRAM: &'static str;
    /// The names of the features it asks for, in their order.
    const FEATURES: &'static [&'static str];

    /// The features of what is scored.
    type Row;
    /// What it was learned from.
    type Origin: Part;
    /// How it was learned.
    type Params: Part;
    /// How good it is.
    type Metrics: Part;

    /// The seed of what it was learned from.
    fn seed(origin: &Self::Origin) -> u64;

    /// From 0 to 1.
    fn score(&self, row: &Self::Row) -> f64;

    /// How many trees there are.
    fn trees(&self) -> usize;

    /// Whether it can be asked: a file may say anything.
    ///
    /// # Errors
    /// With what is wrong, and where.
    fn check(&self) -> Result<(), String>;
}

/// What can be a part of a [`Model`].
pub trait Part: Debug + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Debug + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static> Part for T {}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "what is counted here fits into memory, and so into 53 bits")]
pub fn real(count: usize) -> f64 {
    count as f64
}
