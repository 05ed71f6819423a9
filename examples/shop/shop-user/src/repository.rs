//! Where users, their credentials and the signing keys are kept.

use std::fmt;

use bowline::{
    Database,
    messages::port::NewMessage,
    sql::{self, Outbox},
};
use example_sql::Sqlite;
use serde::Serialize;

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The card that is charged: the bank's reference, never a number.
    pub(crate) card: String,
}

/// Who signs in with an email address, and the hash of the password.
#[derive(Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Account {
    pub(crate) user_id: String,
    /// A PHC string.
    pub(crate) password_hash: String,
}

/// A key that tokens are signed with.
#[derive(Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct SigningKey {
    pub(crate) key_id: String,
    /// The private key.
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) created_at_ms: i64,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// What the service needs of its store of users.
pub(crate) trait UserRepository: Send + Sync {
    /// The user of that id.
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<User>, sqlx::Error>> + Send;

    /// Who signs in with that email address, in any case.
    fn account(&self, email: &str) -> impl Future<Output = Result<Option<Account>, sqlx::Error>> + Send;
}

/// What the service needs of its store of signing keys.
pub(crate) trait KeyRepository: Send + Sync {
    /// The keys, oldest first.
    fn keys(&self) -> impl Future<Output = Result<Vec<SigningKey>, sqlx::Error>> + Send;

    /// Keeps a key, unless there is one that was made after `newest_before_ms`; whether it did. Of
    /// replicas that ask at once, one does.
    fn add_key(
        &self,
        key: &SigningKey,
        newest_before_ms: i64,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Forgets the keys that were followed by another at `followed_before_ms` or earlier.
    fn forget_keys(&self, followed_before_ms: i64) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// All of it in SQLite, shared by the replicas.
#[derive(Debug, Clone)]
pub(crate) struct SqliteUsers(Sqlite, Outbox<sqlx::Sqlite>);

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    Now,
    /// Somebody has that email address.
    Taken,
}

impl SqliteUsers {
    /// Opens the database, made and migrated where need be.
    pub(crate) async fn open(database: Database) -> anyhow::Result<Self> {
        let sqlite = Sqlite::open(database, &sqlx::migrate!()).await?;
        sql::migrate(sqlite.pool()).await?;
        let outbox = Outbox::new(sqlite.pool().clone());
        Ok(Self(sqlite, outbox))
    }

    /// Where messages wait that tell of users.
    pub(crate) fn outbox(&self) -> &Outbox<sqlx::Sqlite> {
        &self.1
    }

    /// Keeps a new user and what it signs in with, and what is told of it, as one.
    pub(crate) async fn register(
        &self,
        user: &User,
        email: &str,
        password_hash: &str,
        (topic, told): (&str, NewMessage),
    ) -> Result<Registered, sql::Error> {
        let User { id, name, card } = user;
        let mut tx = self.1.begin().await?;
        let insert = sqlx::query("INSERT INTO users (id, name, card) VALUES (?, ?, ?)").bind(id).bind(name).bind(card);
        self.0.query("INSERT", "users", insert.execute(&mut *tx)).await?;
        let insert = "INSERT INTO credentials (email, user_id, password_hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(email).bind(id).bind(password_hash).execute(&mut *tx);
        if self.0.query("INSERT", "credentials", insert).await?.rows_affected() == 0 {
            return Ok(Registered::Taken);
        }
        sql::publish(&mut tx, topic, told).await?;
        self.1.commit(tx).await?;
        Ok(Registered::Now)
    }

    /// Changes a user, and keeps what is told of it, as one; whether there is such a user.
    pub(crate) async fn change(&self, user: &User, (topic, told): (&str, NewMessage)) -> Result<bool, sql::Error> {
        let User { id, name, card } = user;
        let mut tx = self.1.begin().await?;
        let update = sqlx::query("UPDATE users SET name = ?, card = ? WHERE id = ?").bind(name).bind(card).bind(id);
        if self.0.query("UPDATE", "users", update.execute(&mut *tx)).await?.rows_affected() == 0 {
            return Ok(false);
        }
        sql::publish(&mut tx, topic, told).await?;
        self.1.commit(tx).await?;
        Ok(true)
    }

    /// What waits to be told: topics and keys.
    #[cfg(test)]
    pub(crate) async fn told(&self) -> Vec<(String, String)> {
        let select = sqlx::query_as("SELECT topic, ordering_key FROM bowline_outbox ORDER BY rowid");
        select.fetch_all(self.0.pool()).await.unwrap()
    }
}

impl UserRepository for SqliteUsers {
    async fn find(&self, id: &str) -> Result<Option<User>, sqlx::Error> {
        let select = sqlx::query_as("SELECT id, name, card FROM users WHERE id = ?").bind(id);
        self.0.query("SELECT", "users", select.fetch_optional(self.0.pool())).await
    }

    async fn account(&self, email: &str) -> Result<Option<Account>, sqlx::Error> {
        let select = sqlx::query_as("SELECT user_id, password_hash FROM credentials WHERE email = ?");
        self.0.query("SELECT", "credentials", select.bind(email).fetch_optional(self.0.pool())).await
    }
}

impl KeyRepository for SqliteUsers {
    async fn keys(&self) -> Result<Vec<SigningKey>, sqlx::Error> {
        let select = "SELECT key_id, pkcs8, created_at_ms FROM signing_keys ORDER BY created_at_ms, key_id";
        self.0.query("SELECT", "signing_keys", sqlx::query_as(select).fetch_all(self.0.pool())).await
    }

    async fn add_key(&self, key: &SigningKey, newest_before_ms: i64) -> Result<bool, sqlx::Error> {
        // One statement looks and writes: SQLite has one writer at a time.
        let insert = sqlx::query(
            "INSERT INTO signing_keys (key_id, pkcs8, created_at_ms) SELECT ?, ?, ?
             WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE created_at_ms > ?)",
        );
        let SigningKey { key_id, pkcs8, created_at_ms } = key;
        let insert = insert.bind(key_id).bind(pkcs8).bind(created_at_ms).bind(newest_before_ms);
        let inserted = self.0.query("INSERT", "signing_keys", insert.execute(self.0.pool())).await?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn forget_keys(&self, followed_before_ms: i64) -> Result<(), sqlx::Error> {
        let delete = sqlx::query(
            "DELETE FROM signing_keys WHERE created_at_ms <
             (SELECT MAX(created_at_ms) FROM signing_keys WHERE created_at_ms <= ?)",
        );
        let delete = delete.bind(followed_before_ms).execute(self.0.pool());
        self.0.query("DELETE", "signing_keys", delete).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use bowline::runtime::task;

    use super::*;

    #[tokio::test]
    async fn the_seeded_users_are_there_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("user.db").display());
        let users = SqliteUsers::open(Database::at(&url)).await.unwrap();
        for (id, card) in [("u-1", "card-4242"), ("u-2", "card-0002"), ("u-load-0", "card-4242")] {
            assert_eq!(users.find(id).await.unwrap().unwrap().card, card);
        }
        assert_eq!(users.find("u-9").await.unwrap(), None);
        for (email, id) in [("ada@example.com", "u-1"), ("Bob@Example.com", "u-2")] {
            assert_eq!(users.account(email).await.unwrap().unwrap().user_id, id);
        }
        for number in 0..64 {
            let account = users.account(&format!("load-{number}@example.com")).await.unwrap().unwrap();
            assert_eq!(account.user_id, format!("u-load-{number}"));
            assert!(users.find(&account.user_id).await.unwrap().is_some());
        }
        for email in ["load-64@example.com", "", "ada@example.com ", "%"] {
            assert!(users.account(email).await.unwrap().is_none(), "{email}");
        }
        // A second start finds the migrations applied.
        drop(users);
        SqliteUsers::open(Database::at(&url)).await.unwrap();
    }

    #[tokio::test]
    async fn many_replicas_open_it_at_once_and_other_failures_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("new.db").display());
        let opening = (0..8).map(|_| {
            let url = url.clone();
            task::spawn(async move { SqliteUsers::open(Database::at(&url)).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
        let url = format!("sqlite://{}", dir.path().join("missing/new.db").display());
        let error = SqliteUsers::open(Database::at(&url)).await.unwrap_err();
        assert!(!example_sql::is_race(&error), "{error:#}");
    }
}
