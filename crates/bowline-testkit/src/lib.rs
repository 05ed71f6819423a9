//! Fixtures for tests: free ports, temporary folders, polling for a condition, real servers, what is logged.

mod foreign;
mod http;
mod poll;

pub mod logs;
pub mod mosquitto;
pub mod nats;
pub mod postgresql;
pub mod proof;
pub mod redis;

use std::net::{Ipv4Addr, SocketAddr};

pub use http::{Answer, HttpServer, Request};
pub use poll::{eventually, eventually_blocking, eventually_some};
pub use tempfile::TempDir;

/// An empty folder that is removed with the value.
///
/// # Panics
/// When it cannot be made.
pub fn temp_dir() -> TempDir {
    tempfile::Builder::new().prefix("bowline-test-").tempdir().expect("the folder of temporary files can be written")
}

/// A loopback address where nobody listened a moment ago. Prefer port 0 where the server under
/// test can say which port it got.
///
/// # Panics
/// When no port is left.
pub fn free_addr() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("a listener has an address")
}

/// Makes this thread's randomness begin at a seed, which is printed for a failing test's sake: that
/// of the environment variable `BOWLINE_TEST_SEED`, else a new one.
pub fn seed() -> u64 {
    let given = std::env::var("BOWLINE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(bowline_runtime::rand::u64);
    bowline_runtime::rand::seed(seed);
    report_seed(seed);
    seed
}

#[expect(clippy::print_stdout, reason = "a test's output is its standard output")]
fn report_seed(seed: u64) {
    println!("BOWLINE_TEST_SEED={seed}");
}
