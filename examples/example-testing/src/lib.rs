//! What tests of the examples' services share: a service that runs, and what its document says of its answers.
//!
//! For dev-dependencies alone: what is not as it should be panics.

#![expect(clippy::unwrap_used, reason = "what fails here is the report of a failed test")]

mod document;
mod running;

pub use document::Document;
pub use running::{Answer, JSON, Running};
