//! The same on both databases.

use bowline::{
    Database,
    runtime::{task, time},
};
use bowline_testkit::postgresql::Server;
use sqlx::{Postgres, migrate::Migrator};

use super::{opening::is_race, *};

async fn sqlite(dir: &tempfile::TempDir) -> Opened {
    open(Database::at(&format!("sqlite://{}", dir.path().join("test.db").display())), &Migrator::DEFAULT).await.unwrap()
}

async fn postgres(server: &Server) -> Opened {
    open(Database::at(&server.url("account")), &Migrator::DEFAULT).await.unwrap()
}

#[tokio::test]
async fn a_connection_string_says_which_database_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let Opened::Sqlite(sql) = sqlite(&dir).await else { panic!("it is a file") };
    values_come_back(&sql).await;
    rows_of_them_too(&sql).await;
    let error = open(Database::at("mysql://u:s3cret@localhost/account"), &Migrator::DEFAULT).await.unwrap_err();
    assert!(error.to_string().contains("`sqlite:` nor `postgres:`"), "{error:#}");
    assert!(!format!("{error:?}").contains("s3cret"));
    let Some(server) = Server::start() else { return };
    let Opened::Postgres(sql) = postgres(&server).await else { panic!("it is a server's") };
    values_come_back(&sql).await;
    rows_of_them_too(&sql).await;
    rows_are_locked(sql).await;
}

async fn values_come_back<DB: Db>(sql: &Sql<DB>) {
    let mut tx = sql.begin().await.unwrap();
    let create = "CREATE TABLE t (name TEXT, size BIGINT, height DOUBLE PRECISION, picture BYTEA)";
    sql.execute(&mut tx, "t", Statement::new(create)).await.unwrap();
    let insert =
        Statement::new("INSERT INTO t (size, name, height, picture) VALUES ($2, $1, $5, $6), ($3, $4, $7, NULL)");
    let insert = insert.bind("it's").bind(i64::MIN).bind(None::<i64>).bind(None::<&str>);
    let insert = insert.bind(0.1).bind(&b"\0\xff"[..]).bind(None::<f64>);
    assert_eq!(insert.operation(), "INSERT");
    assert_eq!(sql.execute(&mut tx, "t", insert).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let mut connection = sql.read().await.unwrap();
    let select =
        "SELECT name, size, height, picture, CAST((SELECT SUM(size) FROM t) AS BIGINT) AS total FROM t ORDER BY total";
    let rows = sql.rows(&mut connection, "t", Statement::new(select)).await.unwrap();
    let (empty, full): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.maybe_text("name").unwrap().is_none());
    let (empty, full) = (empty[0], full[0]);
    assert_eq!((full.text("name").unwrap(), full.int("size").unwrap()), ("it's".to_owned(), i64::MIN));
    assert_eq!((full.real("height").unwrap(), full.bytes("picture").unwrap()), (0.1, vec![0, 0xff]));
    assert_eq!((empty.maybe_int("size").unwrap(), empty.maybe_real("height").unwrap()), (None, None));
    assert_eq!(empty.int("total").unwrap(), i64::MIN);
    for is_null in [empty.text("name").err(), empty.int("size").err(), empty.bytes("picture").err()] {
        assert!(is_null.is_some());
    }
    let is_null = empty.real("height").unwrap_err();
    assert!(is_null.to_string().contains("height"), "{is_null}");
    let none = Statement::new("SELECT name FROM t WHERE size = $1 ORDER BY size").bind(1).locking();
    assert!(sql.row(&mut connection, "t", none).await.unwrap().is_none());
}

async fn rows_of_them_too<DB: Db>(sql: &Sql<DB>) {
    let mut connection = sql.read().await.unwrap();
    let create = "CREATE TABLE many (id BIGINT PRIMARY KEY, name TEXT, height DOUBLE PRECISION, picture BYTEA)";
    sql.execute(&mut connection, "many", Statement::new(create)).await.unwrap();
    let row = |id: i64, name: Option<&str>| [id.into(), name.into(), 0.5.into(), Value::Bytes(None)];
    let insert = "INSERT INTO many (id, name, height, picture) {rows}
                  ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id";
    for (rows, name) in [(1..3, "a"), (2..1002, "it's")] {
        let expect = rows.clone().count();
        let rows = rows.map(|id| row(id, (id != 1000).then_some(name)));
        let inserted = sql.rows(&mut connection, "many", Statement::of_rows(insert, rows)).await.unwrap();
        assert_eq!(inserted.len(), expect);
    }
    let select = "SELECT id, name, height FROM many WHERE (id, name) IN ({rows}) ORDER BY id";
    let named = [(1, "a"), (2, "a"), (3, "it's"), (1000, "it's"), (1001, "it's")];
    let select = Statement::of_rows(select, named.map(|(id, name)| [id.into(), name.into()]));
    let found = sql.rows(&mut connection, "many", select).await.unwrap();
    let ids: Vec<_> = found.iter().map(|row| (row.int("id").unwrap(), row.real("height").unwrap())).collect();
    assert_eq!(ids, [(1, 0.5), (3, 0.5), (1001, 0.5)]);
}

/// Whoever locks a row that is locked waits; whoever adds a row that refers to it does not.
async fn rows_are_locked(sql: Sql<Postgres>) {
    let mut tx = sql.begin().await.unwrap();
    for change in [
        "CREATE TABLE a (id TEXT PRIMARY KEY)",
        "CREATE TABLE b (a TEXT REFERENCES a (id))",
        "INSERT INTO a VALUES ('x')",
    ] {
        sql.execute(&mut tx, "a", Statement::new(change)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let lock = || Statement::new("SELECT id FROM a ORDER BY id").locking();
    let mut first = sql.begin().await.unwrap();
    assert!(sql.row(&mut first, "a", lock()).await.unwrap().is_some());
    let other = sql.clone();
    let second = task::spawn(async move {
        let mut second = other.begin().await.unwrap();
        other.execute(&mut second, "b", Statement::new("INSERT INTO b VALUES ('x')")).await.unwrap();
        other.row(&mut second, "a", lock()).await.unwrap();
        time::now()
    });
    // Outside of the transaction: within one, the server shows what it first saw.
    let mut looking = sql.read().await.unwrap();
    let waiting = || Statement::new("SELECT COUNT(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    while sql.row(&mut looking, "a", waiting()).await.unwrap().unwrap().int("n").unwrap() == 0 {
        task::yield_now().await;
    }
    let released = time::now();
    first.rollback().await.unwrap();
    assert!(second.await.unwrap() >= released);
}

#[tokio::test]
async fn replicas_open_one_database_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("new.db").display());
    opened_at_once::<sqlx::Sqlite>(&url).await;
    let url = format!("sqlite://{}", dir.path().join("missing/new.db").display());
    let error = Sql::<sqlx::Sqlite>::open(Database::at(&url), &Migrator::DEFAULT).await.unwrap_err();
    assert!(!is_race(&error), "it was told at once: {error:#}");
    let Some(server) = Server::start() else { return };
    opened_at_once::<Postgres>(&server.url("new")).await;
}

async fn opened_at_once<DB: Db>(url: &str) {
    let opening = (0..8).map(|_| {
        let database = Database::at(url);
        task::spawn(async move { Sql::<DB>::open(database, &Migrator::DEFAULT).await?.with_messages().await })
    });
    for opened in opening.collect::<Vec<_>>() {
        opened.await.unwrap().unwrap();
    }
}
