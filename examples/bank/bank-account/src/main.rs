//! The bank's account service: a double-entry ledger of its customers' accounts, and what is set aside in them.

mod account;
mod api;
mod posting;
mod repository;
mod service;
mod statement;
#[cfg(test)]
mod tests;

use bowline::{Microservice, sql::RelaySettings};
use example_sql::{Db, Opened, Sql};

use crate::{repository::SqlAccounts, service::AccountService};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("account")?;
    match example_sql::open(service.own_database()?, &sqlx::migrate!()).await?.with_messages().await? {
        Opened::Sqlite(sql) => serve(service, sql).await,
        Opened::Postgres(sql) => serve(service, sql).await,
    }
}

async fn serve<DB: Db>(mut service: Microservice, sql: Sql<DB>) -> anyhow::Result<()> {
    let repository = SqlAccounts::new(sql, service.topic("account.posted"));
    service.relay(repository.outbox(), RelaySettings::default());
    Ok(service.serve(api::app(AccountService { repository })).await?)
}
