//! Where the bank keeps its decisions, in SQLite or PostgreSQL.

use bowline::sql;
use example_sql::{Db, Migrations, Row, Sql, Statement};
use serde::Serialize;

/// The tables.
pub(crate) static MIGRATIONS: Migrations =
    Migrations { sqlite: sqlx::migrate!(), postgres: sqlx::migrate!("migrations/postgres") };

/// A transfer as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) reference: String,
    pub(crate) card: String,
    pub(crate) amount: i64,
}

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Settled,
    Declined,
    /// It was settled, and taken back.
    Reversed,
}

/// The sum of what was settled and not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Ledger {
    /// Transfers settled.
    pub(crate) settled: i64,
    /// Transfers declined.
    pub(crate) declined: i64,
    /// What the settled ones moved, in minor units.
    pub(crate) amount: i64,
}

/// What the bank needs of its store.
pub(crate) trait BankRepository: Send + Sync + 'static {
    /// Decides a transfer, once for each reference: whether it is settled, the first time and any
    /// later one. `None`: the reference names a transfer of another card or amount.
    fn decide(&self, transfer: &Transfer) -> impl Future<Output = Result<Option<bool>, sql::Error>> + Send;

    /// Takes a transfer back: it moves nothing, whether it was settled or is still to come.
    fn reverse(&self, reference: &str) -> impl Future<Output = Result<(), sql::Error>> + Send;

    /// The transfer of a reference, and what became of it.
    fn find(&self, reference: &str) -> impl Future<Output = Result<Option<(Transfer, Status)>, sql::Error>> + Send;

    /// The sums.
    fn ledger(&self) -> impl Future<Output = Result<Ledger, sql::Error>> + Send;
}

/// The bank in a database.
///
/// Each change is one statement. Who decides a transfer and who takes it back do not wait for each other: a reversal
/// counts whenever it comes, so that in any order the transfer moves nothing.
#[derive(Debug)]
pub(crate) struct SqlBank<DB: Db>(pub(crate) Sql<DB>);

impl<DB: Db> SqlBank<DB> {
    async fn change(&self, table: &'static str, change: Statement) -> Result<u64, sqlx::Error> {
        self.0.execute(&mut *self.0.read().await?, table, change).await
    }

    async fn row(&self, select: Statement) -> Result<Option<Row<DB>>, sqlx::Error> {
        self.0.row(&mut *self.0.read().await?, "transfers", select).await
    }
}

impl<DB: Db> BankRepository for SqlBank<DB> {
    async fn decide(&self, transfer: &Transfer) -> Result<Option<bool>, sql::Error> {
        let Transfer { reference, card, amount } = transfer;
        // One statement decides and keeps the decision; the reference's first row wins.
        let insert = Statement::new(
            "INSERT INTO transfers (reference, card, amount, is_settled)
             VALUES ($1, $2, $3, CASE WHEN EXISTS (SELECT 1 FROM cards WHERE card = $2 AND is_active = 1)
                                           AND NOT EXISTS (SELECT 1 FROM reversals WHERE reference = $1)
                                      THEN 1 ELSE 0 END)
             ON CONFLICT (reference) DO NOTHING",
        );
        self.change("transfers", insert.bind(reference).bind(card).bind(*amount)).await?;
        let select = Statement::new(
            "SELECT CAST(CASE WHEN is_settled = 1 AND reversals.reference IS NULL THEN 1 ELSE 0 END AS BIGINT) AS moves
             FROM transfers LEFT JOIN reversals ON reversals.reference = transfers.reference
             WHERE transfers.reference = $1 AND card = $2 AND amount = $3",
        );
        let row = self.row(select.bind(reference).bind(card).bind(*amount)).await?;
        row.map(|row| Ok(row.int("moves")? == 1)).transpose()
    }

    async fn reverse(&self, reference: &str) -> Result<(), sql::Error> {
        let insert = Statement::new("INSERT INTO reversals (reference) VALUES ($1) ON CONFLICT (reference) DO NOTHING");
        self.change("reversals", insert.bind(reference)).await?;
        Ok(())
    }

    async fn find(&self, reference: &str) -> Result<Option<(Transfer, Status)>, sql::Error> {
        let select = Statement::new(
            "SELECT card, amount, is_settled, reversals.reference AS reversed
             FROM transfers LEFT JOIN reversals ON reversals.reference = transfers.reference
             WHERE transfers.reference = $1",
        );
        let Some(row) = self.row(select.bind(reference)).await? else { return Ok(None) };
        let status = match (row.int("is_settled")? == 1, row.maybe_text("reversed")?.is_some()) {
            (true, false) => Status::Settled,
            (true, true) => Status::Reversed,
            (false, _) => Status::Declined,
        };
        let transfer =
            Transfer { reference: reference.to_owned(), card: row.text("card")?, amount: row.int("amount")? };
        Ok(Some((transfer, status)))
    }

    async fn ledger(&self) -> Result<Ledger, sql::Error> {
        let select = Statement::new(
            "SELECT CAST(COALESCE(SUM(moves), 0) AS BIGINT) AS settled,
                    CAST(COALESCE(SUM(1 - is_settled), 0) AS BIGINT) AS declined,
                    CAST(COALESCE(SUM(amount * moves), 0) AS BIGINT) AS amount
             FROM (SELECT amount, is_settled,
                          CASE WHEN is_settled = 1 AND reversals.reference IS NULL THEN 1 ELSE 0 END AS moves
                   FROM transfers LEFT JOIN reversals ON reversals.reference = transfers.reference) AS decided",
        );
        let row = self.row(select).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(Ledger { settled: row.int("settled")?, declined: row.int("declined")?, amount: row.int("amount")? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline::runtime::task;
    use example_sql::{on_both, testing::Fixture};

    use super::*;

    on_both!(
        a_reference_is_decided_once,
        what_is_taken_back_moves_nothing_before_and_after,
        replicas_that_are_asked_at_once_decide_once,
        many_replicas_open_it_at_once,
    );

    fn transfer(reference: &str, card: &str, amount: i64) -> Transfer {
        Transfer { reference: reference.to_owned(), card: card.to_owned(), amount }
    }

    async fn bank<DB: Db>(fixture: &Fixture<DB>) -> SqlBank<DB> {
        SqlBank(fixture.open(MIGRATIONS.of::<DB>()).await)
    }

    async fn a_reference_is_decided_once<DB: Db>(fixture: Fixture<DB>) {
        let bank = bank(&fixture).await;
        assert_eq!(bank.ledger().await.unwrap(), Ledger { settled: 0, declined: 0, amount: 0 });
        let good = transfer("o-1", "card-4242", 500);
        assert_eq!(bank.decide(&good).await.unwrap(), Some(true));
        assert_eq!(bank.decide(&good).await.unwrap(), Some(true));
        assert_eq!(bank.decide(&transfer("o-1", "card-4242", 501)).await.unwrap(), None);
        assert_eq!(bank.decide(&transfer("o-2", "card-0002", 500)).await.unwrap(), Some(false));
        assert_eq!(bank.decide(&transfer("o-3", "card-unknown", 500)).await.unwrap(), Some(false));
        assert_eq!(bank.find("o-1").await.unwrap(), Some((good, Status::Settled)));
        assert_eq!(bank.find("o-2").await.unwrap(), Some((transfer("o-2", "card-0002", 500), Status::Declined)));
        assert_eq!(bank.find("o-4").await.unwrap(), None);
        assert_eq!(bank.ledger().await.unwrap(), Ledger { settled: 1, declined: 2, amount: 500 });
    }

    async fn what_is_taken_back_moves_nothing_before_and_after<DB: Db>(fixture: Fixture<DB>) {
        let bank = bank(&fixture).await;
        let (settled, late) = (transfer("o-1", "card-4242", 500), transfer("o-2", "card-4242", 70));
        assert_eq!(bank.decide(&settled).await.unwrap(), Some(true));
        for _ in 0..2 {
            bank.reverse("o-1").await.unwrap();
            bank.reverse("o-2").await.unwrap();
        }
        assert_eq!(bank.find("o-1").await.unwrap().unwrap().1, Status::Reversed);
        assert_eq!(bank.decide(&settled).await.unwrap(), Some(false));
        assert_eq!(bank.decide(&late).await.unwrap(), Some(false));
        assert_eq!(bank.find("o-2").await.unwrap().unwrap().1, Status::Declined);
        assert_eq!(bank.ledger().await.unwrap(), Ledger { settled: 0, declined: 1, amount: 0 });
    }

    async fn replicas_that_are_asked_at_once_decide_once<DB: Db>(fixture: Fixture<DB>) {
        let replicas = [Arc::new(bank(&fixture).await), Arc::new(bank(&fixture).await)];
        let asking = (1..=8).map(|amount| {
            let bank = replicas[usize::from(amount % 2 == 0)].clone();
            task::spawn(
                async move { bank.decide(&transfer("o-1", "card-4242", amount)).await.unwrap().map(|_| amount) },
            )
        });
        let mut decided = Vec::new();
        for asked in asking.collect::<Vec<_>>() {
            decided.extend(asked.await.unwrap());
        }
        let [amount] = decided[..] else { panic!("{decided:?}") };
        assert_eq!(replicas[0].ledger().await.unwrap(), Ledger { settled: 1, declined: 0, amount });
        // Taken back while it is asked for, it moves nothing in the end.
        let late = transfer("o-2", "card-4242", 70);
        let (decided, taken_back) = tokio::join!(replicas[0].decide(&late), replicas[1].reverse("o-2"));
        decided.unwrap();
        taken_back.unwrap();
        assert_eq!(replicas[1].decide(&late).await.unwrap(), Some(false));
        assert_eq!(replicas[0].ledger().await.unwrap().amount, amount);
    }

    async fn many_replicas_open_it_at_once<DB: Db>(fixture: Fixture<DB>) {
        for bank in Arc::new(fixture).at_once(|fixture| async move { bank(&fixture).await }).await {
            assert_eq!(bank.find("o-1").await.unwrap(), None);
        }
    }
}
