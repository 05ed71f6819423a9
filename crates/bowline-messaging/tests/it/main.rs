//! The embedded provider: the port's suite, and crashes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod conformance;
mod crash;
