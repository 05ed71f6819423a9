//! Databases of a PostgreSQL server.

use std::{str::FromStr, time::Duration};

use anyhow::Context as _;
use sqlx::{
    AssertSqlSafe, PgPool, Postgres,
    migrate::MigrateDatabase as _,
    postgres::{PgArguments, PgConnectOptions, PgDatabaseError, PgPoolOptions},
    query::Query,
};

use crate::statement::{Args, ROWS, Statement, Value};

/// What connections say at their begin: how long a statement waits for another's lock, as SQLite's busy timeout, and
/// how long a transaction may rest, so that a process that stands still does not keep others from its rows for ever.
const SAID: [(&str, &str); 2] = [("lock_timeout", "5s"), ("idle_in_transaction_session_timeout", "30s")];

/// How many connections a process has at most.
const CONNECTIONS_MAX: u32 = 8;

/// How long a connection is waited for.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// There is no such database.
const NO_DATABASE: &str = "3D000";

/// Connects; makes the database where there is none.
pub(crate) async fn connect(url: &str) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)?.options(SAID);
    let connect = || {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(CONNECTED_WITHIN);
        pool.connect_with(options.clone())
    };
    match connect().await {
        Err(error) if has_code(&error, &[NO_DATABASE]) => create(url, &options).await?,
        connected_or_not => return Ok(connected_or_not?),
    }
    Ok(connect().await?)
}

/// Makes the database, where this user may.
async fn create(url: &str, options: &PgConnectOptions) -> anyhow::Result<()> {
    match Postgres::create_database(url).await {
        // Another replica was faster: it exists, or is being made by now.
        Err(error) if has_code(&error, &["42P04", "23505"]) => Ok(()),
        made_or_not => made_or_not.with_context(|| {
            let user = options.get_username();
            let name = options.get_database().unwrap_or(user);
            format!(
                "there is no database `{name}`, and `{user}` cannot make it: \
                 let who may do it, CREATE DATABASE \"{name}\" OWNER \"{user}\""
            )
        }),
    }
}

/// A statement with its arguments.
pub(crate) fn bound(statement: Statement) -> Query<'static, Postgres, PgArguments> {
    let Statement { sql, args, is_locking } = statement;
    match args {
        Args::Values(values) => {
            let bound = if is_locking {
                sqlx::query(AssertSqlSafe(format!("{sql} FOR NO KEY UPDATE")))
            } else {
                sqlx::query(sql)
            };
            values.into_iter().fold(bound, |bound, value| match value {
                Value::Text(text) => bound.bind(text),
                Value::Int(number) => bound.bind(number),
                Value::Real(number) => bound.bind(number),
                Value::Bytes(bytes) => bound.bind(bytes),
            })
        }
        Args::Rows(values, columns) => of_rows(sql, &values, columns),
    }
}

/// An array a column: however many rows there are, it is the same statement.
fn of_rows(sql: &str, values: &[Value], columns: usize) -> Query<'static, Postgres, PgArguments> {
    let arrays: Vec<String> = (1..=columns).map(|column| format!("${column}")).collect();
    let sql = sql.replacen(ROWS, &format!("SELECT * FROM UNNEST({})", arrays.join(", ")), 1);
    macro_rules! array {
        ($kind:ident, $column:expr) => {
            values[$column..].iter().step_by(columns).map(|value| match value {
                Value::$kind(value) => value.clone(),
                _ => panic!("a column has values of one kind"),
            })
        };
    }
    (0..columns).fold(sqlx::query(AssertSqlSafe(sql)), |bound, column| match &values[column] {
        Value::Text(_) => bound.bind(array!(Text, column).collect::<Vec<_>>()),
        Value::Int(_) => bound.bind(array!(Int, column).collect::<Vec<_>>()),
        Value::Real(_) => bound.bind(array!(Real, column).collect::<Vec<_>>()),
        Value::Bytes(_) => bound.bind(array!(Bytes, column).collect::<Vec<_>>()),
    })
}

/// Whether another connection was in the way: a serialisation failure, a deadlock, a lock that could not be had, the
/// database that new ones are made of.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    has_code(error, &["40001", "40P01", "55P03", "55006"])
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| codes.contains(&error.code()))
}

#[cfg(test)]
mod tests {
    use bowline::{Database, runtime::task};
    use bowline_testkit::postgresql::Server;
    use sqlx::migrate::Migrator;

    use crate::{Sql, opening::is_race};

    async fn opened(url: &str) -> anyhow::Result<Sql<sqlx::Postgres>> {
        Sql::open(Database::at(url), &Migrator::DEFAULT).await
    }

    #[tokio::test]
    async fn replicas_that_start_at_once_make_a_missing_database_once() {
        let Some(server) = Server::start() else { return };
        let url = server.url("the \"account\"");
        let opening = (0..8).map(|_| {
            let url = url.clone();
            task::spawn(async move { opened(&url).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            let opened = opened.await.unwrap().unwrap();
            let timeout: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(opened.pool()).await.unwrap();
            assert_eq!(timeout, "5s");
        }
    }

    #[tokio::test]
    async fn who_may_not_make_a_database_is_told_what_to_do() {
        let Some(server) = Server::start() else { return };
        let here = opened(&server.url("postgres")).await.unwrap();
        sqlx::query("CREATE ROLE clerk LOGIN").execute(here.pool()).await.unwrap();
        let error = opened(&server.url_of("clerk", "account")).await.unwrap_err();
        assert!(!is_race(&error), "{error:#}");
        assert!(format!("{error}").contains("CREATE DATABASE \"account\" OWNER \"clerk\""), "{error:#}");
    }
}
