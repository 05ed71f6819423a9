//! Outbox, inbox and sagas on SQLite and on a real PostgreSQL: the same suite on both, with replicas, crashes, a
//! message bus that refuses, and services that fail.
#![expect(clippy::unwrap_used, reason = "what fails here is the report of a failed test")]

mod bus;
mod postgresql;
mod remote;
mod sqlite;

use std::time::Duration;

use bowline_runtime::time;

/// Waits until that holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = time::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(time::now() < until, "it did not come about that {what}");
        // tidy: sleep: between two looks at a database
        time::sleep(Duration::from_millis(10)).await;
    }
}
