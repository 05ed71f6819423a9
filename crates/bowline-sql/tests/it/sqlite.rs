//! The suite on a database in a file.

use std::time::Duration;

use bowline_testkit::TempDir;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

type DB = sqlx::Sqlite;

struct Fixture(TempDir);

impl Fixture {
    async fn new() -> Option<Self> {
        let fixture = Self(bowline_testkit::temp_dir());
        bowline_sql::migrate(&fixture.pool().await).await.unwrap();
        Some(fixture)
    }

    /// Writes into `effects` whenever a saga's row is written.
    const NOTE_WRITES: [&str; 1] = ["CREATE TRIGGER written AFTER UPDATE ON bowline_sagas \
                                     BEGIN INSERT INTO effects VALUES ('written'); END"];

    /// Another replica.
    async fn pool(&self) -> sqlx::Pool<DB> {
        self.pool_of(SqlitePoolOptions::new().max_connections(2)).await
    }

    async fn pool_of(&self, pool: SqlitePoolOptions) -> sqlx::Pool<DB> {
        let options = SqliteConnectOptions::new()
            .filename(self.0.path().join("test.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(20));
        pool.connect_with(options).await.unwrap()
    }
}

#[path = "suite/mod.rs"]
mod suite;
