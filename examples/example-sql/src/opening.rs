//! Opening a database that other replicas may be opening, too.

use std::time::Duration;

use bowline::runtime::time;
use sqlx::{
    Pool,
    migrate::{MigrateError, Migrator},
};

use crate::{Db, postgres, sqlite};

/// How many times opening is tried while another replica prepares the database.
const ATTEMPTS_MAX: u32 = 20;

pub(crate) async fn open<DB: Db>(url: &str, migrations: &Migrator) -> anyhow::Result<Pool<DB>> {
    let mut attempt = 1;
    loop {
        match try_open(url, migrations).await {
            Err(error) if is_race(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
            opened_or_not => return opened_or_not,
        }
        time::sleep(Duration::from_millis(50)).await;
    }
}

async fn try_open<DB: Db>(url: &str, migrations: &Migrator) -> anyhow::Result<Pool<DB>> {
    let pool = DB::connect(url).await?;
    let mut connection = pool.acquire().await?;
    migrations.run_direct(None, &mut *connection, false).await?;
    drop(connection);
    Ok(pool)
}

/// Whether another replica was at the database, so that opening it again goes better.
pub(crate) fn is_race(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        // The other made the same tables meanwhile: the next look finds the migration applied.
        Some(MigrateError::ExecuteMigration(..)) => true,
        Some(MigrateError::Execute(sqlx::Error::Database(error))) if error.is_unique_violation() => true,
        Some(MigrateError::Execute(error)) => is_busy(error),
        _ => error.downcast_ref().is_some_and(is_busy),
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    postgres::is_busy(error) || sqlite::is_busy(error)
}
