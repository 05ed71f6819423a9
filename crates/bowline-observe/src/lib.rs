//! Collects, keeps and queries what services report: traces, metrics, alerts.
//!
//! - [`traces`]: the trace store, which keeps spans under a hard cap of bytes and finds them again.
//! - [`health`]: how services are, by their instances and by those whom they call.
//! - [`labels`] and [`source`]: the vocabulary of metrics, which everything below shares.

pub mod health;
pub mod labels;
pub mod source;
pub mod traces;
