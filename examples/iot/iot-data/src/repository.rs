//! Where readings are kept.

use bowline::{
    Database,
    sql::{self, Tx},
};
use example_sql::Sqlite;
use sqlx::QueryBuilder;

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
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(crate) struct Arrived {
    pub(crate) number: i64,
    #[sqlx(flatten)]
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

    /// Keeps that analytics was told everything up to a number.
    fn told(&self, number: i64) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Forgets up to [`FORGOTTEN_MAX`] readings from before a moment; how many it were.
    fn forget_readings(&self, before_ms: i64) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Forgets up to [`FORGOTTEN_MAX`] rollups that began before a moment; how many it were.
    fn forget_rollups(&self, step: Step, before_ms: i64) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

/// Readings in SQLite.
#[derive(Debug, Clone)]
pub(crate) struct SqliteReadings(Sqlite);

impl SqliteReadings {
    /// Opens the database, made and migrated where need be.
    pub(crate) async fn open(database: Database) -> anyhow::Result<Self> {
        Sqlite::open(database, &sqlx::migrate!()).await.map(Self)
    }

    /// Takes so many numbers; the first of them. Whoever takes them has the only transaction that stores, until it
    /// ends: so what has the lower number is seen first.
    async fn take_numbers(&self, tx: &mut Tx<sqlx::Sqlite>, count: usize) -> Result<i64, sqlx::Error> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let update = "UPDATE marks SET number = number + $1 WHERE name = 'stored' RETURNING number";
        let update = sqlx::query_scalar(update).bind(count).fetch_one(&mut **tx);
        let last: i64 = self.0.query("UPDATE", "marks", update).await?;
        Ok(last - count + 1)
    }

    /// Inserts what is not there, and answers it.
    async fn insert(&self, tx: &mut Tx<sqlx::Sqlite>, readings: &ByName) -> Result<Vec<Reading>, sqlx::Error> {
        let first = self.take_numbers(tx, readings.len()).await?;
        let mut insert = QueryBuilder::new("INSERT INTO readings (device, sequence, at_ms, value, number) ");
        insert.push_values(readings.values().zip(first..), |mut row, (reading, number)| {
            row.push_bind(reading.device.clone()).push_bind(reading.sequence).push_bind(reading.at_ms);
            row.push_bind(reading.value).push_bind(number);
        });
        insert.push(" ON CONFLICT (device, sequence) DO NOTHING RETURNING device, sequence, at_ms, value");
        self.0.query("INSERT", "readings", insert.build_query_as().fetch_all(&mut **tx)).await
    }

    /// Those that are there under these names.
    async fn find(&self, tx: &mut Tx<sqlx::Sqlite>, names: Vec<(String, i64)>) -> Result<Vec<Reading>, sqlx::Error> {
        let select = "SELECT device, sequence, at_ms, value FROM readings WHERE (device, sequence) IN (";
        let mut select = QueryBuilder::new(select);
        select.push_values(names, |mut row, (device, sequence)| {
            row.push_bind(device).push_bind(sequence);
        });
        select.push(")");
        self.0.query("SELECT", "readings", select.build_query_as().fetch_all(&mut **tx)).await
    }

    async fn add(&self, tx: &mut Tx<sqlx::Sqlite>, rollups: Rollups) -> Result<(), sqlx::Error> {
        let mut insert =
            QueryBuilder::new("INSERT INTO rollups (device, step_ms, from_ms, count, total, lowest, highest) ");
        insert.push_values(rollups, |mut row, ((device, step, from_ms), rollup)| {
            row.push_bind(device).push_bind(step.ms()).push_bind(from_ms);
            row.push_bind(rollup.count).push_bind(rollup.total).push_bind(rollup.lowest).push_bind(rollup.highest);
        });
        insert.push(
            " ON CONFLICT (device, step_ms, from_ms) DO UPDATE SET
              count = rollups.count + excluded.count, total = rollups.total + excluded.total,
              lowest = CASE WHEN excluded.lowest < rollups.lowest THEN excluded.lowest ELSE rollups.lowest END,
              highest = CASE WHEN excluded.highest > rollups.highest THEN excluded.highest ELSE rollups.highest END",
        );
        self.0.query("INSERT", "rollups", insert.build().execute(&mut **tx)).await.map(drop)
    }
}

impl ReadingRepository for SqliteReadings {
    async fn store(&self, readings: &ByName) -> Result<Stored, sql::Error> {
        if readings.is_empty() {
            return Ok(Stored::default());
        }
        let mut tx = sql::begin(self.0.pool()).await?;
        let mut stored = Stored { fresh: self.insert(&mut tx, readings).await?, found: Vec::new() };
        if stored.fresh.len() < readings.len() {
            let fresh: std::collections::BTreeSet<_> = stored.fresh.iter().map(Reading::name).collect();
            let names = readings.keys().filter(|name| !fresh.contains(*name)).cloned().collect();
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
        let select = sqlx::query_as(select).bind(span.device).bind(span.from_ms).bind(span.to_ms).bind(span.limit);
        self.0.query("SELECT", "readings", select.fetch_all(self.0.pool())).await
    }

    async fn rollups(&self, step: Step, span: &Span<'_>) -> Result<Vec<Rollup>, sqlx::Error> {
        let select = "SELECT from_ms, count, total, lowest, highest FROM rollups
                      WHERE device = $1 AND step_ms = $2 AND from_ms >= $3 AND from_ms < $4
                      ORDER BY from_ms LIMIT $5";
        let select = sqlx::query_as(select).bind(span.device).bind(step.ms());
        let select = select.bind(span.from_ms).bind(span.to_ms).bind(span.limit);
        self.0.query("SELECT", "rollups", select.fetch_all(self.0.pool())).await
    }

    async fn untold(&self, limit: u32) -> Result<Vec<Arrived>, sqlx::Error> {
        let select = "SELECT number, device, sequence, at_ms, value FROM readings
                      WHERE number > (SELECT number FROM marks WHERE name = 'told') ORDER BY number LIMIT $1";
        let select = sqlx::query_as(select).bind(limit).fetch_all(self.0.pool());
        self.0.query("SELECT", "readings", select).await
    }

    async fn told(&self, number: i64) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE marks SET number = $1 WHERE name = 'told' AND number < $1");
        self.0.query("UPDATE", "marks", update.bind(number).execute(self.0.pool())).await.map(drop)
    }

    async fn forget_readings(&self, before_ms: i64) -> Result<u64, sqlx::Error> {
        let delete = "DELETE FROM readings WHERE number IN
                      (SELECT number FROM readings WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
        let delete = sqlx::query(delete).bind(before_ms).bind(FORGOTTEN_MAX).execute(self.0.pool());
        Ok(self.0.query("DELETE", "readings", delete).await?.rows_affected())
    }

    async fn forget_rollups(&self, step: Step, before_ms: i64) -> Result<u64, sqlx::Error> {
        let delete = "DELETE FROM rollups WHERE (device, step_ms, from_ms) IN
                      (SELECT device, step_ms, from_ms FROM rollups
                       WHERE step_ms = $1 AND from_ms < $2 ORDER BY from_ms LIMIT $3)";
        let delete = sqlx::query(delete).bind(step.ms()).bind(before_ms).bind(FORGOTTEN_MAX).execute(self.0.pool());
        Ok(self.0.query("DELETE", "rollups", delete).await?.rows_affected())
    }
}
