//! Files of SQLite.

use std::{str::FromStr, time::Duration};

use anyhow::Context as _;
use bowline::runtime::fs;
use sqlx::{
    AssertSqlSafe, Sqlite, SqlitePool,
    query::Query,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};

use crate::statement::{Args, ROWS, Statement, Value};

/// Connections of a process. A file has one writer: one connection queues in the order of arrival, several would poll.
const CONNECTIONS_MAX: u32 = 1;

/// Connects; makes the file where there is none.
pub(crate) async fn connect(url: &str) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    // SQLite itself would make a file that everybody may read; what it puts beside it is as the file is.
    let file = options.get_filename();
    let made = fs::private_options().append(true).create(true).open(file);
    drop(made.with_context(|| format!("cannot open the database {}", file.display()))?);
    Ok(SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?)
}

/// A statement with its arguments. Nothing is locked: the transaction itself is the lock.
pub(crate) fn bound(statement: Statement) -> Query<'static, Sqlite, SqliteArguments> {
    let Statement { sql, args, is_locking: _ } = statement;
    let (bound, values) = match args {
        Args::Values(values) => (sqlx::query(sql), values),
        Args::Rows(values, columns) => {
            // Nameless, as names are looked for from the first on, for each of them; and not kept, as there are many
            // of them.
            let row = format!("({}),", vec!["?"; columns].join(","));
            let rows = row.repeat(values.len() / columns);
            let sql = sql.replacen(ROWS, &format!("VALUES {}", rows.trim_end_matches(',')), 1);
            (sqlx::query(AssertSqlSafe(sql)).persistent(false), values)
        }
    };
    values.into_iter().fold(bound, |bound, value| match value {
        Value::Text(text) => bound.bind(text),
        Value::Int(number) => bound.bind(number),
        Value::Real(number) => bound.bind(number),
        Value::Bytes(bytes) => bound.bind(bytes),
    })
}

/// Whether another connection was in the way.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    let code = error.try_downcast_ref::<SqliteError>().and_then(|_| error.code()?.parse::<u32>().ok());
    // SQLITE_BUSY and SQLITE_LOCKED; the extended codes have them in their low byte.
    matches!(code.map(|code| code & 0xff), Some(5 | 6))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bowline::{Database, runtime::fs};
    use sqlx::migrate::Migrator;

    use crate::Sql;

    #[tokio::test]
    async fn a_new_database_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new.db");
        let migrations = Migrator::DEFAULT;
        let database = Database::at(&format!("sqlite://{}", file.display()));
        let opened = Sql::<sqlx::Sqlite>::open(database, &migrations).await.unwrap();
        sqlx::query("CREATE TABLE t (a TEXT)").execute(opened.pool()).await.unwrap();
        let mut seen = 0;
        for entry in fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
            seen += 1;
        }
        assert!(seen >= 2, "the database and its log");
    }
}
