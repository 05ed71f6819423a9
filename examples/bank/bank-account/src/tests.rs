//! The service on SQLite and on a real PostgreSQL: the same tests on both.

mod concurrent;
mod document;
mod http;
mod model;
mod refused;

use std::marker::PhantomData;

use bowline::{Database, Microservice, Settings};
use bowline_testkit::{TempDir, postgresql::Server};
use example_sql::{Db, Sql};
use sqlx::{Postgres, Sqlite};

use crate::{
    account::{Account, Currency, Deposit, NewAccount, NewHold, Terms},
    repository::{AccountRepository as _, SqlAccounts},
};

/// Makes of each function a test on each database.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::tests::Fixture::sqlite()).await;
            })+
        }

        mod postgresql {
            $(#[tokio::test]
            async fn $test() {
                if let Some(fixture) = $crate::tests::Fixture::postgresql() {
                    super::$test(fixture).await;
                }
            })+
        }
    };
}

use on_both;

/// A database of one test.
struct Fixture<DB> {
    url: String,
    _place: Place,
    _database: PhantomData<fn() -> DB>,
}

#[expect(dead_code, reason = "they are there for as long as they are held")]
enum Place {
    Folder(TempDir),
    Server(Server),
}

impl Fixture<Sqlite> {
    fn sqlite() -> Self {
        let dir = bowline_testkit::temp_dir();
        let url = format!("sqlite://{}", dir.path().join("account.db").display());
        Self { url, _place: Place::Folder(dir), _database: PhantomData }
    }
}

impl Fixture<Postgres> {
    /// None where there is no server, which is said.
    fn postgresql() -> Option<Self> {
        let server = Server::start()?;
        Some(Self { url: server.url("account"), _place: Place::Server(server), _database: PhantomData })
    }
}

impl<DB: Db> Fixture<DB> {
    /// Another replica's connections.
    async fn sql(&self) -> Sql<DB> {
        Sql::open(Database::at(&self.url), &sqlx::migrate!()).await.unwrap().with_messages().await.unwrap()
    }

    /// Another replica.
    async fn accounts(&self) -> SqlAccounts<DB> {
        let service = Microservice::new(Settings::from_vars("account", []).unwrap());
        SqlAccounts::new(self.sql().await, service.topic("account.posted"))
    }
}

/// Opens an account.
async fn open<DB: Db>(accounts: &SqlAccounts<DB>, id: &str, owner: &str, credit_limit: i64) -> Account {
    let [id, owner, opened_by] = [id, owner, "teller"].map(str::to_owned);
    let new = NewAccount { id, owner, currency: Currency::Eur, credit_limit, opened_by, key: None };
    accounts.open(&new).await.unwrap().value
}

/// Takes money in.
async fn deposit<DB: Db>(accounts: &SqlAccounts<DB>, account: &str, amount: i64) {
    let reference = format!("of {account}");
    let deposit = Deposit { account: account.to_owned(), amount, currency: Currency::Eur, reference };
    assert!(accounts.deposit(&deposit).await.unwrap().is_new);
}

/// What is to be held in the name of `ada`.
fn new_hold(transfer: &str, from: &str, to: &str, amount: i64) -> NewHold {
    let terms = Terms { from: from.to_owned(), to: to.to_owned(), amount, currency: Currency::Eur };
    NewHold { transfer: transfer.to_owned(), terms, asked_by: "ada".to_owned() }
}
