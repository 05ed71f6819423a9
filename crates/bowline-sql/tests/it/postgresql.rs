//! The suite on a PostgreSQL server of its own for each test.

use sqlx::postgres::PgPoolOptions;

type DB = sqlx::Postgres;

struct Fixture(crate::server::Server);

impl Fixture {
    async fn new() -> Option<Self> {
        let fixture = Self(crate::server::Server::start()?);
        bowline_sql::migrate(&fixture.pool().await).await.unwrap();
        Some(fixture)
    }

    /// Another replica.
    async fn pool(&self) -> sqlx::Pool<DB> {
        PgPoolOptions::new().max_connections(8).connect_with(self.0.options()).await.unwrap()
    }
}

#[expect(clippy::duplicate_mod, reason = "the same suite runs on both databases")]
#[path = "suite/mod.rs"]
mod suite;
