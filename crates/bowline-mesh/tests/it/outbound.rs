//! The application's calls: over a port of their own or the HTTP proxy, under the sidecar's identity.

use std::{
    collections::BTreeMap, net::SocketAddr, os::unix::process::CommandExt as _, process::Command, time::Duration,
};

use bowline_model::{
    mesh::{MeshPolicy, Mode, Steering, Traffic},
    system::{Call, Outbound},
};
use bowline_runtime::{task, time};
use bowline_testkit::{Answer, HttpServer};
use http::Request;

use crate::support::{BOUND, Running, Seen, Shop, ask_plain, name, shop, shop_with, until};

/// The address in a variable, and the credentials before it.
fn address(environment: &BTreeMap<String, String>, variable: &str) -> (SocketAddr, String) {
    let value = environment[variable].strip_prefix("http://").unwrap();
    let (credentials, addr) = value.rsplit_once('@').unwrap_or(("", value));
    (addr.parse().unwrap(), credentials.to_owned())
}

fn basic(credentials: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

/// What order's application gets over the proxy.
async fn proxied(order: &Running, uri: &str) -> Seen {
    let (proxy, credentials) = address(&order.sidecar.environment(), "HTTP_PROXY");
    let host = uri.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let request = Request::post(uri).header("proxy-authorization", basic(&credentials)).header("host", host);
    ask_absolute(proxy, request).await
}

/// Asks with the whole URI in the request line, as clients of a proxy do.
async fn ask_absolute(proxy: SocketAddr, request: http::request::Builder) -> Seen {
    use http_body_util::BodyExt as _;
    let stream = bowline_runtime::net::TcpStream::connect(proxy).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    task::spawn(async move { connection.await.ok() });
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let (head, body) = client.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Seen { status: head.status.as_u16(), headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_call_has_a_port_of_its_own() {
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    let environment = order.sidecar.environment();
    let names: Vec<_> = environment.keys().map(String::as_str).collect();
    let expected = ["BOWLINE_CALL_PAYMENT", "BOWLINE_CALL_USER", "HTTP_PROXY", "NO_PROXY", "http_proxy", "no_proxy"];
    assert_eq!(names, expected);
    let (port, _) = address(&environment, "BOWLINE_CALL_PAYMENT");
    assert!(port.ip().is_loopback());
    let seen = ask_plain(port, Request::post("/charges").header("host", "whatever")).await.unwrap();
    assert_eq!((seen.status, &*seen.body), (200, "POST /charges"));
    let told = &payment.app.requests()[0].headers;
    assert_eq!((&*told["x-bowline-caller"], &*told["host"]), ("service/order", "payment"));
    // What payment's sidecar denies, order's application is told as it is.
    let seen = ask_plain(port, Request::put("/charges")).await.unwrap();
    assert_eq!((seen.status, seen.reason()), (403, "mesh_operation"));
    let (user, _) = address(&environment, "BOWLINE_CALL_USER");
    assert_eq!(ask_plain(user, Request::get("/users/1")).await.unwrap().reason(), "no_instance");
    let rendered = shop.mesh.metrics.render();
    for line in [
        r#"bowline_requests_total{reporter="client",service="payment",route="payment",code="200"} 1"#,
        r#"bowline_requests_total{reporter="server",service="payment",route="inbound",code="200"} 1"#,
    ] {
        assert!(rendered.contains(line), "{line}\n{rendered}");
    }
    let (client, server) = (shop.spans_of("order"), shop.spans_of("payment"));
    assert_eq!(client[0].trace_id, server[0].trace_id);
    assert_eq!(server[0].parent_span_id, Some(client[0].span_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_finds_declared_calls_by_name_for_who_knows_its_secret() {
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    for uri in ["http://payment.mesh/charges", "http://PAYMENT.mesh:80/charges"] {
        let seen = proxied(&order, uri).await;
        assert_eq!((seen.status, &*seen.body), (200, "POST /charges"), "{uri}");
    }
    assert!(!payment.app.requests()[0].headers.contains_key("proxy-authorization"));
    for uri in ["http://bank.mesh/transfers", "http://payment/charges", "http://127.0.0.1/"] {
        let seen = proxied(&order, uri).await;
        assert_eq!((seen.status, seen.reason()), (403, "egress_not_declared"), "{uri}");
    }
    let (proxy, credentials) = address(&order.sidecar.environment(), "http_proxy");
    assert!(credentials.len() > 32, "{credentials}");
    let (_, secret) = credentials.split_once(':').unwrap();
    assert!(!format!("{:?}", order.sidecar).contains(secret), "it is in no log");
    for wrong in [None, Some("bowline:"), Some("bowline:wrong")] {
        let mut request = Request::post("http://payment.mesh/charges").header("host", "payment.mesh");
        if let Some(wrong) = wrong {
            request = request.header("proxy-authorization", basic(wrong));
        }
        assert_eq!(ask_absolute(proxy, request).await.status, 407, "{wrong:?}");
    }
    assert_eq!(payment.app.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_permissive_mode_instances_outside_the_mesh_are_called_in_the_clear() {
    let shop = Shop::new(shop_with(MeshPolicy { mode: Mode::Permissive, ..MeshPolicy::default() })).await;
    let outside = HttpServer::start(|_| Answer::Status(200, "outside".to_owned()));
    shop.register_plain("payment", outside.addr()).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    let (port, _) = address(&order.sidecar.environment(), "BOWLINE_CALL_PAYMENT");
    assert_eq!(ask_plain(port, Request::post("/charges")).await.unwrap().body, "outside");
    assert!(!outside.requests()[0].headers.contains_key("x-bowline-caller"));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_strict_mode_nobody_is_called_in_the_clear() {
    let shop = Shop::new(shop()).await;
    let outside = HttpServer::start(|_| Answer::Status(200, "outside".to_owned()));
    shop.register_plain("payment", outside.addr()).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    let (port, _) = address(&order.sidecar.environment(), "BOWLINE_CALL_PAYMENT");
    let seen = ask_plain(port, Request::post("/charges")).await.unwrap();
    assert!(seen.status >= 500, "{seen:?}");
    assert!(outside.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_declared_later_is_made_by_the_proxy_at_once() {
    let mut system = shop();
    let mut grown = shop();
    system.services[1].calls.retain(|call| call.target.as_str() == "user");
    let position = grown.services[1].position;
    grown.services[1].calls.push(Call::new(name("bank"), position));
    let shop = Shop::new(system).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    assert_eq!(proxied(&order, "http://payment.mesh/charges").await.reason(), "egress_not_declared");
    let shop = shop.with_system(grown).await;
    shop.acted_by("order", |snapshot| snapshot.outbound.len() == 3).await;
    shop.acted_by("payment", |snapshot| snapshot.inbound.iter().any(|rule| rule.name == "order calls payment")).await;
    until("the call", async || (proxied(&order, "http://payment.mesh/charges").await.status == 200).then_some(()))
        .await;
    assert!(!payment.app.requests().is_empty());
    assert_eq!(proxied(&order, "http://bank.mesh/x").await.reason(), "no_instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_goes_through_both_sidecars() {
    let shop = Shop::new(shop()).await;
    let app = HttpServer::start(|_| Answer::Hang);
    let payment = shop.run_before("payment", Outbound::Sidecar, app).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    let (port, _) = address(&order.sidecar.environment(), "BOWLINE_CALL_PAYMENT");
    let begin = time::now();
    let seen = ask_plain(port, Request::post("/charges").header("x-bowline-timeout-ms", "300")).await.unwrap();
    assert_eq!((seen.status, seen.reason()), (504, "timeout"));
    assert!(begin.elapsed() < BOUND / 2);
    let told: u64 = payment.app.requests()[0].headers["x-bowline-timeout-ms"].parse().unwrap();
    assert!((1..=300).contains(&told), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_lets_finish_what_came_in() {
    let shop = Shop::new(shop()).await;
    let app = HttpServer::start(|_| Answer::After(Duration::from_millis(200), 200, "late".to_owned()));
    let running = shop.run_before("payment", Outbound::Sidecar, app).await;
    let order = shop.client("service/order").await;
    let addr = running.sidecar.addr();
    let seen = task::spawn({
        let client = shop.client("service/order").await;
        async move { client.ask_at("payment", addr, "POST", "/charges").await }
    });
    until("the request", async || (!running.app.requests().is_empty()).then_some(())).await;
    let Running { app: _app, sidecar } = running;
    assert!(sidecar.drain(BOUND).await);
    assert_eq!(seen.await.unwrap().unwrap().body, "late");
    order.ask_at("payment", addr, "POST", "/charges").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_steered_between_versions() {
    let shop = Shop::new(shop()).await;
    let outside = |answer: &'static str| HttpServer::start(move |_| Answer::Status(200, answer.to_owned()));
    let (old, new) = (outside("v1"), outside("v2"));
    let old = shop.run_version("payment", "v1", old).await;
    let new = shop.run_version("payment", "v2", new).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    let (port, _) = address(&order.sidecar.environment(), "BOWLINE_CALL_PAYMENT");
    let charge = async || ask_plain(port, Request::post("/charges")).await.unwrap().body;
    let split = |weights: [(&str, u32); 2]| {
        let split = weights.map(|(version, weight)| (version.to_owned(), weight)).into();
        Traffic { steering: [(name("payment"), Steering { split, ..Steering::default() })].into(), faults: Vec::new() }
    };
    for (traffic, expected) in [(split([("v1", 1), ("v2", 0)]), "v1"), (split([("v1", 0), ("v2", 1)]), "v2")] {
        shop.set_traffic(&traffic).await;
        shop.acted_by("order", |snapshot| snapshot.outbound[0].steering == traffic.steering[&name("payment")]).await;
        for _ in 0..10 {
            assert_eq!(charge().await, expected);
        }
    }
    assert_eq!((old.app.requests().len(), new.app.requests().len()), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn breakers_are_steered_and_told_to_bowline_alone() {
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    let (port, _) = address(&order.sidecar.environment(), "BOWLINE_CALL_PAYMENT");
    let charge = async || ask_plain(port, Request::post("/charges")).await.unwrap().status;
    assert_eq!(charge().await, 200);
    let breakers = serde_json::from_str(r#"[{"caller":"service/order","order":"open"}]"#).unwrap();
    let steering = Steering { breakers, ..Steering::default() };
    let traffic = Traffic { steering: [(name("payment"), steering.clone())].into(), faults: Vec::new() };
    shop.set_traffic(&traffic).await;
    shop.acted_by("order", |snapshot| snapshot.outbound[0].steering == steering).await;
    assert_eq!((charge().await, payment.app.requests().len()), (503, 1));

    let platform = shop.client("bowline").await;
    let addr = order.sidecar.addr();
    let told = platform.ask_at("order", addr, "GET", "/-/bowline/breakers").await.unwrap();
    let told: bowline_model::mesh::OwnBreakers = serde_json::from_str(&told.body).unwrap();
    assert_eq!((told.calls[0].callee.as_str(), &*told.calls[0].breakers[0].state), ("payment", "forced_open"));
    assert_eq!(told.calls[0].orders, steering.breakers);
    let others = shop.client("gateway").await.ask_at("order", addr, "GET", "/-/bowline/breakers").await.unwrap();
    assert_eq!(others.status, 403);
    assert!(order.app.requests().is_empty());

    shop.set_traffic(&Traffic::default()).await;
    shop.acted_by("order", |snapshot| snapshot.outbound[0].steering.is_empty()).await;
    assert_eq!(charge().await, 200);
}

/// What another user's process is told by a port; none where this process may not become another user.
async fn asked_by_nobody(port: SocketAddr) -> Option<String> {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let script = format!(
        "exec 3<>/dev/tcp/{}/{}; printf 'GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n' >&3; cat <&3",
        port.ip(),
        port.port()
    );
    let asking = task::spawn_blocking(move || Command::new("bash").args(["-c", &script]).uid(NOBODY).output());
    let output = asking.await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_serves_nobody_elses_process() {
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    let (port, _) = address(&order.sidecar.environment(), "BOWLINE_CALL_PAYMENT");
    if let Some(answer) = asked_by_nobody(port).await {
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("x-bowline-reason: not_admitted"), "{answer}");
    }
    assert!(payment.app.requests().is_empty());
    assert_eq!(ask_plain(port, Request::post("/charges")).await.unwrap().status, 200, "ours is served");
}
