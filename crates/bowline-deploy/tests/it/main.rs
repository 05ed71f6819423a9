//! Rollouts as a whole, under virtual time: over a store that fails when it is told to, and ports that do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod begin;
mod crash;
mod faults;
mod orders;
mod splits;
mod strategies;
mod support;
