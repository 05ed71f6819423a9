//! Where users, their credentials and the signing keys are kept, in SQLite or PostgreSQL.

use std::fmt;

use bowline::{
    messages::port::NewMessage,
    sql::{self, Outbox},
};
use example_sql::{Db, Migrations, Row, Sql, Statement};
use serde::Serialize;

/// The tables.
pub(crate) static MIGRATIONS: Migrations =
    Migrations { sqlite: sqlx::migrate!(), postgres: sqlx::migrate!("migrations/postgres") };

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The card that is charged: the bank's reference, never a number.
    pub(crate) card: String,
}

/// Who signs in with an email address, and the hash of the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user_id: String,
    /// A PHC string.
    pub(crate) password_hash: String,
}

/// A key that tokens are signed with.
#[derive(Clone, PartialEq, Eq)]
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
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<User>, sql::Error>> + Send;

    /// Who signs in with that email address, in any case.
    fn account(&self, email: &str) -> impl Future<Output = Result<Option<Account>, sql::Error>> + Send;
}

/// What the service needs of its store of signing keys.
pub(crate) trait KeyRepository: Send + Sync {
    /// The keys, oldest first.
    fn keys(&self) -> impl Future<Output = Result<Vec<SigningKey>, sql::Error>> + Send;

    /// Keeps a key, unless there is one that was made after `newest_before_ms`; whether it did. Of
    /// replicas that ask at once, one does.
    fn add_key(&self, key: &SigningKey, newest_before_ms: i64)
    -> impl Future<Output = Result<bool, sql::Error>> + Send;

    /// Forgets the keys that were followed by another at `followed_before_ms` or earlier.
    fn forget_keys(&self, followed_before_ms: i64) -> impl Future<Output = Result<(), sql::Error>> + Send;
}

/// All of it in a database, shared by the replicas. Cheap to clone.
#[derive(Debug)]
pub(crate) struct SqlUsers<DB: Db> {
    sql: Sql<DB>,
    outbox: Outbox<DB>,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    Now,
    /// Somebody has that email address.
    Taken,
}

impl<DB: Db> SqlUsers<DB> {
    /// The users of a database.
    pub(crate) fn new(sql: Sql<DB>) -> Self {
        let outbox = Outbox::new(sql.pool().clone());
        Self { sql, outbox }
    }

    /// Where messages wait that tell of users.
    pub(crate) fn outbox(&self) -> &Outbox<DB> {
        &self.outbox
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
        let mut tx = self.outbox.begin().await?;
        let insert = Statement::new("INSERT INTO users (id, name, card) VALUES ($1, $2, $3)");
        self.sql.execute(&mut tx, "users", insert.bind(id).bind(name).bind(card)).await?;
        let insert = Statement::new(
            "INSERT INTO credentials (email, user_id, password_hash) VALUES ($1, $2, $3) ON CONFLICT (email) DO NOTHING",
        );
        let insert = insert.bind(in_one_case(email)).bind(id).bind(password_hash);
        if self.sql.execute(&mut tx, "credentials", insert).await? == 0 {
            return Ok(Registered::Taken);
        }
        sql::publish(&mut tx, topic, told).await?;
        self.outbox.commit(tx).await?;
        Ok(Registered::Now)
    }

    /// Changes a user, and keeps what is told of it, as one; whether there is such a user.
    pub(crate) async fn change(&self, user: &User, (topic, told): (&str, NewMessage)) -> Result<bool, sql::Error> {
        let User { id, name, card } = user;
        let mut tx = self.outbox.begin().await?;
        let update = Statement::new("UPDATE users SET name = $1, card = $2 WHERE id = $3");
        if self.sql.execute(&mut tx, "users", update.bind(name).bind(card).bind(id)).await? == 0 {
            return Ok(false);
        }
        sql::publish(&mut tx, topic, told).await?;
        self.outbox.commit(tx).await?;
        Ok(true)
    }

    async fn rows(&self, table: &'static str, select: Statement) -> Result<Vec<Row<DB>>, sql::Error> {
        Ok(self.sql.rows(&mut *self.sql.read().await?, table, select).await?)
    }

    /// What waits to be told: topics and keys.
    #[cfg(test)]
    pub(crate) async fn told(&self) -> Vec<(String, String)> {
        let select = Statement::new("SELECT topic, ordering_key FROM bowline_outbox ORDER BY seq");
        let rows = self.rows("bowline_outbox", select).await.unwrap();
        rows.iter().map(|row| (row.text("topic").unwrap(), row.text("ordering_key").unwrap())).collect()
    }
}

impl<DB: Db> Clone for SqlUsers<DB> {
    fn clone(&self) -> Self {
        Self { sql: self.sql.clone(), outbox: self.outbox.clone() }
    }
}

impl<DB: Db> UserRepository for SqlUsers<DB> {
    async fn find(&self, id: &str) -> Result<Option<User>, sql::Error> {
        let select = Statement::new("SELECT id, name, card FROM users WHERE id = $1").bind(id);
        let user = |row: &Row<DB>| Ok(User { id: row.text("id")?, name: row.text("name")?, card: row.text("card")? });
        self.rows("users", select).await?.first().map(user).transpose()
    }

    async fn account(&self, email: &str) -> Result<Option<Account>, sql::Error> {
        let select = Statement::new("SELECT user_id, password_hash FROM credentials WHERE email = $1");
        let account =
            |row: &Row<DB>| Ok(Account { user_id: row.text("user_id")?, password_hash: row.text("password_hash")? });
        self.rows("credentials", select.bind(in_one_case(email))).await?.first().map(account).transpose()
    }
}

impl<DB: Db> KeyRepository for SqlUsers<DB> {
    async fn keys(&self) -> Result<Vec<SigningKey>, sql::Error> {
        let select = "SELECT key_id, pkcs8, created_at_ms FROM signing_keys ORDER BY created_at_ms, key_id";
        let key = |row: &Row<DB>| {
            let (key_id, pkcs8) = (row.text("key_id")?, row.bytes("pkcs8")?);
            Ok(SigningKey { key_id, pkcs8, created_at_ms: row.int("created_at_ms")? })
        };
        self.rows("signing_keys", Statement::new(select)).await?.iter().map(key).collect()
    }

    async fn add_key(&self, key: &SigningKey, newest_before_ms: i64) -> Result<bool, sql::Error> {
        let mut tx = self.sql.begin().await?;
        // Who comes second looks when the first has written: the row is locked before it looks.
        let turn = Statement::new("SELECT number FROM signing_turn").locking();
        self.sql.row(&mut tx, "signing_turn", turn).await?;
        let insert = Statement::new(
            "INSERT INTO signing_keys (key_id, pkcs8, created_at_ms) SELECT $1, $2, $3
             WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE created_at_ms > $4)",
        );
        let SigningKey { key_id, pkcs8, created_at_ms } = key;
        let insert = insert.bind(key_id).bind(pkcs8.as_slice()).bind(*created_at_ms).bind(newest_before_ms);
        let is_added = self.sql.execute(&mut tx, "signing_keys", insert).await? == 1;
        tx.commit().await?;
        Ok(is_added)
    }

    async fn forget_keys(&self, followed_before_ms: i64) -> Result<(), sql::Error> {
        let delete = Statement::new(
            "DELETE FROM signing_keys WHERE created_at_ms <
             (SELECT MAX(created_at_ms) FROM signing_keys WHERE created_at_ms <= $1)",
        );
        let delete = delete.bind(followed_before_ms);
        self.sql.execute(&mut *self.sql.read().await?, "signing_keys", delete).await?;
        Ok(())
    }
}

/// An email address as it is kept: it is the same in any case.
fn in_one_case(email: &str) -> String {
    email.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline::{Microservice, Settings, runtime::task};
    use example_sql::{on_both, testing::Fixture};

    use super::*;

    on_both!(
        the_seeded_users_are_there_and_nobody_else,
        of_those_who_register_with_one_address_at_once_one_does,
        many_replicas_open_it_at_once,
    );

    async fn users<DB: Db>(fixture: &Fixture<DB>) -> SqlUsers<DB> {
        SqlUsers::new(fixture.open(MIGRATIONS.of::<DB>()).await.with_messages().await.unwrap())
    }

    async fn the_seeded_users_are_there_and_nobody_else<DB: Db>(fixture: Fixture<DB>) {
        let users_now = users(&fixture).await;
        for (id, card) in [("u-1", "card-4242"), ("u-2", "card-0002"), ("u-load-0", "card-4242")] {
            assert_eq!(users_now.find(id).await.unwrap().unwrap().card, card);
        }
        assert_eq!(users_now.find("u-9").await.unwrap(), None);
        for (email, id) in [("ada@example.com", "u-1"), ("Bob@Example.com", "u-2")] {
            assert_eq!(users_now.account(email).await.unwrap().unwrap().user_id, id);
        }
        for number in 0..64 {
            let account = users_now.account(&format!("load-{number}@example.com")).await.unwrap().unwrap();
            assert_eq!(account.user_id, format!("u-load-{number}"));
            assert!(users_now.find(&account.user_id).await.unwrap().is_some());
        }
        for email in ["load-64@example.com", "", "ada@example.com ", "%"] {
            assert!(users_now.account(email).await.unwrap().is_none(), "{email}");
        }
        // A second start finds the migrations applied.
        drop(users_now);
        users(&fixture).await;
    }

    async fn of_those_who_register_with_one_address_at_once_one_does<DB: Db>(fixture: Fixture<DB>) {
        let replicas = [users(&fixture).await, users(&fixture).await];
        let topic = Microservice::new(Settings::from_vars("user", []).unwrap()).topic("user.registered");
        let registering = (0..8).map(|number| {
            let (users, topic) = (replicas[number % 2].clone(), topic.clone());
            let [id, name, card] = [&format!("u-new-{number}"), "Grace", "card-4242"].map(str::to_owned);
            task::spawn(async move {
                let told = topic.message(&id).key(&id).into_message().unwrap();
                let email = if number < 4 { "grace@example.com" } else { "Grace@Example.com" };
                users.register(&User { id, name, card }, email, "hash", (topic.name(), told)).await.unwrap()
            })
        });
        let mut registered = 0;
        for one in registering.collect::<Vec<_>>() {
            registered += usize::from(one.await.unwrap() == Registered::Now);
        }
        assert_eq!(registered, 1);
        let told = replicas[0].told().await;
        let account = replicas[0].account("grace@example.com").await.unwrap().unwrap();
        assert_eq!(told, [("user.registered".to_owned(), account.user_id)], "what did not happen is not told");
    }

    async fn many_replicas_open_it_at_once<DB: Db>(fixture: Fixture<DB>) {
        for users in Arc::new(fixture).at_once(|fixture| async move { users(&fixture).await }).await {
            assert!(users.find("u-1").await.unwrap().is_some());
        }
    }
}
