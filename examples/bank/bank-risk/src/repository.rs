//! Where assessments are kept, and what accounts did lately.

use bank_features::{DELAY_MS, HISTORY_MAX, HOUR_MS, MEMORY_MS, PAYEE_MEMORY_MS, Paid, Received};
use bowline::sql::{Error, Tx};
use example_sql::{Db, Row, Sql, Statement};

use crate::{
    assessment::{Assessment, Decision, NewAssessment},
    ended::{Ended, Outcome},
    rules::Rules,
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
    /// what holds, and whether it is new.
    fn keep(
        &self,
        new: &NewAssessment,
        decided: &Decided<'_>,
    ) -> impl Future<Output = Result<(Kept, bool), Error>> + Send;

    /// Keeps what became of transfers, and forgets what is too old by then. Told again, nothing changes.
    fn note(&self, ended: &[Ended]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Notes that a transfer was a fraud; false: there is none of that name.
    fn report(&self, transfer: &str) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// How a transfer is decided.
#[derive(Debug, Clone)]
pub(crate) enum Decided<'a> {
    /// By a score.
    Scored(Assessment),
    /// Without one, by rules: also by how many transfers its account made lately, which is counted as it is kept. Those
    /// that are asked about at once do not pass each other.
    Unscored(&'a Rules),
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

/// All of it in a database. Cheap to clone.
#[derive(Debug)]
pub(crate) struct SqlAssessments<DB: Db>(pub(crate) Sql<DB>);

impl<DB: Db> Clone for SqlAssessments<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<DB: Db> SqlAssessments<DB> {
    /// Keeps an assessment, unless there is one of that transfer; whether it did.
    async fn keep_assessment(
        &self,
        tx: &mut Tx<DB>,
        new: &NewAssessment,
        decided: &Assessment,
    ) -> Result<bool, sqlx::Error> {
        let insert = "INSERT INTO assessments
                          (transfer, payer, payee, amount, currency, at_ms, decision, score, decided_by, reasons)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (transfer) DO NOTHING";
        let insert = Statement::new(insert)
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
        Ok(self.0.execute(tx, "assessments", insert).await? == 1)
    }

    /// Keeps a transfer, unless it is known.
    async fn keep_transfer(&self, tx: &mut Tx<DB>, new: &NewAssessment) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO transfers (transfer, payer, payee, amount, at_ms, is_counted, is_flagged)
                      VALUES ($1, $2, $3, $4, $5, 1, 0) ON CONFLICT (transfer) DO NOTHING";
        let insert = Statement::new(insert).bind(&new.transfer).bind(&new.from).bind(&new.to).bind(new.amount);
        self.0.execute(tx, "transfers", insert.bind(new.at_unix_ms)).await.map(drop)
    }

    /// How many transfers an account made from an hour before this one on, this one included. Others of that account
    /// are counted when this transaction is over.
    async fn pace(&self, tx: &mut Tx<DB>, new: &NewAssessment) -> Result<i64, sqlx::Error> {
        let lock = "INSERT INTO paces (payer, at_ms) VALUES ($1, $2)
                    ON CONFLICT (payer) DO UPDATE SET at_ms = excluded.at_ms";
        self.0.execute(tx, "paces", Statement::new(lock).bind(&new.from).bind(new.at_unix_ms)).await?;
        // Also what is later: of those that were asked about at once, the first is not the first to be kept.
        let count = "SELECT COUNT(*) AS others FROM transfers
                     WHERE payer = $1 AND at_ms > $2 AND transfer <> $3 AND is_counted = 1";
        let count = Statement::new(count).bind(&new.from).bind(new.at_unix_ms - HOUR_MS).bind(&new.transfer);
        let row = self.0.row(tx, "transfers", count).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(row.int("others")?.saturating_add(1))
    }

    /// Forgets of each table what is older than that.
    async fn forget(&self, tx: &mut Tx<DB>, before_ms: i64) -> Result<(), sqlx::Error> {
        let transfers = "DELETE FROM transfers WHERE transfer IN
                             (SELECT transfer FROM transfers WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
        let assessments = "DELETE FROM assessments WHERE transfer IN
                               (SELECT transfer FROM assessments WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
        // Nothing is lost by a row that was needed again meanwhile: what is counted are transfers.
        let paces = "DELETE FROM paces WHERE payer IN
                         (SELECT payer FROM paces WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
        for (table, delete) in [("paces", paces), ("transfers", transfers), ("assessments", assessments)] {
            self.0.execute(tx, table, Statement::new(delete).bind(before_ms).bind(FORGOTTEN_AT_ONCE_MAX)).await?;
        }
        Ok(())
    }
}

impl<DB: Db> Assessments for SqlAssessments<DB> {
    async fn find(&self, transfer: &str) -> Result<Option<Kept>, Error> {
        let select = "SELECT payer, payee, amount, currency, decision, score, decided_by, reasons
                      FROM assessments WHERE transfer = $1";
        let select = Statement::new(select).bind(transfer);
        let row = self.0.row(&mut *self.0.read().await?, "assessments", select).await?;
        Ok(row.as_ref().map(kept).transpose()?)
    }

    async fn history(&self, new: &NewAssessment) -> Result<History, Error> {
        let newest = i64::try_from(HISTORY_MAX).unwrap_or(i64::MAX);
        let mut connection = self.0.read().await?;
        let paid = "SELECT at_ms, amount, payee FROM transfers
                    WHERE payer = $1 AND at_ms > $2 AND at_ms <= $3 AND transfer <> $4 AND is_counted = 1
                    ORDER BY at_ms DESC, transfer DESC LIMIT $5";
        let paid = Statement::new(paid).bind(&new.from).bind(new.at_unix_ms - MEMORY_MS).bind(new.at_unix_ms);
        let paid = paid.bind(&new.transfer).bind(newest);
        let paid = self.0.rows(&mut connection, "transfers", paid).await?;
        // What was denied its payee did not receive: nobody makes another's payments look like frauds, or frauds rare.
        let received = "SELECT at_ms, is_flagged FROM transfers
                        WHERE payee = $1 AND at_ms > $2 AND at_ms <= $3 AND is_counted = 1 AND (is_flagged = 1 OR NOT EXISTS
                            (SELECT 1 FROM assessments
                             WHERE assessments.transfer = transfers.transfer AND decision = 'deny'))
                        ORDER BY at_ms DESC, transfer DESC LIMIT $4";
        let received = Statement::new(received).bind(&new.to).bind(new.at_unix_ms - PAYEE_MEMORY_MS);
        let received = received.bind(new.at_unix_ms - DELAY_MS).bind(newest);
        let received = self.0.rows(&mut connection, "transfers", received).await?;
        let paid = paid.iter().map(|row| {
            let is_to_payee = row.text("payee")? == new.to;
            Ok(Paid { at_ms: row.int("at_ms")?, amount: row.int("amount")?, is_to_payee })
        });
        let received = received
            .iter()
            .map(|row| Ok::<_, Error>(Received { at_ms: row.int("at_ms")?, is_flagged: row.int("is_flagged")? != 0 }));
        Ok(History { paid: paid.collect::<Result<_, Error>>()?, received: received.collect::<Result<_, _>>()? })
    }

    async fn keep(&self, new: &NewAssessment, decided: &Decided<'_>) -> Result<(Kept, bool), Error> {
        let mut tx = self.0.begin().await?;
        let decided = match decided {
            Decided::Scored(assessment) => assessment.clone(),
            Decided::Unscored(rules) => rules.fall_back(new.amount, self.pace(&mut tx, new).await?),
        };
        let is_new = self.keep_assessment(&mut tx, new, &decided).await?;
        if is_new {
            self.keep_transfer(&mut tx, new).await?;
        }
        tx.commit().await?;
        Ok((self.find(&new.transfer).await?.ok_or(sqlx::Error::RowNotFound)?, is_new))
    }

    async fn note(&self, ended: &[Ended]) -> Result<(), Error> {
        // In one order, so that replicas which are told the same do not wait for each other in a circle.
        let mut sorted: Vec<&Ended> = ended.iter().collect();
        sorted.sort_by_key(|ended| &ended.transfer);
        let mut tx = self.0.begin().await?;
        // First of all: who assesses locks a row of `paces` before any other, too.
        if let Some(newest) = ended.iter().map(|ended| ended.told_ms).max() {
            self.forget(&mut tx, newest - KEPT_MS).await?;
        }
        for Ended { transfer, from, to, amount, at_ms, told_ms: _, outcome } in sorted {
            // What was denied here is behaviour; what was declined for other reasons, as for want of funds, is not.
            let insert = "INSERT INTO transfers (transfer, payer, payee, amount, at_ms, is_counted, is_flagged)
                          VALUES ($1, $2, $3, $4, $5, $6, 0)
                          ON CONFLICT (transfer) DO UPDATE SET is_counted = 0
                          WHERE excluded.is_counted = 0 AND 'allow' =
                              (SELECT decision FROM assessments WHERE assessments.transfer = transfers.transfer)";
            let insert = Statement::new(insert).bind(transfer).bind(from).bind(to).bind(*amount).bind(*at_ms);
            let is_counted = i64::from(*outcome == Outcome::Settled);
            self.0.execute(&mut tx, "transfers", insert.bind(is_counted)).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn report(&self, transfer: &str) -> Result<bool, Error> {
        let update = Statement::new("UPDATE transfers SET is_flagged = 1 WHERE transfer = $1").bind(transfer);
        Ok(self.0.execute(&mut *self.0.read().await?, "transfers", update).await? == 1)
    }
}

/// Reads a row.
fn kept<DB: Db>(row: &Row<DB>) -> Result<Kept, sqlx::Error> {
    let decision = if row.text("decision")? == Decision::Deny.as_str() { Decision::Deny } else { Decision::Allow };
    let reasons = row.text("reasons")?.split(',').filter(|reason| !reason.is_empty()).map(str::to_owned).collect();
    let (score, by) = (row.maybe_real("score")?, row.text("decided_by")?);
    Ok(Kept {
        from: row.text("payer")?,
        to: row.text("payee")?,
        amount: row.int("amount")?,
        currency: row.text("currency")?,
        assessment: Assessment { decision, score, by, reasons },
    })
}

#[cfg(test)]
pub(crate) mod tests;
