//! The tables, made once for all replicas.

use std::time::Duration;

use bowline_runtime::time;
use sqlx::Pool;

use crate::{
    Error,
    db::{Db, Kind, Query, Tx, begin},
};

/// The format of the tables that this release knows.
const FORMAT: i64 = 1;

/// What was added to the tables of that format, in this order, and releases before do not mind. How many of them are
/// there is kept; more come behind the last one.
const ADDITIONS: [&str; 2] = [
    "CREATE INDEX bowline_sagas_begun ON bowline_sagas (begun_ms, id)",
    "CREATE INDEX bowline_sagas_stuck ON bowline_sagas (begun_ms, id) WHERE is_stuck = 1",
];

/// How often it is tried while another replica prepares the same file.
const ATTEMPTS_MAX: u32 = 40;

/// Makes the tables of outbox, inbox and sagas where they are not there. Replicas may start at once.
///
/// # Errors
/// [`Error::Format`] where a later release made them.
///
/// # Cancel safety
/// What was begun is rolled back.
pub async fn migrate<DB: Db>(pool: &Pool<DB>) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        match try_migrate(pool).await {
            Err(Error::Sql(error)) if DB::is_busy(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
            done_or_not => return done_or_not,
        }
        time::sleep(Duration::from_millis(50)).await;
    }
}

async fn try_migrate<DB: Db>(pool: &Pool<DB>) -> Result<(), Error> {
    let mut tx = begin(pool).await?;
    if let Some(lock) = DB::LOCK {
        DB::fetch(&mut tx, Query::new(lock)).await?;
    }
    DB::run(&mut tx, Query::new("CREATE TABLE IF NOT EXISTS bowline_format (format BIGINT NOT NULL)")).await?;
    let rows = DB::fetch(&mut tx, Query::new("SELECT format FROM bowline_format").answers(&[Kind::Int])).await?;
    match rows.into_iter().next().map(|mut row| row.int()) {
        Some(found) if found > FORMAT => return Err(Error::Format { found, known: FORMAT }),
        Some(_) => {}
        None => {
            for table in tables::<DB>() {
                DB::run(&mut tx, Query::made(table)).await?;
            }
            DB::run(&mut tx, Query::new("INSERT INTO bowline_format (format) VALUES ($1)").int(FORMAT)).await?;
        }
    }
    add::<DB>(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn add<DB: Db>(tx: &mut Tx<DB>) -> Result<(), Error> {
    DB::run(tx, Query::new("CREATE TABLE IF NOT EXISTS bowline_additions (number BIGINT NOT NULL)")).await?;
    let count = Query::new("SELECT COUNT(*) FROM bowline_additions").answers(&[Kind::Int]);
    let there = DB::fetch(tx, count).await?.into_iter().next().map_or(0, |mut row| row.int());
    for (number, addition) in (0..).zip(ADDITIONS).filter(|(number, _)| *number >= there) {
        DB::run(tx, Query::new(addition)).await?;
        DB::run(tx, Query::new("INSERT INTO bowline_additions (number) VALUES ($1)").int(number)).await?;
    }
    Ok(())
}

fn tables<DB: Db>() -> Vec<String> {
    let (sequence, bytes) = (DB::SEQUENCE, DB::BYTES);
    vec![
        format!(
            "CREATE TABLE bowline_outbox (seq {sequence}, id TEXT NOT NULL, topic TEXT NOT NULL, ordering_key TEXT, \
             headers TEXT NOT NULL, payload {bytes} NOT NULL, created_ms BIGINT NOT NULL, due_ms BIGINT NOT NULL, \
             expires_ms BIGINT, set_aside_ms BIGINT, failure TEXT)"
        ),
        "CREATE INDEX bowline_outbox_waiting ON bowline_outbox (seq) WHERE set_aside_ms IS NULL".to_owned(),
        "CREATE TABLE bowline_inbox (consumers TEXT NOT NULL, id TEXT NOT NULL, processed_ms BIGINT NOT NULL, \
         PRIMARY KEY (consumers, id))"
            .to_owned(),
        "CREATE INDEX bowline_inbox_processed ON bowline_inbox (processed_ms)".to_owned(),
        "CREATE TABLE bowline_leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until_ms BIGINT NOT NULL)".to_owned(),
        // What may be long comes last: SQLite reads a row up to the last column that is asked for.
        "CREATE TABLE bowline_sagas (id TEXT PRIMARY KEY, name TEXT NOT NULL, phase TEXT NOT NULL, step TEXT, \
         since_ms BIGINT NOT NULL, attempts BIGINT NOT NULL, due_ms BIGINT NOT NULL, is_unsure BIGINT NOT NULL, \
         is_stuck BIGINT NOT NULL, deadline_ms BIGINT NOT NULL, reason TEXT, traceparent TEXT, owner TEXT, \
         lease_ms BIGINT NOT NULL, version BIGINT NOT NULL, begun_ms BIGINT NOT NULL, ended_ms BIGINT, \
         history TEXT NOT NULL, data TEXT NOT NULL)"
            .to_owned(),
        "CREATE INDEX bowline_sagas_due ON bowline_sagas (due_ms) WHERE ended_ms IS NULL".to_owned(),
        "CREATE INDEX bowline_sagas_ended ON bowline_sagas (ended_ms) WHERE ended_ms IS NOT NULL".to_owned(),
    ]
}
