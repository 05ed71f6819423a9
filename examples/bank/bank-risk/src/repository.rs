//! Where assessments are kept, and what accounts did lately.

use bank_features::{DELAY_MS, HISTORY_MAX, MEMORY_MS, PAYEE_MEMORY_MS, Paid, Received};
use bowline::{
    Database,
    sql::{self, Error},
};
use example_sql::Sqlite;

use crate::{
    assessment::{Assessment, Decision, NewAssessment},
    ended::{Ended, Outcome},
};

/// The most rows of a table that are forgotten at once.
const FORGOTTEN_AT_ONCE_MAX: i64 = 200;

/// For how long transfers and assessments are kept: as long as features look back, and a day.
const KEPT_MS: i64 = PAYEE_MEMORY_MS + bank_features::DAY_MS;

/// What the service needs of its store.
pub(crate) trait Assessments: Clone + Send + Sync + 'static {
    /// What was decided of a transfer.
    fn find(&self, transfer: &str) -> impl Future<Output = Result<Option<Kept>, Error>> + Send;

    /// What the two accounts of a transfer did before it.
    fn history(&self, new: &NewAssessment) -> impl Future<Output = Result<History, Error>> + Send;

    /// Keeps what is decided of a transfer, and the transfer; where something was decided before, that stays. Answers
    /// what holds.
    fn keep(&self, new: &NewAssessment, decided: &Assessment) -> impl Future<Output = Result<Kept, Error>> + Send;

    /// Keeps what became of transfers, and forgets what is too old by then. Told again, nothing changes.
    fn note(&self, ended: &[Ended]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Notes that a transfer was a fraud; false: there is none of that name.
    fn report(&self, transfer: &str) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// An assessment, and what it was of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    from: String,
    to: String,
    amount: i64,
    currency: String,
    pub(crate) assessment: Assessment,
}

/// What accounts did, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) paid: Vec<Paid>,
    pub(crate) received: Vec<Received>,
}

impl Kept {
    /// Whether it was of that transfer; when it was asked for is no matter.
    pub(crate) fn is_of(&self, new: &NewAssessment) -> bool {
        let Self { from, to, amount, currency, assessment: _ } = self;
        *from == new.from && *to == new.to && *amount == new.amount && currency == new.currency.as_str()
    }
}

/// As it is in the table.
#[derive(sqlx::FromRow)]
struct Row {
    payer: String,
    payee: String,
    amount: i64,
    currency: String,
    decision: String,
    score: Option<f64>,
    decided_by: String,
    reasons: String,
}

impl From<Row> for Kept {
    fn from(row: Row) -> Self {
        let Row { payer, payee, amount, currency, decision, score, decided_by, reasons } = row;
        let decision = if decision == Decision::Deny.as_str() { Decision::Deny } else { Decision::Allow };
        let reasons = reasons.split(',').filter(|reason| !reason.is_empty()).map(str::to_owned).collect();
        let assessment = Assessment { decision, score, by: decided_by, reasons };
        Self { from: payer, to: payee, amount, currency, assessment }
    }
}

/// All of it in SQLite. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SqliteAssessments(Sqlite);

impl SqliteAssessments {
    /// Opens the database, made and migrated where need be.
    pub(crate) async fn open(database: Database) -> anyhow::Result<Self> {
        Sqlite::open(database, &sqlx::migrate!()).await.map(Self)
    }
}

impl Assessments for SqliteAssessments {
    async fn find(&self, transfer: &str) -> Result<Option<Kept>, Error> {
        let select = "SELECT payer, payee, amount, currency, decision, score, decided_by, reasons
                      FROM assessments WHERE transfer = $1";
        let select = sqlx::query_as::<_, Row>(select).bind(transfer).fetch_optional(self.0.pool());
        Ok(self.0.query("SELECT", "assessments", select).await?.map(Kept::from))
    }

    async fn history(&self, new: &NewAssessment) -> Result<History, Error> {
        let newest = i64::try_from(HISTORY_MAX).unwrap_or(i64::MAX);
        let paid = "SELECT at_ms, amount, payee FROM transfers
                    WHERE payer = $1 AND at_ms > $2 AND at_ms <= $3 AND transfer <> $4 AND is_counted = 1
                    ORDER BY at_ms DESC, transfer DESC LIMIT $5";
        let paid = sqlx::query_as::<_, (i64, i64, String)>(paid)
            .bind(&new.from)
            .bind(new.at_unix_ms - MEMORY_MS)
            .bind(new.at_unix_ms)
            .bind(&new.transfer)
            .bind(newest)
            .fetch_all(self.0.pool());
        let paid = self.0.query("SELECT", "transfers", paid).await?;
        let received = "SELECT at_ms, is_flagged FROM transfers
                        WHERE payee = $1 AND at_ms > $2 AND at_ms <= $3 AND is_counted = 1
                        ORDER BY at_ms DESC, transfer DESC LIMIT $4";
        let received = sqlx::query_as::<_, (i64, i64)>(received)
            .bind(&new.to)
            .bind(new.at_unix_ms - PAYEE_MEMORY_MS)
            .bind(new.at_unix_ms - DELAY_MS)
            .bind(newest)
            .fetch_all(self.0.pool());
        let received = self.0.query("SELECT", "transfers", received).await?;
        let paid = paid.into_iter().map(|(at_ms, amount, to)| Paid { at_ms, amount, is_to_payee: to == new.to });
        let received = received.into_iter().map(|(at_ms, flagged)| Received { at_ms, is_flagged: flagged != 0 });
        Ok(History { paid: paid.collect(), received: received.collect() })
    }

    async fn keep(&self, new: &NewAssessment, decided: &Assessment) -> Result<Kept, Error> {
        let mut tx = sql::begin(self.0.pool()).await?;
        let insert = "INSERT INTO assessments
                          (transfer, payer, payee, amount, currency, at_ms, decision, score, decided_by, reasons)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (transfer) DO NOTHING";
        let insert = sqlx::query(insert)
            .bind(&new.transfer)
            .bind(&new.from)
            .bind(&new.to)
            .bind(new.amount)
            .bind(new.currency.as_str())
            .bind(new.at_unix_ms)
            .bind(decided.decision.as_str())
            .bind(decided.score)
            .bind(&decided.by)
            .bind(decided.reasons.join(","));
        let inserted = self.0.query("INSERT", "assessments", insert.execute(&mut *tx)).await?;
        if inserted.rows_affected() == 1 {
            let insert = "INSERT INTO transfers (transfer, payer, payee, amount, at_ms, is_counted, is_flagged)
                          VALUES ($1, $2, $3, $4, $5, 1, $6) ON CONFLICT (transfer) DO NOTHING";
            let insert = sqlx::query(insert)
                .bind(&new.transfer)
                .bind(&new.from)
                .bind(&new.to)
                .bind(new.amount)
                .bind(new.at_unix_ms)
                .bind(i64::from(decided.is_suspicion()));
            self.0.query("INSERT", "transfers", insert.execute(&mut *tx)).await?;
        }
        tx.commit().await?;
        Ok(self.find(&new.transfer).await?.ok_or(sqlx::Error::RowNotFound)?)
    }

    async fn note(&self, ended: &[Ended]) -> Result<(), Error> {
        let mut tx = sql::begin(self.0.pool()).await?;
        for Ended { transfer, from, to, amount, at_ms, told_ms: _, outcome } in ended {
            // What was denied here is behaviour; what was declined for other reasons, as for want of funds, is not.
            let insert = "INSERT INTO transfers (transfer, payer, payee, amount, at_ms, is_counted, is_flagged)
                          VALUES ($1, $2, $3, $4, $5, $6, 0)
                          ON CONFLICT (transfer) DO UPDATE SET is_counted = 0
                          WHERE excluded.is_counted = 0 AND 'allow' =
                              (SELECT decision FROM assessments WHERE assessments.transfer = transfers.transfer)";
            let is_counted = i64::from(*outcome == Outcome::Settled);
            let insert = sqlx::query(insert).bind(transfer).bind(from).bind(to).bind(amount).bind(at_ms);
            self.0.query("INSERT", "transfers", insert.bind(is_counted).execute(&mut *tx)).await?;
        }
        if let Some(newest) = ended.iter().map(|ended| ended.told_ms).max() {
            let delete = "DELETE FROM transfers WHERE transfer IN
                              (SELECT transfer FROM transfers WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
            let delete = sqlx::query(delete).bind(newest - KEPT_MS).bind(FORGOTTEN_AT_ONCE_MAX);
            self.0.query("DELETE", "transfers", delete.execute(&mut *tx)).await?;
            let delete = "DELETE FROM assessments WHERE transfer IN
                              (SELECT transfer FROM assessments WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
            let delete = sqlx::query(delete).bind(newest - KEPT_MS).bind(FORGOTTEN_AT_ONCE_MAX);
            self.0.query("DELETE", "assessments", delete.execute(&mut *tx)).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn report(&self, transfer: &str) -> Result<bool, Error> {
        let update = sqlx::query("UPDATE transfers SET is_flagged = 1 WHERE transfer = $1").bind(transfer);
        let updated = self.0.query("UPDATE", "transfers", update.execute(self.0.pool())).await?;
        Ok(updated.rows_affected() == 1)
    }
}

#[cfg(test)]
pub(crate) mod tests;
