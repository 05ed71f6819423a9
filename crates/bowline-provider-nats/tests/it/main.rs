//! The provider on NATS: the port's suite, and servers that die, against a real `nats-server`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod conformance;
mod groups;
mod restart;

use bowline_provider_nats::{Nats, Settings};
use bowline_runtime::metric;

async fn connect(url: &str) -> Nats {
    Nats::connect(Settings::new(url, metric::Registry::default())).await.unwrap()
}
