//! The row of a saga: how it is kept, and who works on it.

use bowline_messaging::saga::{Phase as At, Saga};

use super::{
    definition::Erased,
    info::{HISTORY_MAX, Happened, Phase, SagaInfo},
};
use crate::{
    Error,
    db::{Db, Kind, Query, Row},
    trace,
};

/// A saga as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) at: Stored,
    pub(crate) data: String,
    pub(crate) reason: Option<String>,
    pub(crate) history: Vec<Happened>,
    pub(crate) traceparent: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) lease_ms: i64,
    /// Counted up by each change: who knows another one has lost the saga.
    pub(crate) version: i64,
    pub(crate) begun_ms: i64,
    pub(crate) ended_ms: Option<i64>,
}

/// The columns of where a saga is.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    phase: String,
    step: Option<String>,
    since_ms: i64,
    attempts: i64,
    due_ms: i64,
    is_unsure: bool,
    is_stuck: bool,
    deadline_ms: i64,
}

/// The columns, in the order of [`KINDS`].
macro_rules! columns {
    () => {
        "id, name, phase, step, since_ms, attempts, due_ms, is_unsure, is_stuck, deadline_ms, data, reason, history, \
         traceparent, owner, lease_ms, version, begun_ms, ended_ms"
    };
}

const KINDS: &[Kind] = &[
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Int,
];

impl Stored {
    pub(crate) fn of<DB: Db>(saga: Saga, definition: &Erased<DB>) -> Self {
        let name = |step: usize| Some(definition.step_name(step).to_owned());
        let (phase, step, since_ms, attempts, due_ms, is_unsure) = match saga.phase {
            At::Acting { step, since, attempts, due, is_unsure } => {
                ("acting", name(step), since, attempts, due, is_unsure)
            }
            At::Undoing { step, attempts, due } => ("undoing", name(step), 0, attempts, due, false),
            At::Done => ("done", None, 0, 0, 0, false),
            At::Compensated => ("compensated", None, 0, 0, 0, false),
        };
        Self {
            phase: phase.to_owned(),
            step,
            since_ms,
            attempts: attempts.into(),
            due_ms,
            is_unsure,
            is_stuck: saga.phase.is_stuck(&definition.plan),
            deadline_ms: saga.deadline,
        }
    }

    /// Where that is in a definition; none where it has no such step.
    pub(crate) fn saga<DB: Db>(&self, definition: &Erased<DB>) -> Option<Saga> {
        let step = || {
            let name = self.step.as_deref()?;
            definition.steps.iter().position(|step| step.name == name)
        };
        let attempts = u32::try_from(self.attempts).unwrap_or(u32::MAX);
        let (since, due, is_unsure) = (self.since_ms, self.due_ms, self.is_unsure);
        let phase = match self.phase.as_str() {
            "acting" => At::Acting { step: step()?, since, attempts, due, is_unsure },
            "undoing" => At::Undoing { step: step()?, attempts, due },
            "done" => At::Done,
            "compensated" => At::Compensated,
            _ => return None,
        };
        Some(Saga { deadline: self.deadline_ms, phase })
    }

    pub(crate) fn due_ms(&self) -> i64 {
        self.due_ms
    }

    /// When it is looked at again, which may be before its next try: its time may be over then.
    pub(crate) fn wait_until(&mut self, until: i64) {
        self.due_ms = until;
    }
}

impl Kept {
    fn read(mut row: Row) -> Self {
        Self {
            id: row.text(),
            name: row.text(),
            at: Stored {
                phase: row.text(),
                step: row.maybe_text(),
                since_ms: row.int(),
                attempts: row.int(),
                due_ms: row.int(),
                is_unsure: row.int() != 0,
                is_stuck: row.int() != 0,
                deadline_ms: row.int(),
            },
            data: row.text(),
            reason: row.maybe_text(),
            history: serde_json::from_str(&row.text()).unwrap_or_default(),
            traceparent: row.maybe_text(),
            owner: row.maybe_text(),
            lease_ms: row.int(),
            version: row.int(),
            begun_ms: row.int(),
            ended_ms: row.maybe_int(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at.phase == "done"
    }

    /// Notes what happened; what has no room pushes the oldest out.
    pub(crate) fn note(&mut self, happened: Happened) {
        if self.history.len() >= HISTORY_MAX {
            self.history.drain(..=self.history.len() - HISTORY_MAX);
        }
        self.history.push(happened);
    }

    pub(crate) fn info(self) -> SagaInfo {
        SagaInfo {
            phase: phase_of(&self.at.phase, self.at.is_stuck),
            id: self.id,
            name: self.name,
            attempts: u32::try_from(self.at.attempts).unwrap_or(u32::MAX),
            due_ms: self.at.due_ms,
            step: self.at.step,
            begun_ms: self.begun_ms,
            ended_ms: self.ended_ms,
            reason: self.reason,
            trace_id: self.traceparent.as_deref().and_then(trace_id),
            history: self.history,
        }
    }

    /// Keeps a new saga; false where the id is taken.
    pub(crate) async fn insert<DB: Db>(&self, connection: &mut DB::Connection) -> Result<bool, Error> {
        let sql = concat!(
            "INSERT INTO bowline_sagas (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
             ON CONFLICT (id) DO NOTHING"
        );
        let at = &self.at;
        let query = Query::new(sql)
            .text(&self.id)
            .text(&self.name)
            .text(&at.phase)
            .maybe_text(at.step.clone())
            .int(at.since_ms)
            .int(at.attempts)
            .int(at.due_ms)
            .int(at.is_unsure.into())
            .int(at.is_stuck.into())
            .int(at.deadline_ms)
            .text(&self.data)
            .maybe_text(self.reason.clone())
            .text(history(&self.history)?)
            .maybe_text(self.traceparent.clone())
            .maybe_text(self.owner.clone())
            .int(self.lease_ms)
            .int(self.version)
            .int(self.begun_ms)
            .maybe_int(self.ended_ms);
        Ok(DB::run(connection, query).await? == 1)
    }

    /// Keeps a change of it, if nobody else changed it since; counts the version up then.
    pub(crate) async fn keep<DB: Db>(&mut self, connection: &mut DB::Connection) -> Result<bool, Error> {
        let sql = "UPDATE bowline_sagas SET phase = $1, step = $2, since_ms = $3, attempts = $4, due_ms = $5, \
                   is_unsure = $6, is_stuck = $7, data = $8, reason = $9, history = $10, owner = $11, \
                   lease_ms = $12, ended_ms = $13, version = version + 1 WHERE id = $14 AND version = $15";
        let at = &self.at;
        let query = Query::new(sql)
            .text(&at.phase)
            .maybe_text(at.step.clone())
            .int(at.since_ms)
            .int(at.attempts)
            .int(at.due_ms)
            .int(at.is_unsure.into())
            .int(at.is_stuck.into())
            .text(&self.data)
            .maybe_text(self.reason.clone())
            .text(history(&self.history)?)
            .maybe_text(self.owner.clone())
            .int(self.lease_ms)
            .maybe_int(self.ended_ms)
            .text(&self.id)
            .int(self.version);
        let is_kept = DB::run(connection, query).await? == 1;
        self.version += i64::from(is_kept);
        Ok(is_kept)
    }

    /// Takes a saga that nobody works on, as far as is known; false where somebody else was quicker.
    pub(crate) async fn claim<DB: Db>(
        &mut self,
        connection: &mut DB::Connection,
        owner: &str,
        now: i64,
        lease_ms: i64,
    ) -> Result<bool, Error> {
        let sql = "UPDATE bowline_sagas SET owner = $1, lease_ms = $2, version = version + 1 \
                   WHERE id = $3 AND version = $4 AND ended_ms IS NULL AND (lease_ms <= $5 OR owner = $1)";
        let query = Query::new(sql).text(owner).int(lease_ms).text(&self.id).int(self.version).int(now);
        let is_ours = DB::run(connection, query).await? == 1;
        self.version += i64::from(is_ours);
        (self.owner, self.lease_ms) = (Some(owner.to_owned()), lease_ms);
        Ok(is_ours)
    }

    /// Stays its owner for longer; false where it is not any more.
    pub(crate) async fn renew<DB: Db>(&self, connection: &mut DB::Connection, lease_ms: i64) -> Result<bool, Error> {
        let sql = "UPDATE bowline_sagas SET lease_ms = $1 WHERE id = $2 AND version = $3";
        Ok(DB::run(connection, Query::new(sql).int(lease_ms).text(&self.id).int(self.version)).await? == 1)
    }

    /// Leaves it to whoever comes.
    pub(crate) async fn release<DB: Db>(&self, connection: &mut DB::Connection, due_ms: i64) -> Result<(), Error> {
        let sql = "UPDATE bowline_sagas SET lease_ms = 0, owner = NULL, due_ms = $1 WHERE id = $2 AND version = $3";
        DB::run(connection, Query::new(sql).int(due_ms).text(&self.id).int(self.version)).await?;
        Ok(())
    }

    pub(crate) async fn load<DB: Db>(connection: &mut DB::Connection, id: &str) -> Result<Option<Self>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM bowline_sagas WHERE id = $1");
        let rows = DB::fetch(connection, Query::new(sql).text(id).answers(KINDS)).await?;
        Ok(rows.into_iter().next().map(Self::read))
    }

    /// What is due and nobody's, the longest due first; what is ours may be worked on already. `known` is what can be
    /// worked on, as a condition of SQL.
    pub(crate) async fn due<DB: Db>(
        connection: &mut DB::Connection,
        known: &str,
        owner: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let sql = format!(
            "SELECT id FROM bowline_sagas WHERE ended_ms IS NULL AND due_ms <= $1 \
             AND (lease_ms <= $1 OR owner = $2) AND {known} ORDER BY due_ms LIMIT {limit}"
        );
        let query = Query::made(sql).int(now).text(owner).answers(&[Kind::Text]);
        Ok(DB::fetch(connection, query).await?.into_iter().map(|mut row| row.text()).collect())
    }

    /// Up to so many sagas, the youngest first, without what happened to them.
    pub(crate) async fn list<DB: Db>(
        connection: &mut DB::Connection,
        filter: &super::Filter,
        limit: usize,
    ) -> Result<Vec<SagaInfo>, Error> {
        let (begun, id) = filter.before.clone().unwrap_or((i64::MAX, String::new()));
        let query = Query::made(list_sql(filter, limit)).int(begun).text(id).answers(LISTED);
        let query = filter.name.iter().fold(query, Query::text);
        Ok(DB::fetch(connection, query).await?.into_iter().map(listed).collect())
    }
}

/// What is listed: what may be long is not.
const LISTED: &[Kind] = &[
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Int,
    Kind::Text,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Text,
    Kind::Text,
];

/// The columns are in the order of [`LISTED`].
fn list_sql(filter: &super::Filter, limit: usize) -> String {
    let phase = match filter.phase {
        None => "",
        Some(Phase::Acting) => "AND phase = 'acting'",
        Some(Phase::Undoing) => "AND phase = 'undoing' AND is_stuck = 0",
        Some(Phase::Stuck) => "AND phase = 'undoing' AND is_stuck = 1",
        Some(Phase::Done) => "AND phase = 'done'",
        Some(Phase::Compensated) => "AND phase = 'compensated'",
    };
    let name = if filter.name.is_some() { "AND name = $3" } else { "" };
    format!(
        "SELECT id, name, phase, is_stuck, step, attempts, due_ms, begun_ms, ended_ms, reason, traceparent \
         FROM bowline_sagas WHERE (begun_ms, id) < ($1, $2) {phase} {name} \
         ORDER BY begun_ms DESC, id DESC LIMIT {limit}"
    )
}

fn listed(mut row: Row) -> SagaInfo {
    let (id, name) = (row.text(), row.text());
    let (phase, is_stuck) = (row.text(), row.int() != 0);
    SagaInfo {
        id,
        name,
        phase: phase_of(&phase, is_stuck),
        step: row.maybe_text(),
        attempts: u32::try_from(row.int()).unwrap_or(u32::MAX),
        due_ms: row.int(),
        begun_ms: row.int(),
        ended_ms: row.maybe_int(),
        reason: row.maybe_text(),
        trace_id: row.maybe_text().as_deref().and_then(trace_id),
        history: Vec::new(),
    }
}

fn phase_of(phase: &str, is_stuck: bool) -> Phase {
    match phase {
        "acting" => Phase::Acting,
        "undoing" if is_stuck => Phase::Stuck,
        "undoing" => Phase::Undoing,
        "done" => Phase::Done,
        _ => Phase::Compensated,
    }
}

fn trace_id(traceparent: &str) -> Option<String> {
    trace::parse(traceparent).map(|context| context.trace_id.to_string())
}

fn history(history: &[Happened]) -> Result<String, Error> {
    serde_json::to_string(history).map_err(Error::Data)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::saga::Filter;

    /// No list is sorted, and none looks through all sagas for those that are stuck.
    #[tokio::test]
    async fn lists_go_by_an_index() {
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        crate::migrate(&pool).await.unwrap();
        for (phase, index) in [
            (None, "SEARCH bowline_sagas USING INDEX bowline_sagas_begun ((begun_ms,id)<(?,?))"),
            (Some(Phase::Done), "SEARCH bowline_sagas USING INDEX bowline_sagas_begun ((begun_ms,id)<(?,?))"),
            (Some(Phase::Stuck), "SEARCH bowline_sagas USING INDEX bowline_sagas_stuck ((begun_ms,id)<(?,?))"),
        ] {
            let filter = Filter { phase, ..Filter::default() };
            let query = Query::made(format!("EXPLAIN QUERY PLAN {}", list_sql(&filter, 10)));
            let query = query.int(1).text("a").answers(&[Kind::Int, Kind::Int, Kind::Int, Kind::Text]);
            let mut connection = pool.acquire().await.unwrap();
            let rows = <sqlx::Sqlite as crate::db::sealed::Statements>::fetch(&mut connection, query).await.unwrap();
            let plan: Vec<String> = rows
                .into_iter()
                .map(|mut row| {
                    let _node = (row.int(), row.int(), row.int());
                    row.text()
                })
                .collect();
            assert_eq!(plan, [index], "{phase:?}");
        }
    }
}
