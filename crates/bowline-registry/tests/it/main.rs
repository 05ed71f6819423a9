//! The registry over a real store, and discovery over a scripted and a real registry.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod discovery;
mod fake;
mod store;
