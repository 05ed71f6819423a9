//! Scraping: every target is asked for its metrics, each at its own moment of the interval, and what it answers is
//! kept as series.
//!
//! - [`exposition`]: reads what targets answer, Prometheus' text format or OpenMetrics.
//! - [`ScrapeTargets`]: who is asked; [`Fetch`]: how; [`Sink`]: where samples go. Tests have their own of each.
//! - [`Collector`]: does it, with the semantics of Prometheus: `up` and its like, `exported_` labels,
//!   [`STALE`](crate::source::STALE) where a series ends.

mod cache;
mod collector;
pub mod exposition;
mod fetch;
mod metrics;
mod pass;
mod sink;
mod status;
mod target;

#[cfg(test)]
mod fakes;

pub use collector::{Collected, Collector, Error, MetricsCollector, Settings};
pub use fetch::{Fetch, FetchError, HttpFetch, Page};
pub use pass::Description;
pub use sink::{Sink, SinkError};
pub use status::{Health, TargetStatus};
pub use target::{Place, ScrapeTargets, TARGETS_MAX, Target};
