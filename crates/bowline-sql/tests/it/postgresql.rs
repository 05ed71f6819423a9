//! The suite on a PostgreSQL server of its own for each test.

use bowline_testkit::postgresql::Server;
use sqlx::postgres::PgPoolOptions;

type DB = sqlx::Postgres;

struct Fixture(Server);

impl Fixture {
    async fn new() -> Option<Self> {
        let fixture = Self(Server::start()?);
        bowline_sql::migrate(&fixture.pool().await).await.unwrap();
        Some(fixture)
    }

    /// Writes into `effects` whenever a saga's row is written.
    const NOTE_WRITES: [&str; 2] = [
        "CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO effects VALUES ('written'); RETURN NEW; END $$",
        "CREATE TRIGGER written AFTER UPDATE ON bowline_sagas FOR EACH ROW EXECUTE FUNCTION written()",
    ];

    /// Another replica.
    async fn pool(&self) -> sqlx::Pool<DB> {
        self.pool_of(PgPoolOptions::new().max_connections(8)).await
    }

    async fn pool_of(&self, pool: PgPoolOptions) -> sqlx::Pool<DB> {
        pool.connect(&self.0.url("postgres")).await.unwrap()
    }
}

#[expect(clippy::duplicate_mod, reason = "the same suite runs on both databases")]
#[path = "suite/mod.rs"]
mod suite;
