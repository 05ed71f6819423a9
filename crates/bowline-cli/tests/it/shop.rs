//! The shop as its README shows it: orders, refusals, traces, and the loss of a replica under load.

use bowline_testkit::postgresql::Server;
use http::Method;
use rustix::process::{Signal, kill_process};

use crate::harness::{Home, PATIENCE, Running, eventually, programs};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Places an order with what signing in brought.
async fn order(running: &Running, signed: &str, key: &str, body: &str) -> crate::harness::Answer {
    let headers = [JSON, ("authorization", signed), ("idempotency-key", key)];
    running.ask(Method::POST, "shop.localhost", "/orders", &headers, body.as_bytes()).await
}

fn order_of(user: &str) -> String {
    format!(r#"{{"user_id":"{user}","items":[{{"sku":"book","quantity":2,"unit_price":1999}}]}}"#)
}

#[test]
fn the_example_is_a_good_file_and_its_documents_are_there() {
    let shop = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let text = std::fs::read_to_string(shop.join("bowline.toml")).unwrap();
    let system = bowline_model::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let route = |name: &str| system.table.routes.iter().find(|route| route.name.as_str() == name).unwrap();
    assert!(route("orders").auth.is_some() && route("login").auth.is_none());
    assert_eq!(route("orders").limit.as_ref().unwrap().to_string(), "100/s, burst 200, by subject");
    let sheds = |name: &str| system.services.iter().find(|it| it.name.as_str() == name).unwrap().shed.clone();
    assert!(sheds("user").is_some() && sheds("payment").is_none());
    let of_order = sheds("order").unwrap().calls_max.min;
    assert!(of_order > 32, "the load program's clients are all at work at once: {of_order}");
    let keys: Vec<_> = system.configs.iter().map(|config| config.key.to_string()).collect();
    assert_eq!(keys, ["shop/order", "shop/payment"]);
    for config in &system.configs {
        for file in [&config.schema, &config.document] {
            assert!(shop.join(file.as_ref().unwrap()).is_file(), "{file:?}");
        }
    }
}

#[tokio::test]
async fn orders_are_placed_once_refused_by_rule_and_traced() {
    let home = Home::shop();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    assert_eq!(order(&running, &ada, "k0", &order_of("u-1")).await.status, 201);
    let grace = br#"{"email":"grace@example.com","password":"correct horse","name":"Grace","card":"card-4242"}"#;
    let signed_up = running.ask(Method::POST, "shop.localhost", "/users", &[JSON], grace).await;
    assert_eq!(signed_up.status, 201, "{signed_up:?}");
    let id = text(&signed_up.json()["id"]);
    let grace = running.sign_in("grace@example.com").await;
    let changed = br#"{"name":"Grace Hopper","card":"card-4242"}"#;
    let headers = [JSON, ("authorization", grace.as_str())];
    let changed = running.ask(Method::PUT, "shop.localhost", &format!("/users/{id}"), &headers, changed).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    // Asked for at once, while its spans are on their way.
    keeps_its_boundaries(&home, &running).await;
    orders(&running, &ada).await;
    refusals(&running, &ada).await;
    traces(&running, &id, &grace).await;
    keeps_its_boundaries(&home, &running).await;
    running.stop().await;
}

#[tokio::test]
async fn the_shop_is_the_same_with_databases_of_a_postgresql() {
    let Some((_server, addr)) = Server::listening() else { return };
    let home = Home::shop();
    home.edit(|text| {
        let edited = text.replace("postgres://shop@127.0.0.1:5432", &format!("postgres://test@{addr}"));
        assert_ne!(edited, text);
        edited
    });
    let mut running = home.start_with(&["--profile", "postgres"], &[("SHOP_POSTGRES_PASSWORD", "any")]);
    running.ready().await;
    let ada = running.sign_in("ada@example.com").await;
    orders(&running, &ada).await;
    let is_told = eventually(PATIENCE, async || {
        let signed = [("authorization", ada.as_str())];
        let told = running.ask(Method::GET, "shop.localhost", "/notifications", &signed, b"").await;
        told.json().as_array().is_some_and(|told| told.len() == 4)
    });
    assert!(is_told.await, "two orders, placed and paid");
    running.stop().await;
    let files = std::fs::read_dir(home.data_dir().join("sqlite")).into_iter().flatten();
    assert_eq!(files.count(), 0, "a service made a file");
}

/// What it was seen to do is what it declares, and each touches its own tables alone.
async fn keeps_its_boundaries(home: &Home, running: &Running) {
    let told = running.command(&["check", home.path().to_str().unwrap(), "--observed"]).await;
    assert!(!told.contains("warning"), "{told}");
    let summary = "5 services, 6 calls: every axiom holds of what is declared and what was observed\n";
    assert!(told.contains("\nobserved: ") && told.ends_with(summary), "{told}");
    let seen = crate::harness::ask(running.api(), Method::GET, "localhost", "/v1/observed", &[], b"").await.json();
    let uses = seen["uses"].as_array().unwrap().iter();
    let tables: std::collections::BTreeSet<_> = uses.map(|used| [&used["service"], &used["table"]].map(text)).collect();
    let owned = [
        ("order", "orders"),
        ("order", "stock"),
        ("payment", "charges"),
        ("bank", "transfers"),
        ("user", "users"),
        ("notify", "notifications"),
    ];
    for (service, table) in owned {
        assert!(tables.contains(&[service, table].map(str::to_owned)), "{service} {table}: {tables:?}");
    }
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn orders(running: &Running, ada: &str) {
    let first = order(running, ada, "k1", &order_of("u-1")).await;
    assert_eq!(first.status, 201, "{:?}\n{}", first.body, running.output());
    assert_eq!((first.json()["status"].as_str(), first.json()["total"].as_i64()), (Some("paid"), Some(3998)));
    assert_eq!(first.header("x-trace-id").len(), 32);
    let again = order(running, ada, "k1", &order_of("u-1")).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    // Two that arrive at once are one order.
    let body = order_of("u-1");
    let (a, b) = tokio::join!(order(running, ada, "k2", &body), order(running, ada, "k2", &body));
    assert_eq!((a.status.as_u16(), &a.body), (201, &b.body));
    // The key is another user's: it names another order.
    let bob = running.sign_in("bob@example.com").await;
    let declined = order(running, &bob, "k1", &order_of("u-2")).await;
    assert_eq!((declined.status.as_u16(), declined.json()["status"].as_str()), (201, Some("declined")));
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let signed = [("authorization", ada)];
    let shown = running.ask(Method::GET, "shop.localhost", &format!("/orders/{id}"), &signed, b"").await;
    assert_eq!((shown.status.as_u16(), shown.json()), (200, first.json()));
}

async fn refusals(running: &Running, ada: &str) {
    let too_large = "x".repeat((10 << 20) + 1);
    // Within the limit, and refused for what it says.
    let large = order_of("u-1").replace("book", &"x".repeat(9 << 20));
    for (key, body, status) in [
        ("r1", order_of("u-9"), 403),
        ("r2", r#"{"user_id":"u-1","items":[]}"#.to_owned(), 422),
        ("r3", order_of("u-1").replace("\"quantity\":2", "\"quantity\":0"), 422),
        ("r4", "{".to_owned(), 400),
        ("r5", too_large, 413),
        ("r6", large, 422),
        ("k1", order_of("u-1").replace("\"quantity\":2", "\"quantity\":3"), 422),
    ] {
        let answer = order(running, ada, key, &body).await;
        assert_eq!(answer.status, status, "{key}: {:?}", answer.body);
        // The gateway's own refusal; the others are the service's.
        let reason = if status == 413 { "body_too_large" } else { "" };
        assert_eq!(answer.header("x-bowline-reason"), reason, "{key}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{key}");
        assert_eq!(answer.json()["trace_id"].as_str().map(str::len), Some(32), "{key}");
    }
    for (host, path) in
        [("shop.localhost", "/nothing"), ("other.localhost", "/orders"), ("shop.localhost", "/orders/o-9")]
    {
        let answer = running.ask(Method::GET, host, path, &[("authorization", ada)], b"").await;
        assert_eq!(answer.status, 404, "{host}{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

/// Gateway → order → user, of whom order knows nothing yet, and order → payment → bank.
async fn traces(running: &Running, user: &str, signed: &str) {
    let placed = order(running, signed, "t1", &order_of(user)).await;
    let id = placed.header("x-trace-id").to_owned();
    let wanted = [("gateway", ""), ("order", "gateway"), ("user", "order"), ("payment", "order"), ("bank", "payment")];
    // Asked at once, the command waits for the last spans.
    let text = running.command(&["trace", &id]).await;
    assert!(text.contains("payment · POST /charges") && text.contains("[bank-1]"), "{text}");
    let mut trace = serde_json::Value::Null;
    let is_whole = eventually(PATIENCE, async || {
        let answer =
            crate::harness::ask(running.api(), Method::GET, "localhost", &format!("/v1/traces/{id}"), &[], b"").await;
        if answer.status != 200 {
            return false;
        }
        trace = answer.json();
        wanted.iter().all(|(service, caller)| is_called_by(&trace, service, caller))
    });
    assert!(is_whole.await, "{trace:#}");
    let json: serde_json::Value =
        serde_json::from_str(&running.command(&["trace", &id, "--output", "json"]).await).unwrap();
    let span = &json["spans"][0];
    for key in ["span_id", "parent_span_id", "service", "name", "attributes"] {
        assert!(span.get(key).is_some(), "{key} in {span}");
    }
    assert!(running.command(&["traces", "--service", "bank"]).await.contains(&id));
}

/// Whether a server span of the service stands below a span of the caller.
fn is_called_by(trace: &serde_json::Value, service: &str, caller: &str) -> bool {
    let spans = trace["spans"].as_array().unwrap();
    let served = spans.iter().find(|span| span["service"] == service && span["kind"] == "server");
    let Some(served) = served else { return false };
    if caller.is_empty() {
        return served["parent_span_id"].is_null();
    }
    let parent = spans.iter().find(|span| span["span_id"] == served["parent_span_id"]);
    parent.is_some_and(|parent| parent["service"] == caller)
}

#[tokio::test]
async fn a_replica_killed_under_load_costs_no_order() {
    let home = Home::shop();
    let mut running = home.up().await;
    let before = running.instances("payment").await;
    assert_eq!(before.len(), 2);
    let seconds = if std::env::var_os("BOWLINE_TEST_LONG").is_some() { "20" } else { "4" };
    let mut load = tokio::process::Command::new(programs().join("shop-load"));
    load.args(["--gateway", &running.gateway().to_string(), "--clients", "32", "--seconds", seconds]);
    let load = load.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let is_loaded = eventually(PATIENCE, async || {
        let metrics = crate::harness::ask(running.api(), Method::GET, "localhost", "/metrics", &[], b"").await;
        let text = String::from_utf8(metrics.body.to_vec()).unwrap();
        let placed =
            text.lines().find(|line| line.starts_with("bowline_requests_total") && line.contains("code=\"201\""));
        placed.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).is_some_and(|count| count > 50)
    });
    assert!(is_loaded.await);
    let listed = running.api_json("/v1/instances?service=payment").await;
    let victim = &listed["instances"][0];
    assert_eq!(victim["protocol"], "both", "its sidecar takes HTTP/2");
    let pid: i32 = victim["metadata"]["pid"].as_str().unwrap().parse().unwrap();
    kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let address = victim["address"].as_str().unwrap().to_owned();
    let left = eventually(std::time::Duration::from_secs(5), async || {
        !running.instances("payment").await.iter().any(|instance| instance.ends_with(&address))
    });
    assert!(left.await, "{:?}", running.instances("payment").await);
    let is_back = eventually(PATIENCE, async || running.instances("payment").await.len() == 2);
    assert!(is_back.await);
    let output = load.wait_with_output().await.unwrap();
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{report}\n{errors}\n{}", running.output());
    let connections = async |protocol: &str| {
        let query = format!("sum(bowline_pool_connections{{pool=\"service\",protocol=\"{protocol}\"}})");
        running.measured(&query).await
    };
    let are_called = eventually(PATIENCE, async || connections("http2").await.is_some_and(|sum| sum > 0.0)).await;
    assert!(are_called, "the services call each other over HTTP/2");
    assert_eq!(connections("http1").await, Some(0.0));
    running.stop().await;
}
