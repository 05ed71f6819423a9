//! Bowline's own paths of an application without a mesh: this machine asks, and no page in a browser.

use axum::{Router, routing::get};
use bowline::sql::{Definition, Sagas, migrate};

use sqlx::{
    Sqlite,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use crate::support::{Answer, Place, Running, ask};

#[tokio::test]
async fn sagas_are_told_on_this_machine_and_to_no_page() {
    let place = Place::new("hello");
    let file = SqliteConnectOptions::new().filename(place.path("hello.db")).create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(file).await.unwrap();
    migrate(&pool).await.unwrap();
    let greet = Definition::<Sqlite, ()>::new("greet").local("wave", |_, ()| Box::pin(async { Ok(()) }));
    let mut service = place.service();
    let sagas = Sagas::builder(pool).saga(greet).start().unwrap();
    service.show_sagas(&sagas);
    let app = Router::new().route("/hello", get(|| async { "hello" }));
    let hello = Running::start(service, app).await;
    let sagas = async |headers: &[(&str, &str)]| ask(hello.addr, "GET", "/-/bowline/sagas", headers, "").await;

    for host in ["hello", "localhost:80", "127.0.0.1:80", "[::1]"] {
        assert_eq!(sagas(&[("host", host)]).await.status, 200, "{host}");
    }
    let check_refused = |answer: Answer| {
        let detail = answer.problem(403, "permission_denied");
        assert_eq!(detail, "this is not answered to pages in a browser");
    };
    check_refused(sagas(&[("host", "evil.example")]).await);
    check_refused(sagas(&[("host", "localhost"), ("origin", "http://localhost")]).await);
    let retried =
        ask(hello.addr, "POST", "/-/bowline/sagas/o-1/retry", &[("origin", "https://evil.example")], "").await;
    check_refused(retried);
    let passed_on = sagas(&[("host", "localhost"), ("x-forwarded-for", "10.0.0.7")]).await;
    assert!(passed_on.problem(403, "permission_denied").contains("a proxy"));
    assert_eq!(hello.get("/-/bowline/else").await.status, 404);
    let metrics = hello.get("/metrics").await;
    let is_of_sagas = |line: &&str| line.starts_with("bowline_requests_total") && line.contains("/-/bowline/sagas\"");
    let counted: Vec<&str> = metrics.text().lines().filter(is_of_sagas).collect();
    assert!(counted.iter().all(|line| line.contains("code=\"403\"")) && counted.len() == 1, "{counted:?}");
    assert_eq!(ask(hello.addr, "GET", "/hello", &[("host", "evil.example")], "").await.text(), "hello");
    hello.stop().await;
}
