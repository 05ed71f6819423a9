//! Where the bank keeps its decisions.

use bowline::Database;
use example_sql::Sqlite;
use serde::Serialize;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct Ledger {
    /// Transfers settled.
    pub(crate) settled: i64,
    /// Transfers declined.
    pub(crate) declined: i64,
    /// What the settled ones moved, in minor units.
    pub(crate) amount: i64,
}

/// What the bank needs of its store.
pub(crate) trait BankRepository {
    /// Decides a transfer, once for each reference: whether it is settled, the first time and any
    /// later one. `None`: the reference names a transfer of another card or amount.
    async fn decide(&self, transfer: &Transfer) -> Result<Option<bool>, sqlx::Error>;

    /// Takes a transfer back: it moves nothing, whether it was settled or is still to come.
    async fn reverse(&self, reference: &str) -> Result<(), sqlx::Error>;

    /// The transfer of a reference, and what became of it.
    async fn find(&self, reference: &str) -> Result<Option<(Transfer, Status)>, sqlx::Error>;

    /// The sums.
    async fn ledger(&self) -> Result<Ledger, sqlx::Error>;
}

/// The bank in SQLite.
#[derive(Debug, Clone)]
pub(crate) struct SqliteBank(Sqlite);

impl SqliteBank {
    /// Opens the database, made and migrated where need be.
    pub(crate) async fn open(database: Database) -> anyhow::Result<Self> {
        Sqlite::open(database, &sqlx::migrate!()).await.map(Self)
    }
}

impl BankRepository for SqliteBank {
    async fn decide(&self, transfer: &Transfer) -> Result<Option<bool>, sqlx::Error> {
        let Transfer { reference, card, amount } = transfer;
        // One statement decides and keeps the decision; the reference's first row wins.
        let insert = sqlx::query(
            "INSERT INTO transfers (reference, card, amount, is_settled)
             VALUES (?1, ?2, ?3, EXISTS (SELECT 1 FROM cards WHERE card = ?2 AND is_active = 1)
                                 AND NOT EXISTS (SELECT 1 FROM reversals WHERE reference = ?1))
             ON CONFLICT (reference) DO NOTHING",
        );
        let insert = insert.bind(reference).bind(card).bind(amount).execute(self.0.pool());
        self.0.query("INSERT", "transfers", insert).await?;
        let select =
            "SELECT is_settled AND NOT EXISTS (SELECT 1 FROM reversals WHERE reversals.reference = transfers.reference)
                      FROM transfers WHERE reference = ? AND card = ? AND amount = ?";
        let select = sqlx::query_scalar(select).bind(reference).bind(card).bind(amount);
        self.0.query("SELECT", "transfers", select.fetch_optional(self.0.pool())).await
    }

    async fn reverse(&self, reference: &str) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("INSERT INTO reversals (reference) VALUES (?) ON CONFLICT DO NOTHING").bind(reference);
        self.0.query("INSERT", "reversals", insert.execute(self.0.pool())).await.map(drop)
    }

    async fn find(&self, reference: &str) -> Result<Option<(Transfer, Status)>, sqlx::Error> {
        let select = "SELECT card, amount, is_settled, EXISTS (SELECT 1 FROM reversals WHERE reference = ?1)
                      FROM transfers WHERE reference = ?1";
        let select = sqlx::query_as(select).bind(reference).fetch_optional(self.0.pool());
        let row: Option<(String, i64, bool, bool)> = self.0.query("SELECT", "transfers", select).await?;
        Ok(row.map(|(card, amount, is_settled, is_reversed)| {
            let status = match (is_settled, is_reversed) {
                (true, false) => Status::Settled,
                (true, true) => Status::Reversed,
                (false, _) => Status::Declined,
            };
            (Transfer { reference: reference.to_owned(), card, amount }, status)
        }))
    }

    async fn ledger(&self) -> Result<Ledger, sqlx::Error> {
        let select = sqlx::query_as(
            "SELECT COALESCE(SUM(is_settled AND reversals.reference IS NULL), 0) AS settled,
                    COALESCE(SUM(1 - is_settled), 0) AS declined,
                    COALESCE(SUM(amount * (is_settled AND reversals.reference IS NULL)), 0) AS amount
             FROM transfers LEFT JOIN reversals USING (reference)",
        );
        self.0.query("SELECT", "transfers", select.fetch_one(self.0.pool())).await
    }
}

#[cfg(test)]
mod tests {
    use bowline::runtime::task;

    use super::*;

    fn transfer(reference: &str, card: &str, amount: i64) -> Transfer {
        Transfer { reference: reference.to_owned(), card: card.to_owned(), amount }
    }

    #[tokio::test]
    async fn a_reference_is_decided_once() {
        let dir = tempfile::tempdir().unwrap();
        let bank = SqliteBank::open(Database::at(&format!("sqlite://{}", dir.path().join("bank.db").display())))
            .await
            .unwrap();
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

    #[tokio::test]
    async fn what_is_taken_back_moves_nothing_before_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let bank = SqliteBank::open(Database::at(&format!("sqlite://{}", dir.path().join("bank.db").display())))
            .await
            .unwrap();
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

    #[tokio::test]
    async fn many_replicas_open_it_at_once_and_other_failures_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("new.db").display());
        let opening = (0..8).map(|_| {
            let url = url.clone();
            task::spawn(async move { SqliteBank::open(Database::at(&url)).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
        let url = format!("sqlite://{}", dir.path().join("missing/new.db").display());
        let error = SqliteBank::open(Database::at(&url)).await.unwrap_err();
        assert!(!example_sql::is_race(&error), "{error:#}");
    }
}
