//! Configuration over the embedded store: the port's suite, and what the suite cannot reach.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod change;
mod faults;
mod suite;
mod support;
