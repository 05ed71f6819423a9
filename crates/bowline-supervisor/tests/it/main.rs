//! The supervisor with real processes: shells, and the small programs of `examples/`.

#![expect(clippy::unwrap_used, reason = "a test fails by it, and helpers of tests are tests")]

mod builds;
mod companions;
mod crashes;
mod drains;
mod fixture;
mod health;
mod keeping;
mod registry;
mod releases;
mod retires;
mod starts;
mod versions;
