//! Who is let in, who is not, and what is said of it: over real connections under mutual TLS.

use std::convert::Infallible;

use bowline_mesh::ca::Authority;
use bowline_model::{
    Address, InstanceId,
    mesh::{Authorization, MeshPolicy, Mode, SpiffeId},
    system::Outbound,
};
use bowline_runtime::{drain, metric, net::UnixListener, task};
use bowline_telemetry::Value;
use bowline_testkit::temp_dir;
use bowline_transport::server::{self, Incoming};
use http::{Request, Response};

use crate::support::{Client, Running, STRANGERS, Shop, ask_plain, authority, shop, shop_with};

async fn payment(shop: &Shop) -> Running {
    shop.run("payment", Outbound::Sidecar).await
}

fn lenient(mode: Mode, authorization: Authorization) -> MeshPolicy {
    MeshPolicy { mode, authorization, ..MeshPolicy::default() }
}

/// The value of the decision's metric.
#[track_caller]
fn check_count(shop: &Shop, caller: &str, rule: &str, decision: &str, count: u64) {
    let labels = format!(r#"{{service="payment",caller="{caller}",rule="{rule}",decision="{decision}"}}"#);
    let line = format!("bowline_mesh_decisions_total{labels} {count}\n");
    let rendered = shop.mesh.metrics.render();
    assert!(rendered.contains(&line), "{line}{rendered}");
}

#[track_caller]
fn check_span(shop: &Shop, attributes: &[(&str, &'static str)]) {
    let spans = shop.spans_of("payment");
    let has = |span: &bowline_telemetry::SpanData| {
        attributes.iter().all(|(key, value)| span.attribute(key) == Some(&Value::from(*value)))
    };
    assert!(spans.iter().any(has), "{attributes:?} in {spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_declares_the_call_passes_and_is_named() {
    let shop = Shop::new(shop()).await;
    let payment = payment(&shop).await;
    let order = shop.client("service/order").await;
    let request =
        Request::post("/charges?x=1").header("x-bowline-subject", "forged").header("x-bowline-caller", "gateway");
    let seen = order.send("payment", &payment, request).await.unwrap();
    assert_eq!((seen.status, &*seen.body), (200, "POST /charges?x=1"));
    let told = &payment.app.requests()[0].headers;
    assert_eq!(told["x-bowline-caller"], "service/order");
    assert!(!told.contains_key("x-bowline-subject"), "only the gateway says so: {told:?}");
    check_count(&shop, "service/order", "order calls payment", "allowed", 1);
    check_span(&shop, &[("bowline.caller", "service/order"), ("bowline.rule", "order calls payment")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_declares_no_call_is_denied_by_the_rule_there_would_have_to_be() {
    let shop = Shop::new(shop()).await;
    let payment = payment(&shop).await;
    let user = shop.client("service/user").await;
    let seen = user.ask("payment", &payment, "POST", "/charges").await;
    assert_eq!((seen.status, seen.reason()), (403, "mesh_not_declared"));
    let told = "`user` may not call `payment`: [service.user.calls.payment] is not declared";
    assert!(seen.body.contains(told), "{}", seen.body);
    assert!(payment.app.requests().is_empty());
    check_count(&shop, "service/user", "none", "denied", 1);
    let rule = ("bowline.rule", "service.user.calls.payment");
    check_span(&shop, &[("bowline.caller", "service/user"), rule, ("bowline.reason", "mesh_not_declared")]);
    let gateway = shop.client("gateway").await.ask("payment", &payment, "POST", "/charges").await;
    assert!(gateway.body.contains("no route leads there"), "{}", gateway.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn method_and_path_count_as_routes_understand_them() {
    let shop = Shop::new(shop()).await;
    let payment = payment(&shop).await;
    let order = shop.client("service/order").await;
    for (method, path, status, reason) in [
        ("GET", "/charges/7", 200, ""),
        ("GET", "/charges/7;x=1", 200, ""),
        ("POST", "/charges;x=/metrics", 403, "mesh_operation"),
        ("DELETE", "/charges/7", 403, "mesh_operation"),
        ("GET", "/charges", 403, "mesh_operation"),
        ("GET", "/charges/7/x", 403, "mesh_operation"),
        ("GET", "/metrics", 403, "mesh_operation"),
        ("GET", "/readyz", 403, "mesh_operation"),
        ("GET", "/charges/../metrics", 400, "bad_path"),
        ("GET", "//charges/7", 400, "bad_path"),
        ("GET", "/charges/%2e%2e", 400, "bad_path"),
    ] {
        let seen = order.ask("payment", &payment, method, path).await;
        assert_eq!((seen.status, seen.reason()), (status, reason), "{method} {path}");
    }
    let seen = order.ask("payment", &payment, "DELETE", "/charges/7").await;
    let told = "`order` may not ask `payment` for DELETE /charges/7: `order calls payment` allows POST /charges, GET /charges/{order}";
    assert!(seen.body.contains(told), "{}", seen.body);
    check_count(&shop, "service/order", "order calls payment", "denied", 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn bowline_checks_and_collects_and_nothing_else() {
    let shop = Shop::new(shop()).await;
    let (payment, bank) = (payment(&shop).await, shop.run("bank", Outbound::Sidecar).await);
    let platform = shop.client("bowline").await;
    for (method, path, status) in [
        ("GET", "/readyz", 200),
        ("GET", "/livez", 200),
        ("GET", "/metrics", 200),
        ("GET", "/-/bowline/sagas", 200),
        ("POST", "/-/bowline/sagas/o-1/retry", 200),
        ("DELETE", "/-/bowline/sagas/o-1", 403),
        ("POST", "/metrics", 403),
        ("POST", "/charges", 403),
    ] {
        assert_eq!(platform.ask("payment", &payment, method, path).await.status, status, "{method} {path}");
    }
    // Who may ask for everything may not ask for what is Bowline's.
    let caller = shop.client("service/payment").await;
    for (method, path, status) in [
        ("PUT", "/any/thing", 200),
        ("GET", "/metrics", 403),
        ("GET", "/-/bowline/sagas", 403),
        ("POST", "/-/bowline/other", 403),
        ("POST", "/-/other", 200),
        ("POST", "/metrics", 403),
        ("GET", "/readyz;x", 403),
    ] {
        assert_eq!(caller.ask("bank", &bank, method, path).await.status, status, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_comes_by_its_routes_and_says_who_asks() {
    let shop = Shop::new(shop()).await;
    let order = shop.run("order", Outbound::Sidecar).await;
    let gateway = shop.client("gateway").await;
    let request = Request::post("/orders").header("x-bowline-subject", "ada");
    assert_eq!(gateway.send("order", &order, request).await.unwrap().status, 200);
    let told = &order.app.requests()[0].headers;
    assert_eq!((&*told["x-bowline-caller"], &*told["x-bowline-subject"]), ("gateway", "ada"));
    assert_eq!(gateway.ask("order", &order, "GET", "/orders").await.reason(), "mesh_operation");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_of_the_system_cannot_speak() {
    let shop = Shop::new(shop()).await;
    let payment = payment(&shop).await;
    ask_plain(payment.sidecar.addr(), Request::get("/readyz")).await.unwrap_err();
    // The same names, under another root.
    let dir = temp_dir();
    let settings = bowline_store::Settings::new(dir.path().join("store.redb"));
    let store = bowline_store::Embedded::open(settings, &metric::Registry::default()).await.unwrap();
    let foreign = authority(&dir, std::sync::Arc::new(store)).await;
    let client = client_of(&foreign, "service/order").await;
    client.send("payment", &payment, Request::post("/charges")).await.unwrap_err();
    // And whoever asks for somebody else does not get an answer of this one.
    let order = shop.client("service/order").await;
    order.send("user", &payment, Request::get("/users/1")).await.unwrap_err();
    assert!(payment.app.requests().is_empty());
}

async fn client_of(authority: &std::sync::Arc<Authority>, workload: &str) -> Client {
    let id = SpiffeId::new(authority.system().clone(), workload.parse().unwrap());
    let (admission, metrics) = (bowline_identity::Admission::InProcess, metric::Registry::default());
    let settings = bowline_identity::Settings { id, admission, metrics };
    let (identity, rotation) = bowline_identity::Identity::start(settings, authority.issuer()).unwrap();
    identity.ready().await.unwrap();
    Client::new(&identity, rotation)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permissive_mesh_takes_plain_requests_of_nobody_knows_whom() {
    let shop = Shop::new(shop_with(lenient(Mode::Permissive, Authorization::Enforce))).await;
    let payment = payment(&shop).await;
    let request = Request::get("/anything").header("host", "payment").header("x-bowline-caller", "service/order");
    let seen = ask_plain(payment.sidecar.addr(), request).await.unwrap();
    assert_eq!(seen.status, 200);
    assert!(!payment.app.requests()[0].headers.contains_key("x-bowline-caller"));
    check_count(&shop, "unknown", "none", "allowed", 1);
    // Who says who it is, is held to it.
    let user = shop.client("service/user").await;
    assert_eq!(user.ask("payment", &payment, "POST", "/charges").await.reason(), "mesh_not_declared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lets_pass_and_says_what_it_would_have_denied() {
    let shop = Shop::new(shop_with(lenient(Mode::Strict, Authorization::DryRun))).await;
    let payment = payment(&shop).await;
    let user = shop.client("service/user").await;
    assert_eq!(user.ask("payment", &payment, "POST", "/charges").await.status, 200);
    let order = shop.client("service/order").await;
    assert_eq!(order.ask("payment", &payment, "DELETE", "/charges/1").await.status, 200);
    assert_eq!(order.ask("payment", &payment, "POST", "/charges").await.status, 200);
    check_count(&shop, "service/user", "none", "dry_run", 1);
    check_count(&shop, "service/order", "order calls payment", "dry_run", 1);
    assert_eq!(order.ask("payment", &payment, "POST", "/-/bowline/sagas/o-1/retry").await.status, 403);
    check_count(&shop, "service/order", "order calls payment", "allowed", 1);
    check_span(&shop, &[("bowline.caller", "service/user"), ("bowline.dry_run", "denied")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_asks_the_whole_system_passes_but_to_what_is_bowlines() {
    let shop = Shop::new(shop_with(lenient(Mode::Permissive, Authorization::Off))).await;
    let payment = payment(&shop).await;
    let user = shop.client("service/user").await;
    let order = shop.client("service/order").await;
    assert_eq!(user.ask("payment", &payment, "POST", "/charges").await.status, 200);
    assert_eq!(payment.app.requests()[0].headers["x-bowline-caller"], "service/user");
    assert_eq!(order.ask("payment", &payment, "DELETE", "/charges/1").await.status, 200);
    assert_eq!(order.ask("payment", &payment, "POST", "/charges").await.status, 200);
    assert_eq!(
        ask_plain(payment.sidecar.addr(), Request::get("/x").header("host", "payment")).await.unwrap().status,
        200
    );
    check_count(&shop, "service/user", "none", "allowed", 1);
    check_count(&shop, "service/order", "none", "allowed", 1);
    check_count(&shop, "service/order", "order calls payment", "allowed", 1);
    check_span(&shop, &[("bowline.caller", "service/user"), ("bowline.rule", "none")]);
    let is_noted = |span: &bowline_telemetry::SpanData| {
        ["bowline.reason", "bowline.dry_run"].iter().any(|key| span.attribute(key).is_some())
    };
    assert!(!shop.spans_of("payment").iter().any(is_noted));
    for client in [&user, &order] {
        let seen = client.ask("payment", &payment, "GET", "/metrics").await;
        assert_eq!((seen.status, seen.reason()), (403, "mesh_operation"));
        assert!(seen.body.contains("everything is allowed but what is Bowline's own"), "{}", seen.body);
    }
    check_count(&shop, "service/user", "none", "denied", 1);
    assert_eq!(shop.client("bowline").await.ask("payment", &payment, "GET", "/metrics").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_strangers_are_counted_together() {
    let shop = Shop::new(shop()).await;
    let payment = payment(&shop).await;
    for index in 0..STRANGERS {
        let client = shop.client(&format!("service/stranger-{index}")).await;
        assert_eq!(client.ask("payment", &payment, "POST", "/charges").await.status, 403);
    }
    check_count(&shop, "service/stranger-63", "none", "denied", 1);
    check_count(&shop, "other", "none", "denied", 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_application_that_reports_only_what_happened_is_told() {
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Application).await;
    assert!(payment.sidecar.environment().is_empty());
    let order = shop.client("service/order").await;
    assert_eq!(order.ask("payment", &payment, "POST", "/charges").await.status, 200);
    assert_eq!(order.ask("payment", &payment, "PUT", "/charges").await.status, 403);
    let spans = shop.spans_of("payment");
    assert_eq!(spans.len(), 1, "{spans:?}");
    check_span(&shop, &[("bowline.reason", "mesh_operation")]);
    let rendered = shop.mesh.metrics.render();
    assert!(!rendered.contains("bowline_requests_total"), "{rendered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_on_a_unix_socket_is_reached_once_it_listens() {
    let shop = Shop::new(shop()).await;
    let socket = shop.dir.path().join("payment.sock");
    let id = InstanceId::new("payment-1").unwrap();
    let sidecar = shop.sidecar("payment", &id, Address::Unix(socket.clone()), Outbound::Sidecar).await;
    let order = shop.client("service/order").await;
    let charge = async || order.ask_at("payment", sidecar.addr(), "POST", "/charges").await.unwrap();
    let seen = charge().await;
    assert_eq!((seen.status, seen.reason()), (503, "upstream_connect"));
    let (mut drainer, drain) = drain::channel();
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = |request: Request<Incoming>| async move {
        assert!(request.headers().contains_key("x-bowline-caller"));
        Ok::<_, Infallible>(Response::new(String::from("over a socket")))
    };
    let serving = server::serve(listener, server::Settings::default(), drain, move |_| server::service_fn(answer));
    let serving = task::spawn(serving);
    assert_eq!(charge().await.body, "over a socket");
    drainer.drain().await;
    serving.await.unwrap();
}
