//! The service on SQLite and on a real PostgreSQL: the same tests on both.

mod concurrent;
mod http;
mod model;
mod refused;

use bowline::{Microservice, Settings};
use example_sql::{Db, Sql, testing::Fixture};

use crate::{
    account::{Account, Currency, Deposit, NewAccount, NewHold, Terms},
    repository::{AccountRepository as _, SqlAccounts},
};

/// Another replica's connections.
async fn sql<DB: Db>(fixture: &Fixture<DB>) -> Sql<DB> {
    fixture.open(&sqlx::migrate!()).await.with_messages().await.unwrap()
}

/// Another replica.
async fn accounts<DB: Db>(fixture: &Fixture<DB>) -> SqlAccounts<DB> {
    let service = Microservice::new(Settings::from_vars("account", []).unwrap());
    SqlAccounts::new(sql(fixture).await, service.topic("account.posted"))
}

/// Opens an account.
async fn open<DB: Db>(accounts: &SqlAccounts<DB>, id: &str, owner: &str, credit_limit: i64) -> Account {
    let [id, owner, opened_by] = [id, owner, "teller"].map(str::to_owned);
    let new = NewAccount { id, owner, currency: Currency::Eur, credit_limit, opened_by, key: None, owned_max: None };
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
