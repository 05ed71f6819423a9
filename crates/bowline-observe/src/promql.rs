//! Prometheus' query language: [`parse`] makes an [`Expr`] of a text, an [`Engine`] evaluates it.
//!
//! It behaves as Prometheus 3 does without feature flags: ranges and the lookback are open on the left,
//! `(t - range, t]`. Native histograms are left out, and with them what only they have (`histogram_avg`,
//! `histogram_count`, `histogram_sum`, …); so are the experimental functions and modifiers (`limitk`,
//! `limit_ratio`, `info`, `fill`, `anchored`, arithmetic of durations).

mod engine;
mod error;
mod eval;
mod expr;
mod parse;

pub use engine::{Cancel, Engine, LOOKBACK, SAMPLES_MAX, SERIES_MAX, STEPS_MAX, SUBQUERY_STEP, TIMEOUT, Value};
pub use error::{Error, ParseError, Position};
pub use expr::{Expr, Kind};
pub use parse::{DEPTH_MAX, REGEXES_MAX, TEXT_BYTES_MAX, duration, parse, selector};
