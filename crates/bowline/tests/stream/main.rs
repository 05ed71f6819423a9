//! Streams: each operator against a model on lists, with sources and consumers that stall at random.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod combining;
mod concurrency;
mod support;
mod timing;
mod windows;
