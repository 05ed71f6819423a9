//! Where readings are kept.

use std::collections::BTreeSet;

use bowline::sql::{self, Tx};
use example_sql::{Db, Row, Sql, Statement};

use crate::{
    reading::{ByName, Reading},
    rollup::{self, Rollup, Rollups, Step},
};

/// The most rows that are forgotten in one statement, so that nobody waits for long.
pub(crate) const FORGOTTEN_MAX: u32 = 1000;

/// What became of readings that were to be stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Stored {
    /// Those that are stored now.
    pub(crate) fresh: Vec<Reading>,
    /// Those that were there, under the names of the others.
    pub(crate) found: Vec<Reading>,
}

/// A reading with its place in the order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrived {
    pub(crate) number: i64,
    pub(crate) reading: Reading,
}

/// A device's part of time: from one moment, included, to another, excluded.
#[derive(Debug, Clone)]
pub(crate) struct Span<'a> {
    pub(crate) device: &'a str,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    /// At most so many are answered.
    pub(crate) limit: u32,
}

/// What the service needs of its store.
pub(crate) trait ReadingRepository: Send + Sync {
    /// Stores readings, each once, and adds them to their rollups, in one transaction: when this returns they are
    /// durable.
    fn store(&self, readings: &ByName) -> impl Future<Output = Result<Stored, sql::Error>> + Send;

    /// The readings of a span, by their times.
    fn readings(&self, span: &Span<'_>) -> impl Future<Output = Result<Vec<Reading>, sqlx::Error>> + Send;

    /// The rollups that begin in a span, by their times.
    fn rollups(&self, step: Step, span: &Span<'_>) -> impl Future<Output = Result<Vec<Rollup>, sqlx::Error>> + Send;

    /// The first so many readings that analytics was not told, in the order of their arrival.
    fn untold(&self, limit: u32) -> impl Future<Output = Result<Vec<Arrived>, sqlx::Error>> + Send;

    /// How many there are of those, at most: numbers that were taken for readings that came twice count, too.
    fn untold_count(&self) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;

    /// Keeps that analytics was told everything up to a number.
    fn told(&self, number: i64) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Forgets up to [`FORGOTTEN_MAX`] readings from before a moment, of those that analytics was told, or of the others;
    /// how many it were.
    fn forget_readings(&self, is_told: bool, before_ms: i64) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Forgets up to [`FORGOTTEN_MAX`] rollups that began before a moment; how many it were.
    fn forget_rollups(&self, step: Step, before_ms: i64) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

/// Readings in a database, shared by the replicas.
#[derive(Debug)]
pub(crate) struct SqlReadings<DB: Db>(pub(crate) Sql<DB>);

impl<DB: Db> SqlReadings<DB> {
    /// Takes so many numbers; the first of them. Whoever takes them has the only transaction that stores, until it
    /// ends: so what has the lower number is seen first.
    async fn take_numbers(&self, tx: &mut Tx<DB>, count: usize) -> Result<i64, sqlx::Error> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let update = "UPDATE marks SET number = number + $1 WHERE name = 'stored' RETURNING number";
        let row = self.0.row(tx, "marks", Statement::new(update).bind(count)).await?;
        Ok(row.ok_or(sqlx::Error::RowNotFound)?.int("number")? - count + 1)
    }

    /// Inserts what is not there, and answers it.
    async fn insert(&self, tx: &mut Tx<DB>, readings: &ByName) -> Result<Vec<Reading>, sqlx::Error> {
        let first = self.take_numbers(tx, readings.len()).await?;
        let insert = "INSERT INTO readings (device, sequence, at_ms, value, number) {rows}
                      ON CONFLICT (device, sequence) DO NOTHING RETURNING device, sequence, at_ms, value";
        let rows = readings.values().zip(first..).map(|(reading, number)| {
            let Reading { device, sequence, at_ms, value } = reading;
            [device.into(), (*sequence).into(), (*at_ms).into(), (*value).into(), number.into()]
        });
        self.0.rows(tx, "readings", Statement::of_rows(insert, rows)).await?.iter().map(reading).collect()
    }

    /// Those that are there under these names.
    async fn find(&self, tx: &mut Tx<DB>, names: Vec<&(String, i64)>) -> Result<Vec<Reading>, sqlx::Error> {
        let select = "SELECT device, sequence, at_ms, value FROM readings WHERE (device, sequence) IN ({rows})";
        let rows = names.into_iter().map(|(device, sequence)| [device.into(), (*sequence).into()]);
        self.0.rows(tx, "readings", Statement::of_rows(select, rows)).await?.iter().map(reading).collect()
    }

    async fn add(&self, tx: &mut Tx<DB>, rollups: Rollups) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO rollups (device, step_ms, from_ms, count, total, lowest, highest) {rows}
             ON CONFLICT (device, step_ms, from_ms) DO UPDATE SET
             count = rollups.count + excluded.count, total = rollups.total + excluded.total,
             lowest = CASE WHEN excluded.lowest < rollups.lowest THEN excluded.lowest ELSE rollups.lowest END,
             highest = CASE WHEN excluded.highest > rollups.highest THEN excluded.highest ELSE rollups.highest END";
        let rows = rollups.into_iter().map(|((device, step, _), rollup)| {
            let Rollup { from_ms, count, total, lowest, highest } = rollup;
            let (from, count) = (from_ms.into(), count.into());
            [device.into(), step.ms().into(), from, count, total.into(), lowest.into(), highest.into()]
        });
        self.0.execute(tx, "rollups", Statement::of_rows(insert, rows)).await.map(drop)
    }

    /// The rows that a statement selects.
    async fn select(&self, table: &'static str, select: Statement) -> Result<Vec<Row<DB>>, sqlx::Error> {
        self.0.rows(&mut *self.0.read().await?, table, select).await
    }

    /// Changes a table by one statement; how many rows it touched.
    async fn change(&self, table: &'static str, change: Statement) -> Result<u64, sqlx::Error> {
        self.0.execute(&mut *self.0.read().await?, table, change).await
    }
}

impl<DB: Db> ReadingRepository for SqlReadings<DB> {
    async fn store(&self, readings: &ByName) -> Result<Stored, sql::Error> {
        if readings.is_empty() {
            return Ok(Stored::default());
        }
        let mut tx = self.0.begin().await?;
        let mut stored = Stored { fresh: self.insert(&mut tx, readings).await?, found: Vec::new() };
        if stored.fresh.len() < readings.len() {
            let fresh: BTreeSet<_> = stored.fresh.iter().map(Reading::name).collect();
            let names = readings.keys().filter(|name| !fresh.contains(*name)).collect();
            stored.found = self.find(&mut tx, names).await?;
        }
        if !stored.fresh.is_empty() {
            self.add(&mut tx, rollup::of(&stored.fresh)).await?;
        }
        tx.commit().await?;
        Ok(stored)
    }

    async fn readings(&self, span: &Span<'_>) -> Result<Vec<Reading>, sqlx::Error> {
        let select = "SELECT device, sequence, at_ms, value FROM readings
                      WHERE device = $1 AND at_ms >= $2 AND at_ms < $3 ORDER BY at_ms, sequence LIMIT $4";
        let select = Statement::new(select).bind(span.device).bind(span.from_ms).bind(span.to_ms);
        let rows = self.select("readings", select.bind(i64::from(span.limit))).await?;
        rows.iter().map(reading).collect()
    }

    async fn rollups(&self, step: Step, span: &Span<'_>) -> Result<Vec<Rollup>, sqlx::Error> {
        let select = "SELECT from_ms, count, total, lowest, highest FROM rollups
                      WHERE device = $1 AND step_ms = $2 AND from_ms >= $3 AND from_ms < $4
                      ORDER BY from_ms LIMIT $5";
        let select = Statement::new(select).bind(span.device).bind(step.ms()).bind(span.from_ms).bind(span.to_ms);
        let rows = self.select("rollups", select.bind(i64::from(span.limit))).await?;
        rows.iter().map(rolled).collect()
    }

    async fn untold(&self, limit: u32) -> Result<Vec<Arrived>, sqlx::Error> {
        let select = "SELECT number, device, sequence, at_ms, value FROM readings
                      WHERE number > (SELECT number FROM marks WHERE name = 'told') ORDER BY number LIMIT $1";
        let rows = self.select("readings", Statement::new(select).bind(i64::from(limit))).await?;
        rows.iter().map(|row| Ok(Arrived { number: row.int("number")?, reading: reading(row)? })).collect()
    }

    async fn untold_count(&self) -> Result<i64, sqlx::Error> {
        let select = "SELECT stored.number - told.number AS number FROM marks AS stored, marks AS told
                      WHERE stored.name = 'stored' AND told.name = 'told'";
        let rows = self.select("marks", Statement::new(select)).await?;
        rows.first().ok_or(sqlx::Error::RowNotFound)?.int("number")
    }

    async fn told(&self, number: i64) -> Result<(), sqlx::Error> {
        let update = "UPDATE marks SET number = $1 WHERE name = 'told' AND number < $1";
        self.change("marks", Statement::new(update).bind(number)).await.map(drop)
    }

    async fn forget_readings(&self, is_told: bool, before_ms: i64) -> Result<u64, sqlx::Error> {
        let told = "DELETE FROM readings WHERE number IN
                    (SELECT number FROM readings
                     WHERE at_ms < $1 AND number <= (SELECT number FROM marks WHERE name = 'told')
                     ORDER BY at_ms LIMIT $2)";
        let untold = "DELETE FROM readings WHERE number IN
                      (SELECT number FROM readings
                       WHERE at_ms < $1 AND number > (SELECT number FROM marks WHERE name = 'told')
                       ORDER BY at_ms LIMIT $2)";
        let delete = if is_told { told } else { untold };
        self.change("readings", Statement::new(delete).bind(before_ms).bind(i64::from(FORGOTTEN_MAX))).await
    }

    async fn forget_rollups(&self, step: Step, before_ms: i64) -> Result<u64, sqlx::Error> {
        let delete = "DELETE FROM rollups WHERE (device, step_ms, from_ms) IN
                      (SELECT device, step_ms, from_ms FROM rollups
                       WHERE step_ms = $1 AND from_ms < $2 ORDER BY from_ms LIMIT $3)";
        let delete = Statement::new(delete).bind(step.ms()).bind(before_ms).bind(i64::from(FORGOTTEN_MAX));
        self.change("rollups", delete).await
    }
}

/// Reads a row.
fn reading<DB: Db>(row: &Row<DB>) -> Result<Reading, sqlx::Error> {
    let (device, sequence) = (row.text("device")?, row.int("sequence")?);
    Ok(Reading { device, sequence, at_ms: row.int("at_ms")?, value: row.real("value")? })
}

/// Reads a row.
fn rolled<DB: Db>(row: &Row<DB>) -> Result<Rollup, sqlx::Error> {
    Ok(Rollup {
        from_ms: row.int("from_ms")?,
        count: row.int("count")?,
        total: row.real("total")?,
        lowest: row.real("lowest")?,
        highest: row.real("highest")?,
    })
}
