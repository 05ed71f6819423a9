//! Collects, keeps and queries what services report: traces, metrics, alerts.
//!
//! - [`traces`]: the trace store, which keeps spans under a hard cap of bytes and finds them again.
//! - [`graph`]: the service graph, and requests, errors and durations from the stream of spans.
//! - [`labels`] and [`source`]: the vocabulary of metrics, which everything below shares.

pub mod graph;
pub mod labels;
pub mod source;
pub mod traces;
