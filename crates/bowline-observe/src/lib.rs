//! Collects, keeps and queries what services report: traces, metrics, alerts.
//!
//! - [`traces`]: the trace store, which keeps spans under a hard cap of bytes and finds them again.
//! - [`alerts`]: rules, alerts, and who is told of them.
//! - [`labels`] and [`source`]: the vocabulary of metrics, which everything below shares.

pub mod alerts;
pub mod labels;
pub mod source;
pub mod traces;
