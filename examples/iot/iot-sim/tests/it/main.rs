//! Devices against a real broker, and a small system behind it that keeps what it is told to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod runs;
mod system;
