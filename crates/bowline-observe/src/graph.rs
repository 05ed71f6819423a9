//! The service graph: who calls whom, how often, how fast and how well, from the stream of spans.
//!
//! [`ServiceGraph`] is fed by the trace store's [`Tap`](crate::traces::Tap), pairs each span with its
//! parent, and keeps the figures of an hour in memory. The same stream makes the metrics
//! `bowline_span_*` and `bowline_edge_*`.

mod fact;
mod figures;

mod histogram;
mod matcher;
mod metrics;
mod names;
mod service_graph;
mod window;

pub use figures::{Edge, Failure, Figures, Graph, Mode, Node, Operation};
pub use service_graph::{ServiceGraph, Settings, WINDOW_MAX, WINDOW_MIN};
