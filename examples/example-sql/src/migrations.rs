//! The migrations of a service whose databases do not read the same.

use bowline::Database;
use sqlx::migrate::Migrator;

use crate::{Db, Opened, open};

/// What makes a service's tables, for each database in its own words. They are to be the same tables.
#[derive(Debug)]
pub struct Migrations {
    /// For files of SQLite.
    pub sqlite: Migrator,
    /// For databases of a PostgreSQL server.
    pub postgres: Migrator,
}

impl Migrations {
    /// Opens a database as [`open`] does, by the migrations for its kind.
    ///
    /// # Errors
    /// As [`open`].
    ///
    /// # Cancel safety
    /// As [`open`].
    pub async fn open(&self, database: Database) -> anyhow::Result<Opened> {
        let is_sqlite = database.url().starts_with("sqlite:");
        open(database, if is_sqlite { &self.sqlite } else { &self.postgres }).await
    }

    /// Those for a database.
    pub fn of<DB: Db>(&self) -> &Migrator {
        if DB::NAME == <sqlx::Sqlite as sqlx::Database>::NAME { &self.sqlite } else { &self.postgres }
    }
}
