//! Where the books are kept, in SQLite or PostgreSQL: one body for both.
//!
//! What is decided is decided under locks, so that concurrent transfers have the outcome of some order of them. In
//! SQLite the transaction that writes is alone. In PostgreSQL it is `READ COMMITTED`, and locks what it decides by: the
//! row that names what is asked for (a hold, a posting) first, then the accounts in the order of their ids. So nobody
//! waits in a circle, and nothing has to be tried again, as it would under `SERIALIZABLE`, where many transfers among
//! few accounts mostly abort each other. All that a decision needs (balance, held, limit) is in the locked row; what is
//! read without a lock (owner, currency) never changes. A constraint of the table is the last guard of the limit.

mod holds;
mod posted;
mod reading;

use bowline::{
    HandlerError, Topic,
    runtime::time,
    sql::{self, Outbox, Tx},
};
use example_sql::{Db, Row, Sql, Statement};
use serde::Serialize;

use crate::{
    account::{Account, Books, Currency, Deposit, Deposited, Hold, Line, NewAccount, NewHold, Refusal, Terms},
    posting::Unbalanced,
};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("it was refused")]
    Refused(#[from] Refusal),
    #[error("the database failed")]
    Database(#[from] sql::Error),
    #[error("the posting is none")]
    Unbalanced(#[from] Unbalanced),
    #[error("the message cannot be made")]
    Message(#[from] bowline::messages::Error),
    #[error("the books hold what cannot be: {0}")]
    Books(&'static str),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Error> for HandlerError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Database(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

/// What was asked for, and whether it was done now: the same asked for again is what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done<T> {
    pub(crate) value: T,
    pub(crate) is_new: bool,
}

impl<T> Done<T> {
    fn now(value: T) -> Self {
        Self { value, is_new: true }
    }

    fn before(value: T) -> Self {
        Self { value, is_new: false }
    }
}

/// What the service needs of its store.
pub(crate) trait AccountRepository: Send + Sync + 'static {
    /// Opens an account, once for each key of who asks.
    fn open(&self, new: &NewAccount) -> impl Future<Output = Result<Done<Account>, Error>> + Send;

    /// The account of that id.
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<Account>, Error>> + Send;

    /// Posts a deposit, once for each reference.
    fn deposit(&self, deposit: &Deposit) -> impl Future<Output = Result<Done<Deposited>, Error>> + Send;

    /// Sets money aside for a transfer, once.
    fn hold(&self, new: &NewHold) -> impl Future<Output = Result<Done<Hold>, Error>> + Send;

    /// Moves what was set aside, once, and tells of it in the same transaction.
    fn capture(&self, transfer: &str) -> impl Future<Output = Result<Done<Hold>, Error>> + Send;

    /// Frees what was set aside; what comes later under that name is not set aside.
    fn release(&self, transfer: &str) -> impl Future<Output = Result<Done<Hold>, Error>> + Send;

    /// Up to so many lines of what was posted to an account in a time, the oldest first.
    fn statement(
        &self,
        account: &str,
        bounds: (i64, i64),
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Line>, Error>> + Send;

    /// The books, added up anew.
    fn books(&self) -> impl Future<Output = Result<Vec<Books>, Error>> + Send;
}

/// Accounts in a database, shared by the replicas.
#[derive(Debug)]
pub(crate) struct SqlAccounts<DB: Db> {
    sql: Sql<DB>,
    outbox: Outbox<DB>,
    /// Where it is told what was posted.
    posted: Topic,
}

/// What is told of a transfer that was posted.
#[derive(Debug, Serialize)]
struct Told<'a> {
    transfer: &'a str,
    #[serde(flatten)]
    terms: &'a Terms,
    posted_at_ms: i64,
}

impl<DB: Db> SqlAccounts<DB> {
    /// The accounts of a database, and where it is told what is posted.
    pub(crate) fn new(sql: Sql<DB>, posted: Topic) -> Self {
        let outbox = Outbox::new(sql.pool().clone());
        Self { sql, outbox, posted }
    }

    /// Where messages wait that tell of what was posted.
    pub(crate) fn outbox(&self) -> &Outbox<DB> {
        &self.outbox
    }

    /// Puts in a row, unless there is one of that name; whether it did. Waits for another who is about to.
    async fn insert(&self, tx: &mut Tx<DB>, table: &'static str, insert: Statement) -> Result<bool, sqlx::Error> {
        Ok(self.sql.execute(tx, table, insert).await? == 1)
    }
}

impl<DB: Db> AccountRepository for SqlAccounts<DB> {
    async fn open(&self, new: &NewAccount) -> Result<Done<Account>, Error> {
        self.open_account(new).await
    }

    async fn find(&self, id: &str) -> Result<Option<Account>, Error> {
        let mut connection = self.sql.read().await?;
        Ok(self.accounts(&mut connection, [id, id]).await?.pop())
    }

    async fn deposit(&self, deposit: &Deposit) -> Result<Done<Deposited>, Error> {
        self.post_deposit(deposit).await
    }

    async fn hold(&self, new: &NewHold) -> Result<Done<Hold>, Error> {
        self.set_aside(new).await
    }

    async fn capture(&self, transfer: &str) -> Result<Done<Hold>, Error> {
        self.move_held(transfer).await
    }

    async fn release(&self, transfer: &str) -> Result<Done<Hold>, Error> {
        self.free_held(transfer).await
    }

    async fn statement(&self, account: &str, bounds: (i64, i64), limit: usize) -> Result<Vec<Line>, Error> {
        self.lines(account, bounds, limit).await
    }

    async fn books(&self) -> Result<Vec<Books>, Error> {
        self.add_up().await
    }
}

fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)
}

/// The currency in a row.
fn currency<DB: Db>(row: &Row<DB>) -> Result<Currency, Error> {
    Currency::parse(&row.text("currency")?).ok_or(Error::Books("a currency that nobody knows"))
}
