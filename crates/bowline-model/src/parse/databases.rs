//! Where databases live: `[databases]`.

use super::{messages, schema, value::Value};
use crate::data::{DatabasesPolicy, PostgresServer};

pub(super) fn read(value: Value<'_>) -> DatabasesPolicy {
    let Some(table) = value.table(&schema::DATABASES) else { return DatabasesPolicy::default() };
    let credential = messages::credential(&table, "postgres");
    let server = table.get("postgres").and_then(|value| {
        let server = PostgresServer::parse(value.text()?, credential);
        // It is not told again where it is wrong: it may hold a password.
        let help = "write \"postgres://HOST:PORT\", perhaps \"postgres://USER@HOST:PORT\"; the password is said by \
                    `credential`, the database by its owner";
        server.or_else(|| value.refuse("`postgres` is not the URL of a PostgreSQL", help))
    });
    DatabasesPolicy { postgres: server }
}
