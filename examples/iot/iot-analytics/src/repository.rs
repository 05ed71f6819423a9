//! Where devices, their journal and their anomalies are kept, in SQLite or PostgreSQL: one body for both.

use bowline::{
    Code, HandlerError,
    sql::{self, Inbox, Tx},
};
use example_sql::{Db, Row, Sql, Statement, Value};
use iot_detect::{Kind, Season};

use crate::{
    anomaly::{Anomaly, Asked, Noted, Severity, parse_kind},
    fleet::{Entry, KeptState, Name, What, Work},
    rules::Terms,
};

/// The most anomalies that are forgotten at once.
pub(crate) const FORGOTTEN_MAX: i64 = 1000;

/// Where device tells of those that it removed.
pub(crate) const REMOVED_TOPIC: &str = "device.removed";

/// Who notes messages.
const GROUP: &str = "analytics";

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the database failed")]
    Database(#[from] sql::Error),
    #[error("another process judges these devices, too: let there be one instance of this service")]
    Overtaken,
    #[error("the database holds what cannot be: {0}")]
    Unknown(&'static str),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Error> for HandlerError {
    fn from(error: Error) -> Self {
        match error {
            Error::Overtaken => Self::new(Code::Unavailable, error.to_string()),
            Error::Database(error) => error.into(),
            Error::Unknown(_) => Self::internal(error),
        }
    }
}

/// A device as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeptDevice {
    pub(crate) name: Name,
    pub(crate) terms: Terms,
    pub(crate) state: Option<String>,
}

/// What the service needs of its store.
pub(crate) trait AnalyticsRepository: Send + Sync + 'static {
    /// The last number that was given: what is read after this is right if the next [`Self::keep`] from it is.
    fn number(&self) -> impl Future<Output = Result<i64, Error>> + Send;

    /// Up to so many devices, in the order of their names, after one.
    fn devices(&self, after: &str, limit: i64) -> impl Future<Output = Result<Vec<KeptDevice>, Error>> + Send;

    /// Up to so many rows of the journal after a number, with their numbers.
    fn journal(&self, after: i64, limit: i64) -> impl Future<Output = Result<Vec<(i64, Entry)>, Error>> + Send;

    /// The episodes that last.
    fn open(&self) -> impl Future<Output = Result<Vec<(Name, Kind)>, Error>> + Send;

    /// Keeps all that a batch did, if the last number is still that one; the last number then. When this returns it is
    /// durable; where it fails it may be.
    fn keep(&self, number: i64, work: &Work, noted: &[Noted]) -> impl Future<Output = Result<i64, Error>> + Send;

    /// Forgets a device, ends what was open of it, and notes the message that says so, if the last number is still that
    /// one; the last number then. None where the message was noted before.
    fn remove(
        &self,
        number: i64,
        message_id: &str,
        device: &Name,
        at_ms: i64,
    ) -> impl Future<Output = Result<Option<i64>, Error>> + Send;

    /// Anomalies, by their ids.
    fn anomalies(&self, asked: &Asked, limit: i64) -> impl Future<Output = Result<Vec<Anomaly>, Error>> + Send;

    /// Forgets up to [`FORGOTTEN_MAX`] anomalies that were over before that; how many it were.
    fn forget(&self, before_ms: i64) -> impl Future<Output = Result<u64, Error>> + Send;
}

/// All of it in a database.
#[derive(Debug)]
pub(crate) struct SqlAnalytics<DB: Db> {
    sql: Sql<DB>,
    inbox: Inbox,
}

impl<DB: Db> SqlAnalytics<DB> {
    /// With the tables of messages.
    pub(crate) fn new(sql: Sql<DB>) -> Self {
        Self { sql, inbox: Inbox::default() }
    }

    /// Moves the last number on from where it was read.
    async fn mark(&self, tx: &mut Tx<DB>, number: i64, next: i64) -> Result<(), Error> {
        let update = Statement::new("UPDATE marks SET number = $2 WHERE number = $1").bind(number).bind(next);
        let moved = self.sql.execute(tx, "marks", update).await?;
        if moved == 1 { Ok(()) } else { Err(Error::Overtaken) }
    }

    async fn rows(&self, table: &'static str, select: Statement) -> Result<Vec<Row<DB>>, Error> {
        Ok(self.sql.rows(&mut *self.sql.read().await?, table, select).await?)
    }

    async fn add_devices(&self, tx: &mut Tx<DB>, new: &[(Name, Terms)]) -> Result<(), Error> {
        if new.is_empty() {
            return Ok(());
        }
        let rows = new.iter().map(|(name, Terms { season, lateness_ms })| {
            [Value::from(&**name), self::season(*season).into(), (*lateness_ms).into()]
        });
        let insert = Statement::of_rows("INSERT INTO devices (device, season, lateness_ms) {rows}", rows);
        self.sql.execute(tx, "devices", insert).await?;
        Ok(())
    }

    async fn add_entries(&self, tx: &mut Tx<DB>, first: i64, entries: &[Entry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let rows = (first..).zip(entries).map(|(number, Entry { device, what })| {
            let (sequence, at_ms, value) = match *what {
                What::Reading((at_ms, sequence), value) => (Some(sequence), at_ms, Some(value)),
                What::Tick(at_ms) => (None, at_ms, None),
            };
            [Value::from(number), (&**device).into(), sequence.into(), at_ms.into(), value.into()]
        });
        let insert = Statement::of_rows("INSERT INTO journal (number, device, sequence, at_ms, value) {rows}", rows);
        self.sql.execute(tx, "journal", insert).await?;
        Ok(())
    }

    async fn write(&self, tx: &mut Tx<DB>, kept: &KeptState) -> Result<(), Error> {
        let KeptState { device, terms, state, released } = kept;
        let update = "UPDATE devices SET season = $2, lateness_ms = $3, state = $4 WHERE device = $1";
        let update = Statement::new(update).bind(&**device).bind(season(terms.season)).bind(terms.lateness_ms);
        self.sql.execute(tx, "devices", update.bind(state)).await?;
        // What still waits is not in the state: it stays.
        let (at_ms, sequence) = released.unwrap_or((i64::MIN, 0));
        let delete = "DELETE FROM journal WHERE device = $1
                      AND (sequence IS NULL OR at_ms < $2 OR (at_ms = $2 AND sequence <= $3))";
        let delete = Statement::new(delete).bind(&**device).bind(at_ms).bind(sequence);
        self.sql.execute(tx, "journal", delete).await?;
        Ok(())
    }

    async fn add_anomaly(&self, tx: &mut Tx<DB>, id: i64, anomaly: &Anomaly) -> Result<(), Error> {
        let Anomaly { id: _, device, kind, began_ms, ended_ms, value, expected, score, severity, by } = anomaly;
        let insert = "INSERT INTO anomalies
                          (id, device, kind, began_ms, ended_ms, value, expected, score, severity, scored_by)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let insert = Statement::new(insert).bind(id).bind(device).bind(kind.name()).bind(*began_ms).bind(*ended_ms);
        let insert = insert.bind(*value).bind(*expected).bind(*score).bind(severity.as_str()).bind(by);
        self.sql.execute(tx, "anomalies", insert).await?;
        Ok(())
    }

    async fn end_anomaly(&self, tx: &mut Tx<DB>, device: &str, kind: Kind, at_ms: i64) -> Result<(), Error> {
        // Readings that come after a dropout was told may be of before it: it ends when it began.
        let update = "UPDATE anomalies SET ended_ms = CASE WHEN began_ms > $3 THEN began_ms ELSE $3 END
                      WHERE device = $1 AND kind = $2 AND ended_ms IS NULL";
        let update = Statement::new(update).bind(device).bind(kind.name()).bind(at_ms);
        self.sql.execute(tx, "anomalies", update).await?;
        Ok(())
    }
}

impl<DB: Db> AnalyticsRepository for SqlAnalytics<DB> {
    async fn number(&self) -> Result<i64, Error> {
        let rows = self.rows("marks", Statement::new("SELECT number FROM marks")).await?;
        Ok(rows.first().ok_or(Error::Unknown("no mark"))?.int("number")?)
    }

    async fn devices(&self, after: &str, limit: i64) -> Result<Vec<KeptDevice>, Error> {
        let select = "SELECT device, season, lateness_ms, state FROM devices
                      WHERE device > $1 ORDER BY device LIMIT $2";
        let rows = self.rows("devices", Statement::new(select).bind(after).bind(limit)).await?;
        let device = |row: &Row<DB>| {
            let season = parse_season(&row.text("season")?).ok_or(Error::Unknown("a season"))?;
            let terms = Terms { season, lateness_ms: row.int("lateness_ms")? };
            Ok(KeptDevice { name: row.text("device")?.into(), terms, state: row.maybe_text("state")? })
        };
        rows.iter().map(device).collect()
    }

    async fn journal(&self, after: i64, limit: i64) -> Result<Vec<(i64, Entry)>, Error> {
        let select = "SELECT number, device, sequence, at_ms, value FROM journal
                      WHERE number > $1 ORDER BY number LIMIT $2";
        let rows = self.rows("journal", Statement::new(select).bind(after).bind(limit)).await?;
        let entry = |row: &Row<DB>| {
            let (at_ms, device) = (row.int("at_ms")?, Name::from(row.text("device")?));
            let what = match row.maybe_int("sequence")? {
                Some(sequence) => What::Reading((at_ms, sequence), row.real("value")?),
                None => What::Tick(at_ms),
            };
            Ok((row.int("number")?, Entry { device, what }))
        };
        rows.iter().map(entry).collect()
    }

    async fn open(&self) -> Result<Vec<(Name, Kind)>, Error> {
        let select = "SELECT device, kind FROM anomalies WHERE ended_ms IS NULL ORDER BY id";
        let rows = self.rows("anomalies", Statement::new(select)).await?;
        rows.iter().map(|row| Ok((row.text("device")?.into(), kind(row)?))).collect()
    }

    async fn keep(&self, number: i64, work: &Work, noted: &[Noted]) -> Result<i64, Error> {
        let began = noted.iter().filter(|noted| matches!(noted, Noted::Began(_))).count();
        // Also where nothing needs a number: so that two who write at once are told.
        let count = i64::try_from(work.journal.len() + began).unwrap_or(i64::MAX).max(1);
        let mut tx = self.sql.begin().await?;
        self.mark(&mut tx, number, number + count).await?;
        self.add_devices(&mut tx, &work.new).await?;
        self.add_entries(&mut tx, number + 1, &work.journal).await?;
        let mut ids = number + 1 + i64::try_from(work.journal.len()).unwrap_or(i64::MAX)..;
        for kept in &work.states {
            self.write(&mut tx, kept).await?;
        }
        for noted in noted {
            match noted {
                Noted::Began(anomaly) => {
                    let id = ids.next().unwrap_or(i64::MAX);
                    self.add_anomaly(&mut tx, id, anomaly).await?;
                }
                Noted::Ended { device, kind, at_ms } => self.end_anomaly(&mut tx, device, *kind, *at_ms).await?,
            }
        }
        tx.commit().await?;
        Ok(number + count)
    }

    async fn remove(&self, number: i64, message_id: &str, device: &Name, at_ms: i64) -> Result<Option<i64>, Error> {
        let mut tx = self.sql.begin().await?;
        // Ids are unique within a topic.
        if !self.inbox.once(&mut tx, GROUP, &format!("{REMOVED_TOPIC}/{message_id}")).await? {
            return Ok(None);
        }
        self.mark(&mut tx, number, number + 1).await?;
        for kind in Kind::ALL {
            self.end_anomaly(&mut tx, device, kind, at_ms).await?;
        }
        for (table, delete) in
            [("journal", "DELETE FROM journal WHERE device = $1"), ("devices", "DELETE FROM devices WHERE device = $1")]
        {
            self.sql.execute(&mut tx, table, Statement::new(delete).bind(&**device)).await?;
        }
        tx.commit().await?;
        Ok(Some(number + 1))
    }

    async fn anomalies(&self, asked: &Asked, limit: i64) -> Result<Vec<Anomaly>, Error> {
        let select = if asked.device.is_some() {
            "SELECT id, device, kind, began_ms, ended_ms, value, expected, score, severity, scored_by
             FROM anomalies WHERE id > $1 AND device = $4
             AND ($2 = 0 OR ($2 = 1 AND ended_ms IS NULL) OR ($2 = 2 AND ended_ms IS NOT NULL))
             ORDER BY id LIMIT $3"
        } else {
            "SELECT id, device, kind, began_ms, ended_ms, value, expected, score, severity, scored_by
             FROM anomalies WHERE id > $1
             AND ($2 = 0 OR ($2 = 1 AND ended_ms IS NULL) OR ($2 = 2 AND ended_ms IS NOT NULL))
             ORDER BY id LIMIT $3"
        };
        let open = asked.open.map_or(0, |is_open| if is_open { 1_i64 } else { 2 });
        let select = Statement::new(select).bind(asked.after.unwrap_or(0)).bind(open).bind(limit);
        let select = asked.device.as_deref().into_iter().fold(select, Statement::bind);
        self.rows("anomalies", select).await?.iter().map(anomaly).collect()
    }

    async fn forget(&self, before_ms: i64) -> Result<u64, Error> {
        let delete = "DELETE FROM anomalies WHERE id IN
                      (SELECT id FROM anomalies WHERE ended_ms < $1 ORDER BY ended_ms LIMIT $2)";
        let delete = Statement::new(delete).bind(before_ms).bind(FORGOTTEN_MAX);
        Ok(self.sql.execute(&mut *self.sql.read().await?, "anomalies", delete).await?)
    }
}

fn anomaly<DB: Db>(row: &Row<DB>) -> Result<Anomaly, Error> {
    Ok(Anomaly {
        id: row.int("id")?,
        device: row.text("device")?,
        kind: kind(row)?,
        began_ms: row.int("began_ms")?,
        ended_ms: row.maybe_int("ended_ms")?,
        value: row.maybe_real("value")?,
        expected: row.maybe_real("expected")?,
        score: row.real("score")?,
        severity: Severity::parse(&row.text("severity")?).ok_or(Error::Unknown("a severity"))?,
        by: row.text("scored_by")?,
    })
}

fn kind<DB: Db>(row: &Row<DB>) -> Result<Kind, Error> {
    parse_kind(&row.text("kind")?).ok_or(Error::Unknown("a kind"))
}

fn season(season: Season) -> &'static str {
    match season {
        Season::Daily => "daily",
        Season::Weekly => "weekly",
    }
}

fn parse_season(text: &str) -> Option<Season> {
    [Season::Daily, Season::Weekly].into_iter().find(|known| season(*known) == text)
}
