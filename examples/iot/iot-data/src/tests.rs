//! The service on a database of its own: by its rules, and over HTTP.

mod document;
mod http;
mod rules;

use bowline::{Database, runtime::metric::Registry};
use tempfile::TempDir;

use crate::{reading::Reading, repository::SqliteReadings, service::DataService};

/// Monday, 5 January 2026.
const NOW_MS: i64 = 1_767_571_200_000;

const MINUTE_MS: i64 = 60_000;

async fn data(dir: &TempDir) -> DataService<SqliteReadings> {
    let url = format!("sqlite://{}", dir.path().join("data.db").display());
    DataService::new(SqliteReadings::open(Database::at(&url)).await.unwrap(), &Registry::default())
}

fn reading(device: &str, sequence: i64, at_ms: i64, value: f64) -> Reading {
    Reading { device: device.to_owned(), sequence, at_ms, value }
}
