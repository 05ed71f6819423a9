//! What is said of a request is what then becomes of it.

use bowline_gateway::{Ask, Explanation, Gateway, Settings};
use bowline_model::{
    Health, Instance, ServiceName,
    gateway::{CorsPolicy, JwtAlgorithm, LimitBy, LimitPolicy, Middleware, Quota, RouteTable},
    route::{Backend, Route},
    units::Rate,
};
use bowline_runtime::time;
use bowline_telemetry::Tracer;
use bowline_testkit::{Answer, HttpServer};
use http::{HeaderMap, HeaderName, Method, Request};
use serde_json::json;

use crate::{
    support::{BOUND, FakeRegistry, ask, get, instance, route, start, start_with},
    tokens::{Key, KeyServer, provider},
};

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn explained(gateway: &Gateway, method: &str, path: &str, headers: Headers<'_>) -> Explanation {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), http::HeaderValue::from_str(value).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter().map(pair) {
        map.append(name, value);
    }
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let url = format!("http://a{path}").parse().unwrap();
    let client = Some([127, 0, 0, 1].into());
    gateway.explain(Ask { method, url, headers: map, client }).await
}

/// Explains a request twice, sends it, and holds one against the other.
async fn check(gateway: &Gateway, method: &str, path: &str, headers: Headers<'_>) -> Explanation {
    explained(gateway, method, path, headers).await;
    let said = explained(gateway, method, path, headers).await;
    let request = Request::builder().method(method).uri(path).header("host", "a");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let seen = ask(gateway.addr(), request).await;
    let reason = seen.headers.get("x-bowline-reason").map(|reason| reason.to_str().unwrap().to_owned());
    let here = reason.is_some() || said.is_preflight;
    assert_eq!((said.status, &said.reason), (here.then(|| seen.status.as_u16()), &reason), "{said:?}\n{seen:?}");
    if let Some(detail) = &said.detail {
        let problem: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        assert_eq!(problem["detail"], *detail);
    }
    if let Some(limit) = said.limit.as_ref().and_then(|limit| limit.remaining) {
        let told = seen.headers["ratelimit"].to_str().unwrap();
        let left = limit.saturating_sub(1);
        assert!(told.contains(&format!(";r={left};")), "{limit} before: {told}");
    }
    said
}

fn limit(by: &str, burst: u32) -> LimitPolicy {
    LimitPolicy { by: LimitBy::parse(by).unwrap(), quota: Quota::Pace { rate: Rate::parse("1/h").unwrap(), burst } }
}

fn cors() -> CorsPolicy {
    CorsPolicy {
        origins: vec!["https://shop.test".to_owned()],
        methods: Vec::new(),
        headers: Vec::new(),
        expose: Vec::new(),
        credentials: false,
        max_age: time::Duration::ZERO,
    }
}

#[tokio::test]
async fn requests_meet_what_was_said_of_them() {
    let (key, other) = (Key::ed("ed"), Key::ed("other"));
    let keys = KeyServer::start(&[&key]);
    let provider = provider(&[JwtAlgorithm::EdDsa], keys.keys());
    let mut order = Route {
        auth: Some(provider.name.clone()),
        limit: Some(limit("subject", 2)),
        middleware: Middleware { cors: Some(cors()), request_id: true, compress: true, ..Middleware::default() },
        ..route("order")
    };
    order.matches[0].methods = vec!["GET".to_owned(), "PUT".to_owned()];
    let mut idle = route("idle");
    idle.backends[0].weight = 0;
    let routes = vec![order, route("open"), route("absent"), idle];
    let table = RouteTable { auth: vec![provider], routes, ..RouteTable::default() };
    let server = HttpServer::start(|_| Answer::Status(200, "served".to_owned()));
    let instances = [instance("order", "o-1", server.addr()), instance("open", "p-1", server.addr())];
    let registry = FakeRegistry::new(&instances);
    let settings = Settings { workers: 2, ..Settings::new(([127, 0, 0, 1], 0).into()) };
    let gateway = start_with(&registry, table, settings, Tracer::disabled()).await.unwrap();
    let good = format!("Bearer {}", key.token("u-1"));
    let bad = format!("Bearer {}", other.token("u-1"));
    let preflight = [("origin", "https://shop.test"), ("access-control-request-method", "PUT")];
    for (method, path, headers) in [
        ("GET", "/nowhere", &[][..]),
        ("GET", "/order//1", &[]),
        ("POST", "/order/1", &[]),
        ("OPTIONS", "/order/1", &[]),
        ("GET", "/order/1", &[]),
        ("GET", "/order/1", &[("authorization", "Basic dTpw")]),
        ("GET", "/order/1", &[("authorization", &bad)]),
        ("GET", "/order/1", &[("authorization", &good), ("authorization", &good)]),
        ("OPTIONS", "/order/1", &preflight),
        ("GET", "/order/1", &[("authorization", &good)]),
        ("PUT", "/order/1", &[("authorization", &good), ("x-bowline-subject", "eve")]),
        ("GET", "/order/1", &[("authorization", &good)]),
        ("GET", "/open", &[]),
        ("GET", "/open", &[("connection", "upgrade"), ("upgrade", "websocket")]),
        ("GET", "/absent", &[]),
        ("GET", "/idle", &[]),
    ] {
        check(&gateway, method, path, headers).await;
    }
    assert_eq!(server.requests().len(), 3, "what is explained is not sent");
}

#[tokio::test]
async fn an_explanation_names_what_a_request_meets() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let provider = provider(&[JwtAlgorithm::EdDsa], keys.keys());
    let order = Route {
        auth: Some(provider.name.clone()),
        limit: Some(limit("subject", 20)),
        middleware: Middleware { cors: Some(cors()), request_id: true, ..Middleware::default() },
        backends: vec![
            Backend { service: ServiceName::new("canary").unwrap(), weight: 5 },
            Backend { service: ServiceName::new("order").unwrap(), weight: 95 },
        ],
        ..route("order")
    };
    let mut table = RouteTable { auth: vec![provider], routes: vec![order], ..RouteTable::default() };
    table.listener.limit = Some(limit("address", 7));
    let server = HttpServer::start(|_| Answer::status(200));
    let sick = Instance { health: Health::Unhealthy, ..instance("order", "o-2", server.addr()) };
    let registry = FakeRegistry::new(&[instance("order", "o-1", server.addr()), sick]);
    let gateway = start(&registry, Vec::new()).await;
    gateway.set_table(&table).unwrap();
    let token = format!("Bearer {}", key.token("u-1"));
    let headers = [("authorization", &*token)];
    let found = async {
        loop {
            let said = explained(&gateway, "GET", "/order/1", &headers).await;
            if said.backends[1].instances.len() == 2 {
                return serde_json::to_value(said).unwrap();
            }
            bowline_runtime::task::yield_now().await;
        }
    };
    let said = time::timeout(BOUND, found).await.unwrap();
    assert_eq!(said["route"], "order");
    assert_eq!(said["service"], "order");
    assert_eq!((&said["status"], &said["reason"]), (&json!(null), &json!(null)));
    let auth = json!({"provider": "customers", "kind": "jwt", "subject": "u-1", "refused": null});
    assert_eq!(said["auth"], auth);
    assert_eq!(
        said["limit"],
        json!({"policy": "1/h, burst 20, by subject", "by": "subject", "rate": "1/h", "burst": 20, "window": null, "remaining": 20, "retry_after_ms": null})
    );
    assert_eq!((&said["listener"]["limit"]["remaining"], &said["listener"]["auth"]), (&json!(7), &json!(null)));
    assert_eq!(said["middleware"], json!(["cors", "request_id"]));
    assert_eq!(said["body_max"], 10 << 20);
    assert_eq!((&said["policy"]["timeout"], &said["policy"]["retry"]["attempts_max"]), (&json!("20s"), &json!(3)));
    assert_eq!(said["backends"][0]["instances"], json!([]));
    let o = &said["backends"][1]["instances"];
    assert_eq!(
        (&o[0]["health"], &o[0]["breaker"], &o[0]["is_candidate"]),
        (&json!("healthy"), &json!("closed"), &json!(true))
    );
    assert_eq!((&o[1]["health"], &o[1]["is_candidate"]), (&json!("unhealthy"), &json!(false)));
    let refused = explained(&gateway, "GET", "/order/1", &[]).await.auth.unwrap();
    assert!(refused.subject.is_none() && refused.refused.unwrap().contains("token"));
}

#[tokio::test]
async fn an_open_breaker_is_told() {
    let broken = HttpServer::start(|_| Answer::status(500));
    let gateway = start(&FakeRegistry::new(&[instance("order", "o-1", broken.addr())]), vec![route("order")]).await;
    let opening = async { while !get(gateway.addr(), "/order/1").await.1.contains_key("x-bowline-reason") {} };
    time::timeout(BOUND, opening).await.unwrap();
    let said = explained(&gateway, "GET", "/order/1", &[]).await;
    assert_eq!((said.status, said.reason.as_deref()), (Some(503), Some("breaker_open")));
    let instance = &said.backends[0].instances[0];
    assert_eq!((instance.breaker.as_deref(), instance.is_candidate), (Some("open"), false));
}

#[tokio::test]
async fn whom_the_listener_refuses_is_told_of_that_first() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let mut table = RouteTable {
        auth: vec![provider(&[JwtAlgorithm::EdDsa], keys.keys())],
        routes: vec![Route { limit: Some(limit("subject", 2)), ..route("order") }],
        ..RouteTable::default()
    };
    table.listener.auth = Some(ServiceName::new("customers").unwrap());
    table.listener.limit = Some(limit("subject", 3));
    let order = HttpServer::start(|_| Answer::status(200));
    let registry = FakeRegistry::new(&[instance("order", "o-1", order.addr())]);
    let settings = Settings { workers: 1, ..Settings::new(([127, 0, 0, 1], 0).into()) };
    let gateway = start_with(&registry, table, settings, Tracer::disabled()).await.unwrap();
    let token = format!("Bearer {}", key.token("u-1"));
    let good = [("authorization", &*token)];
    for (path, headers, reason) in [
        ("/nowhere", &[][..], Some("no_credentials")),
        ("/order/1", &[], Some("no_credentials")),
        ("/order/1", &good, None),
        ("/order/1", &good, None),
        ("/order/1", &good, Some("rate_limited")),
        ("/nowhere", &good, Some("rate_limited")),
    ] {
        let said = explained(&gateway, "GET", path, headers).await;
        assert_eq!(said.reason.as_deref(), reason, "{path} {said:?}");
        let comes_so_far = said.limit.as_ref().is_some_and(|limit| limit.remaining.is_some());
        assert_eq!(comes_so_far, path == "/order/1" && !headers.is_empty(), "{path} {said:?}");
        let request = Request::get(path).header("host", "a");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let seen = ask(gateway.addr(), request).await;
        assert_eq!(seen.headers.get("x-bowline-reason").map(|reason| reason.to_str().unwrap()), reason);
    }
}
