//! The embedded provider: the port's suite, a model, bounds and crashes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod conformance;
mod crash;
mod model;

use std::path::Path;

use bowline_runtime::metric;
use bowline_store::{Embedded, Settings};

/// Opens a store with the default bounds.
async fn open(path: &Path) -> Embedded {
    open_with(Settings::new(path)).await
}

async fn open_with(settings: Settings) -> Embedded {
    Embedded::open(settings, &metric::Registry::default()).await.unwrap()
}
