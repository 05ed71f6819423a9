//! Where databases live: `[databases]`, and what services may own of them.

use super::{check, check_all, parse};
use crate::data::DatabasesPolicy;

#[test]
fn databases() {
    check_all(
        "name = \"t\"\n$",
        r#"
[databases]
postgres = "mysql://127.0.0.1:5432"
  3:12+24 `postgres` is not the URL of a PostgreSQL → write "postgres://HOST:PORT", perhaps "postgres://USER@HOST:PORT"; the password is said by `credential`, the database by its owner

[databases]
postgres = "postgres://shop:secret@127.0.0.1"
  3:12+34 `postgres` is not the URL of a PostgreSQL → write "postgres://HOST:PORT", perhaps "postgres://USER@HOST:PORT"; the password is said by `credential`, the database by its owner

[databases]
postgres = "postgres://127.0.0.1/shop"
  3:12+27 `postgres` is not the URL of a PostgreSQL → write "postgres://HOST:PORT", perhaps "postgres://USER@HOST:PORT"; the password is said by `credential`, the database by its owner

[databases]
credential = "env:TOKEN"
  2:1+11 `credential` without `postgres` → name the server that it is for, or remove it

[databases]
postgres = "postgres://127.0.0.1:5432"
credential = "hunter2"
  4:14+9 `credential` is not the place of a secret → write "env:NAME" or "file:PATH"

[databases]
postgres = "postgres://shop@db.example:5432"
credential = "file:/run/secrets/postgres"
"#,
    );
    assert_eq!(parse("name = \"t\"\n[databases]").unwrap().databases, DatabasesPolicy::default());
}

#[test]
fn two_databases_of_a_service_are_told_apart_where_bowline_tells_them() {
    let owned = "name = \"t\"\n[service.a.boundary]\ndata = [\"sqlite:a\", \"postgres:a/x\", \"postgres:dir\"]\n";
    check(owned, &[]);
    check(
        &format!("{owned}[databases]\npostgres = \"postgres://h\""),
        &[
            "3:21+14 `postgres:a` and `sqlite:a` would both be told in BOWLINE_DATA_A → give one of them another name",
            "3:37+14 `postgres:dir` would be told in BOWLINE_DATA_DIR, which has a meaning → give it another name",
        ],
    );
}
