//! The client's side of the API against scripted servers; against a real one it is in `bowline-server`.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod client;
mod config;
mod messages;
mod registry;
mod reporter;
mod watch;

use std::time::Duration;

/// Longer than anything here takes; a test that needs it has failed.
const BOUND: Duration = Duration::from_secs(20);
