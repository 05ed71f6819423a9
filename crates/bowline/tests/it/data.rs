//! Data that a service owns: where it is, and what spans say of it.

use bowline::{Database, Settings, SpanKind, Value, current};
use bowline_telemetry::{SpanContext, Status};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{api::Api, support::Place};

#[tokio::test]
async fn a_database_can_be_created_in_an_empty_folder() {
    let dir = bowline_testkit::temp_dir();
    // A folder may be called anything.
    let data_dir = dir.path().join("100% mine? yes #1");
    let vars = [("BOWLINE_DATA_DIR".to_owned(), data_dir.display().to_string())];
    let url = Settings::from_vars("user", vars).unwrap().data("sqlite:user.db").unwrap();
    let options = url.parse::<SqliteConnectOptions>().unwrap().create_if_missing(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("CREATE TABLE users (id TEXT)").execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    assert!(data_dir.join("sqlite").join("user.db").is_file());
}

#[test]
fn a_folder_that_cannot_be_created_is_named() {
    let dir = bowline_testkit::temp_dir();
    let data_dir = dir.path().join("data");
    std::fs::write(&data_dir, "a file").unwrap();
    let vars = [("BOWLINE_DATA_DIR".to_owned(), data_dir.display().to_string())];
    let error = Settings::from_vars("user", vars).unwrap().data("sqlite:user.db").unwrap_err();
    assert_eq!(error.variable, "BOWLINE_DATA_DIR");
    assert!(error.rule.contains(&data_dir.display().to_string()), "{error}");
}

fn request(is_sampled: bool) -> SpanContext {
    let (trace_id, span_id) =
        ("0af7651916cd43dd8448eb211c80319c".parse().unwrap(), "b7ad6b7169203331".parse().unwrap());
    SpanContext { trace_id, span_id, is_sampled }
}

#[tokio::test]
async fn a_query_says_in_a_span_what_it_touches_and_never_a_value() {
    let api = Api::start().await;
    let place = Place::new("order").beside(api.addr).with("BOWLINE_DATA_SHOP", "postgres://order:hush@db/shop");
    let service = place.service();
    let order = service.database("sqlite:order.db").unwrap();
    assert!(order.url().ends_with("/sqlite/order.db"), "{}", order.url());
    let found = current::scope(request(true), order.query("SELECT", "orders", async { Ok::<_, String>(7) }));
    assert_eq!(found.await, Ok(7));
    let shop = service.database("postgres:shop").unwrap();
    assert!(!format!("{shop:?}").contains("hush"), "{shop:?}");
    let failed = shop.query("INSERT", "stock", async { Err::<(), _>("duplicate key 'ada@example.com'") });
    assert!(current::scope(request(true), failed).await.is_err());

    for (name, system, namespace, table, operation) in [
        ("SELECT orders", "sqlite", "order.db", "orders", "SELECT"),
        ("INSERT stock", "postgresql", "shop", "stock", "INSERT"),
    ] {
        let span = api.span(name).await;
        let parent = request(true);
        assert_eq!((span.trace_id, span.parent_span_id), (parent.trace_id, Some(parent.span_id)));
        assert_eq!(span.kind, SpanKind::Client);
        let told: Vec<_> = span.attributes.iter().map(|(name, value)| (&**name, value.clone())).collect();
        let expect = [
            ("db.system.name", Value::from(system)),
            ("db.namespace", Value::from(namespace)),
            ("db.collection.name", Value::from(table)),
            ("db.operation.name", Value::from(operation)),
        ];
        assert_eq!(told, expect, "{name}");
    }
    assert_eq!(api.span("SELECT orders").await.status, Status::Unset);
    assert_eq!(api.span("INSERT stock").await.status, Status::Error("the query failed".to_owned()));
}

#[tokio::test]
async fn the_one_database_of_a_service_is_told_in_spans_as_what_it_is() {
    let api = Api::start().await;
    for (url, system, namespace) in [
        ("postgres://order:hush@db/orders", "postgresql", "orders"),
        ("sqlite:///data/sqlite/order.db", "sqlite", "order.db"),
    ] {
        let service = Place::new("order").beside(api.addr).with("BOWLINE_DATA_ORDER", url).service();
        let database = service.own_database().unwrap();
        assert_eq!(database.url(), url);
        let query = database.query("SELECT", system, async { Ok::<_, String>(()) });
        current::scope(request(true), query).await.unwrap();
        let span = api.span(&format!("SELECT {system}")).await;
        let told: Vec<_> = span.attributes.iter().map(|(name, value)| (&**name, value.clone())).collect();
        let expect = [("db.system.name", Value::from(system)), ("db.namespace", Value::from(namespace))];
        assert_eq!(told[..2], expect);
    }
}

#[tokio::test]
async fn work_that_serves_no_traced_request_begins_no_trace_by_a_query() {
    let api = Api::start().await;
    let service = Place::new("order").beside(api.addr).service();
    let database = service.database("sqlite:order.db").unwrap();
    let query = |table| database.query("SELECT", table, async { Ok::<_, String>(()) });
    query("alone").await.unwrap();
    current::scope(request(false), query("unsampled")).await.unwrap();
    Database::at("sqlite::memory:").query("SELECT", "nobodys", async { Ok::<_, String>(()) }).await.unwrap();
    // Spans come in the order they end: what is last is there, so what was before would be.
    current::scope(request(true), query("last")).await.unwrap();
    api.span("SELECT last").await;
    let names: Vec<_> = api.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["SELECT last"]);
}
