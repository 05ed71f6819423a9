//! What is read of the books.

use example_sql::{Db, Row, Statement};

use super::{Error, SqlAccounts, currency};
use crate::account::{Account, Books, Line};

/// The columns of an account.
macro_rules! select_accounts {
    ($rest:literal) => {
        concat!(
            "SELECT id, owner, currency, credit_limit, balance, held, entries, last_posted_ms, opened_ms FROM accounts ",
            $rest
        )
    };
}

pub(super) use select_accounts;

impl<DB: Db> SqlAccounts<DB> {
    /// Two accounts as they are, in the order of their ids; of those that there are.
    pub(super) async fn accounts(
        &self,
        connection: &mut DB::Connection,
        ids: [&str; 2],
    ) -> Result<Vec<Account>, Error> {
        let select = Statement::new(select_accounts!("WHERE id IN ($1, $2) ORDER BY id"));
        self.accounts_of(connection, select.bind(ids[0]).bind(ids[1])).await
    }

    /// The same, locked until the transaction ends.
    pub(super) async fn lock(&self, connection: &mut DB::Connection, ids: [&str; 2]) -> Result<Vec<Account>, Error> {
        let select = Statement::new(select_accounts!("WHERE id IN ($1, $2) ORDER BY id"));
        self.accounts_of(connection, select.bind(ids[0]).bind(ids[1]).locking()).await
    }

    pub(super) async fn accounts_of(
        &self,
        connection: &mut DB::Connection,
        select: Statement,
    ) -> Result<Vec<Account>, Error> {
        let rows = self.sql.rows(connection, "accounts", select).await?;
        rows.iter().map(account).collect()
    }

    /// Each leg has one other: a posting has two.
    pub(super) async fn lines(&self, account: &str, (from, to): (i64, i64), limit: usize) -> Result<Vec<Line>, Error> {
        let select = Statement::new(
            "SELECT posted_ms, legs.transaction_id, legs.amount, legs.currency, legs.balance,
                    other.account AS counterparty
             FROM legs JOIN ledger_transactions ON ledger_transactions.id = legs.transaction_id
             JOIN legs AS other ON other.transaction_id = legs.transaction_id AND other.account <> legs.account
             WHERE legs.account = $1 AND posted_ms >= $2 AND posted_ms < $3 ORDER BY legs.entry LIMIT $4",
        );
        let select = select.bind(account).bind(from).bind(to).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut connection = self.sql.read().await?;
        let rows = self.sql.rows(&mut connection, "legs", select).await?;
        rows.iter().map(line).collect()
    }

    /// One statement, so that all of it is of one moment.
    pub(super) async fn add_up(&self) -> Result<Vec<Books>, Error> {
        let select = Statement::new(
            "SELECT cash.currency AS currency,
               (SELECT COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM legs WHERE legs.currency = cash.currency) AS sum,
               (SELECT COUNT(*) FROM legs WHERE legs.currency = cash.currency) AS legs,
               COALESCE(CAST(SUM(customer.balance) AS BIGINT), 0) AS customers,
               COALESCE(CAST(SUM(customer.held) AS BIGINT), 0) AS held,
               COUNT(customer.id) AS accounts,
               (SELECT COUNT(*) FROM (SELECT transaction_id FROM legs WHERE legs.currency = cash.currency
                                      GROUP BY transaction_id HAVING SUM(amount) <> 0) AS unbalanced)
               + (SELECT COUNT(*) FROM accounts AS a WHERE a.currency = cash.currency AND (
                    a.balance <> (SELECT COALESCE(SUM(amount), 0) FROM legs WHERE account = a.id)
                    OR a.entries <> (SELECT COUNT(*) FROM legs WHERE account = a.id)
                    OR a.held <> (SELECT COALESCE(SUM(amount), 0) FROM holds
                                  WHERE from_account = a.id AND state = 'held')
                    OR (a.owner IS NOT NULL AND a.balance - a.held + a.credit_limit < 0))) AS faults
             FROM accounts AS cash
             LEFT JOIN accounts AS customer ON customer.currency = cash.currency AND customer.owner IS NOT NULL
             WHERE cash.owner IS NULL GROUP BY cash.currency ORDER BY cash.currency",
        );
        let mut connection = self.sql.read().await?;
        let rows = self.sql.rows(&mut connection, "legs", select).await?;
        rows.iter().map(books).collect()
    }
}

fn account<DB: Db>(row: &Row<DB>) -> Result<Account, Error> {
    let (credit_limit, balance, held) = (row.int("credit_limit")?, row.int("balance")?, row.int("held")?);
    Ok(Account {
        id: row.text("id")?,
        owner: row.maybe_text("owner")?,
        currency: currency(row)?,
        credit_limit,
        balance,
        held,
        available: balance - held + credit_limit,
        opened_at_ms: row.int("opened_ms")?,
        entries: row.int("entries")?,
        last_posted_ms: row.int("last_posted_ms")?,
    })
}

fn line<DB: Db>(row: &Row<DB>) -> Result<Line, Error> {
    Ok(Line {
        posted_at_ms: row.int("posted_ms")?,
        transaction: row.text("transaction_id")?,
        counterparty: row.text("counterparty")?,
        amount: row.int("amount")?,
        currency: currency(row)?,
        balance: row.int("balance")?,
    })
}

fn books<DB: Db>(row: &Row<DB>) -> Result<Books, Error> {
    Ok(Books {
        currency: currency(row)?,
        sum: row.int("sum")?,
        customers: row.int("customers")?,
        held: row.int("held")?,
        accounts: row.int("accounts")?,
        legs: row.int("legs")?,
        faults: row.int("faults")?,
    })
}
