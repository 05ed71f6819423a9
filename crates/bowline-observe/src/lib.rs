//! Collects, keeps and queries what services report: traces, metrics, alerts.
//!
//! - [`traces`]: the trace store, which keeps spans under a hard cap of bytes and finds them again.
//! - [`series`]: the series store, which keeps samples compressed, under a hard cap of bytes, too.
//! - [`alerts`]: rules, alerts, and who is told of them.
//! - [`health`]: how services are, by their instances and by those whom they call.
//! - [`graph`]: the service graph, and requests, errors and durations from the stream of spans.
//! - [`communication`]: what a system was seen to do, as the axioms are held against it.
//! - [`labels`] and [`source`]: the vocabulary of metrics, which everything below shares.
//! - [`promql`]: Prometheus' query language over a [`source`].
//! - [`releases`]: what was measured of one release of a service.
//! - [`scrape`]: asks every target for its metrics, and puts them where they are kept.

pub mod alerts;
mod attributes;
pub mod communication;
pub mod graph;
pub mod health;
pub mod labels;
pub mod promql;
pub mod releases;
pub mod scrape;
pub mod series;
pub mod source;
pub mod traces;
