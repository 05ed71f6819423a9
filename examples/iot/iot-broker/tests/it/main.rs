//! The broker from outside: with clients of both versions, byte by byte, and as a process that is killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod behaviours;
mod bounds;
mod client;
mod conformance;
mod durable;
mod process;
mod raw;
mod room;
mod version5;
