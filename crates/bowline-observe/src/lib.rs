//! Collects, keeps and queries what services report: traces, metrics, alerts.
//!
//! - [`traces`]: the trace store, which keeps spans under a hard cap of bytes and finds them again.
//! - [`labels`] and [`source`]: the vocabulary of metrics, which everything below shares.
//! - [`scrape`]: asks every target for its metrics, and puts them where they are kept.

pub mod labels;
pub mod scrape;
pub mod source;
pub mod traces;
