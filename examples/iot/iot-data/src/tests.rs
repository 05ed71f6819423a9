//! The service on a database of its own: by its rules, and over HTTP.

mod http;
mod rules;

use bowline::runtime::metric::Registry;
use example_sql::{Db, testing::Fixture};

use crate::{reading::Reading, repository::SqlReadings, service::DataService};

/// Monday, 5 January 2026.
const NOW_MS: i64 = 1_767_571_200_000;

const MINUTE_MS: i64 = 60_000;

/// Another replica.
async fn data<DB: Db>(fixture: &Fixture<DB>) -> DataService<SqlReadings<DB>> {
    DataService::new(SqlReadings(fixture.open(&sqlx::migrate!()).await), &Registry::default())
}

fn reading(device: &str, sequence: i64, at_ms: i64, value: f64) -> Reading {
    Reading { device: device.to_owned(), sequence, at_ms, value }
}
