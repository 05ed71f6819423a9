//! Where transfers are kept.

use bowline::sql::{self, Tx};
use example_sql::{Db, Row, Sql, Statement};
use sqlx::Pool;

use crate::{
    moving::Moving,
    service::{IdempotencyKey, Posting},
    transfer::{Currency, Risk, State, Transfer},
};

/// A transfer, and who asked for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) transfer: Transfer,
    pub(crate) asked_by: String,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) state: State,
    pub(crate) reason: Option<&'a str>,
    pub(crate) risk: Option<&'a Risk>,
}

/// What the service needs of its store. What changes it takes part in a transaction of the caller's.
pub(crate) trait TransferRepository: Send + Sync + 'static {
    /// The database that it is in.
    type Db: sql::Db;

    /// Where it is.
    fn pool(&self) -> &Pool<Self::Db>;

    /// The transfer of that id.
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<Kept>, sql::Error>> + Send;

    /// The transfer that the key made for whoever asked.
    fn find_by_key(
        &self,
        asked_by: &str,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<Kept>, sql::Error>> + Send;

    /// Up to so many transfers in a state, the youngest first: of one who asked, or of everybody.
    fn list(
        &self,
        state: State,
        asked_by: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Kept>, sql::Error>> + Send;

    /// Keeps a new transfer; whether it did: where its key has one already, it does not.
    fn keep(
        &self,
        tx: &mut Tx<Self::Db>,
        moving: &Moving,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<bool, sql::Error>> + Send;

    /// Ends a pending transfer; one that has ended stays as it is.
    fn end(
        &self,
        tx: &mut Tx<Self::Db>,
        id: &str,
        end: &End<'_>,
    ) -> impl Future<Output = Result<(), sql::Error>> + Send;

    /// Keeps when a transfer was posted, the first time; whether it is one that was to be: of that id, those accounts,
    /// that amount and currency, which did not end without moving money.
    fn post(&self, tx: &mut Tx<Self::Db>, posting: &Posting) -> impl Future<Output = Result<bool, sql::Error>> + Send;

    /// Counts what goes out of an account on a day; whether that is within the limit: else nothing is counted.
    fn spend(
        &self,
        tx: &mut Tx<Self::Db>,
        account: &str,
        day: i64,
        amount: i64,
        limit: i64,
    ) -> impl Future<Output = Result<bool, sql::Error>> + Send;

    /// Counts what went out no more.
    fn give_back(
        &self,
        tx: &mut Tx<Self::Db>,
        account: &str,
        day: i64,
        amount: i64,
    ) -> impl Future<Output = Result<(), sql::Error>> + Send;
}

/// Transfers in a database, shared by the replicas.
#[derive(Debug)]
pub(crate) struct SqlTransfers<DB: Db>(pub(crate) Sql<DB>);

/// Selects what [`kept`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, asked_by, from_account, to_account, amount, currency, state, reason, risk, posted_at_ms \
             FROM transfers ",
            $rest
        )
    };
}

impl<DB: Db> SqlTransfers<DB> {
    /// The transfers that a statement selects.
    async fn select(&self, select: Statement) -> Result<Vec<Kept>, sql::Error> {
        let rows = self.0.rows(&mut *self.0.read().await?, "transfers", select).await?;
        Ok(rows.iter().map(kept).collect::<Result<_, _>>()?)
    }
}

impl<DB: Db> TransferRepository for SqlTransfers<DB> {
    type Db = DB;

    fn pool(&self) -> &Pool<DB> {
        self.0.pool()
    }

    async fn find(&self, id: &str) -> Result<Option<Kept>, sql::Error> {
        Ok(self.select(Statement::new(select!("WHERE id = $1")).bind(id)).await?.pop())
    }

    async fn find_by_key(&self, asked_by: &str, key: &IdempotencyKey) -> Result<Option<Kept>, sql::Error> {
        let select = Statement::new(select!("WHERE asked_by = $1 AND idempotency_key = $2"));
        Ok(self.select(select.bind(asked_by).bind(&key.0)).await?.pop())
    }

    async fn list(&self, state: State, asked_by: Option<&str>, limit: u32) -> Result<Vec<Kept>, sql::Error> {
        let select = Statement::new(select!(
            "WHERE state = $1 AND (CAST($2 AS TEXT) IS NULL OR asked_by = $2) ORDER BY asked_at_ms DESC, id LIMIT $3"
        ));
        self.select(select.bind(state.as_str()).bind(asked_by).bind(i64::from(limit))).await
    }

    async fn keep(&self, tx: &mut Tx<DB>, moving: &Moving, key: &IdempotencyKey) -> Result<bool, sql::Error> {
        let Moving { transfer, asked_by, asked_at_ms, .. } = moving;
        let insert = Statement::new(
            "INSERT INTO transfers (id, asked_by, idempotency_key, from_account, to_account, amount, currency, state,
                                    asked_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (asked_by, idempotency_key) DO NOTHING",
        )
        .bind(&transfer.id)
        .bind(asked_by)
        .bind(&key.0)
        .bind(&transfer.from)
        .bind(&transfer.to)
        .bind(transfer.amount)
        .bind(transfer.currency.as_str())
        .bind(transfer.state.as_str())
        .bind(*asked_at_ms);
        Ok(self.0.execute(tx, "transfers", insert).await? == 1)
    }

    async fn end(&self, tx: &mut Tx<DB>, id: &str, end: &End<'_>) -> Result<(), sql::Error> {
        let End { state, reason, risk } = end;
        let risk = risk.map(serde_json::to_string).transpose();
        let risk = risk.map_err(|error| sqlx::Error::Encode(error.into()))?;
        let update = "UPDATE transfers SET state = $1, reason = $2, risk = $3 WHERE id = $4 AND state = 'pending'";
        let update = Statement::new(update).bind(state.as_str()).bind(*reason).bind(risk).bind(id);
        self.0.execute(tx, "transfers", update).await?;
        Ok(())
    }

    async fn post(&self, tx: &mut Tx<DB>, posting: &Posting) -> Result<bool, sql::Error> {
        let Posting { transfer, from, to, amount, currency, posted_at_ms } = posting;
        let update = Statement::new(
            "UPDATE transfers SET posted_at_ms = COALESCE(posted_at_ms, $1)
             WHERE id = $2 AND from_account = $3 AND to_account = $4 AND amount = $5 AND currency = $6
               AND state IN ('pending', 'settled')",
        );
        let update = update.bind(*posted_at_ms).bind(transfer).bind(from).bind(to).bind(*amount);
        Ok(self.0.execute(tx, "transfers", update.bind(currency.as_str())).await? == 1)
    }

    async fn spend(
        &self,
        tx: &mut Tx<DB>,
        account: &str,
        day: i64,
        amount: i64,
        limit: i64,
    ) -> Result<bool, sql::Error> {
        if amount > limit {
            return Ok(false);
        }
        // One statement looks and counts: two transfers at once do not both pass.
        let insert = Statement::new(
            "INSERT INTO spent (account, day, amount) VALUES ($1, $2, $3)
             ON CONFLICT (account, day) DO UPDATE SET amount = spent.amount + $3 WHERE spent.amount <= $4 - $3",
        );
        let insert = insert.bind(account).bind(day).bind(amount).bind(limit);
        Ok(self.0.execute(tx, "spent", insert).await? == 1)
    }

    async fn give_back(&self, tx: &mut Tx<DB>, account: &str, day: i64, amount: i64) -> Result<(), sql::Error> {
        let update = "UPDATE spent SET amount = amount - $1 WHERE account = $2 AND day = $3";
        let update = Statement::new(update).bind(amount).bind(account).bind(day);
        self.0.execute(tx, "spent", update).await?;
        Ok(())
    }
}

/// Reads a row.
fn kept<DB: Db>(row: &Row<DB>) -> Result<Kept, sqlx::Error> {
    let unknown = |what: &str, text: &str| sqlx::Error::Decode(format!("there is no {what} `{text}`").into());
    let (currency, state) = (row.text("currency")?, row.text("state")?);
    let risk = row.maybe_text("risk")?.map(|risk| serde_json::from_str(&risk)).transpose();
    let transfer = Transfer {
        id: row.text("id")?,
        from: row.text("from_account")?,
        to: row.text("to_account")?,
        amount: row.int("amount")?,
        currency: Currency::parse(&currency).ok_or_else(|| unknown("currency", &currency))?,
        state: State::parse(&state).ok_or_else(|| unknown("state", &state))?,
        reason: row.maybe_text("reason")?,
        risk: risk.map_err(|error| sqlx::Error::Decode(error.into()))?,
        posted_at_ms: row.maybe_int("posted_at_ms")?,
    };
    Ok(Kept { transfer, asked_by: row.text("asked_by")? })
}

#[cfg(test)]
pub(crate) mod tests {
    use example_sql::{on_both, testing::Fixture};

    use super::*;
    use crate::transfer::Decision;

    on_both!(a_key_makes_one_transfer_in_two_replicas_at_once, a_transfer_ends_once, what_goes_out_on_a_day_is_limited);

    fn new(id: &str, asked_by: &str) -> Moving {
        let transfer = Transfer {
            id: id.to_owned(),
            from: "a-1".to_owned(),
            to: "a-2".to_owned(),
            amount: 500,
            currency: Currency::Eur,
            state: State::Pending,
            reason: None,
            risk: None,
            posted_at_ms: None,
        };
        Moving { transfer, asked_by: asked_by.to_owned(), asked_at_ms: 1, no: None, is_spent: false }
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey(text.to_owned())
    }

    /// Another replica's.
    pub(crate) async fn open<DB: Db>(fixture: &Fixture<DB>) -> SqlTransfers<DB> {
        SqlTransfers(fixture.open(&sqlx::migrate!()).await.with_messages().await.unwrap())
    }

    async fn keep<DB: Db>(transfers: &SqlTransfers<DB>, moving: &Moving, key: &IdempotencyKey) -> bool {
        let mut tx = sql::begin(transfers.pool()).await.unwrap();
        let is_kept = transfers.keep(&mut tx, moving, key).await.unwrap();
        tx.commit().await.unwrap();
        is_kept
    }

    async fn a_key_makes_one_transfer_in_two_replicas_at_once<DB: Db>(fixture: Fixture<DB>) {
        let (one, other) = tokio::join!(open(&fixture), open(&fixture));
        let (first, second) = (new("t-1", "ada"), new("t-2", "ada"));
        let k1 = key("k1");
        let kept = tokio::join!(keep(&one, &first, &k1), keep(&other, &second, &k1));
        assert!(kept.0 != kept.1, "{kept:?}");
        let id = if kept.0 { "t-1" } else { "t-2" };
        assert_eq!(one.find_by_key("ada", &k1).await.unwrap().unwrap().transfer.id, id);
        // What another calls his is another request.
        assert!(keep(&one, &new("t-9", "bob"), &key("k1")).await);
        assert!(one.find_by_key("eve", &key("k1")).await.unwrap().is_none());
        assert_eq!(one.list(State::Pending, Some("bob"), 9).await.unwrap().len(), 1);
        assert_eq!(one.list(State::Pending, None, 9).await.unwrap().len(), 2);
        assert_eq!(one.list(State::Pending, None, 1).await.unwrap().len(), 1);
        assert!(one.list(State::Settled, None, 9).await.unwrap().is_empty());
    }

    async fn a_transfer_ends_once<DB: Db>(fixture: Fixture<DB>) {
        let transfers = open(&fixture).await;
        assert!(keep(&transfers, &new("t-1", "ada"), &key("k1")).await);
        let risk = Risk { decision: Decision::Allow, score: Some(0.25), by: "model 1".to_owned() };
        let mut tx = sql::begin(transfers.pool()).await.unwrap();
        let end = End { state: State::Settled, reason: None, risk: Some(&risk) };
        transfers.end(&mut tx, "t-1", &end).await.unwrap();
        let other = End { state: State::Declined, reason: Some("risk"), risk: None };
        transfers.end(&mut tx, "t-1", &other).await.unwrap();
        // It is posted once, and only as what it is.
        let posting = |posted_at_ms| Posting {
            transfer: "t-1".to_owned(),
            from: "a-1".to_owned(),
            to: "a-2".to_owned(),
            amount: 500,
            currency: Currency::Eur,
            posted_at_ms,
        };
        let others = [
            Posting { transfer: "t-2".to_owned(), ..posting(7) },
            Posting { from: "a-2".to_owned(), to: "a-1".to_owned(), ..posting(7) },
            Posting { to: "a-3".to_owned(), ..posting(7) },
            Posting { amount: 501, ..posting(7) },
            Posting { currency: Currency::Usd, ..posting(7) },
            Posting { transfer: "t-declined".to_owned(), ..posting(7) },
        ];
        assert!(transfers.keep(&mut tx, &new("t-declined", "ada"), &key("k2")).await.unwrap());
        transfers.end(&mut tx, "t-declined", &other).await.unwrap();
        for other in others {
            assert!(!transfers.post(&mut tx, &other).await.unwrap(), "{other:?}");
        }
        assert!(transfers.post(&mut tx, &posting(7)).await.unwrap());
        assert!(transfers.post(&mut tx, &posting(8)).await.unwrap());
        tx.commit().await.unwrap();
        let found = transfers.find("t-1").await.unwrap().unwrap().transfer;
        assert_eq!(
            (found.state, found.reason, found.risk, found.posted_at_ms),
            (State::Settled, None, Some(risk), Some(7))
        );
    }

    async fn what_goes_out_on_a_day_is_limited<DB: Db>(fixture: Fixture<DB>) {
        let transfers = open(&fixture).await;
        let mut tx = sql::begin(transfers.pool()).await.unwrap();
        for (account, day, amount, expect) in [
            ("a-1", 1, 101, false),
            ("a-1", 1, 60, true),
            ("a-1", 1, 41, false),
            ("a-1", 1, 40, true),
            ("a-1", 1, 1, false),
            ("a-1", 2, 100, true),
            ("a-2", 1, 100, true),
        ] {
            let is_within = transfers.spend(&mut tx, account, day, amount, 100).await.unwrap();
            assert_eq!(is_within, expect, "{account} {day} {amount}");
        }
        transfers.give_back(&mut tx, "a-1", 1, 40).await.unwrap();
        assert!(transfers.spend(&mut tx, "a-1", 1, 40, 100).await.unwrap());
    }
}
