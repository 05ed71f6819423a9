//! How often somebody may ask, and what they are told of it.

use bowline_gateway::{Ask, Gateway, Settings};
use bowline_model::{
    ServiceName,
    gateway::{JwtAlgorithm, LimitBy, LimitPolicy, Quota, RouteTable, Window},
    route::Route,
    units::Rate,
};
use bowline_telemetry::Tracer;
use bowline_testkit::{Answer, HttpServer};
use http::{HeaderMap, Method, Request};

use crate::{
    support::{FakeRegistry, Seen, ask, instance, route, start_with, table},
    tokens::{Key, KeyServer, provider},
};

/// So few in the long run that a test meets the burst alone.
fn limit(by: &str, burst: u32) -> LimitPolicy {
    LimitPolicy { by: LimitBy::parse(by).unwrap(), quota: Quota::Pace { rate: Rate::parse("1/h").unwrap(), burst } }
}

fn limited(policy: LimitPolicy) -> Route {
    Route { limit: Some(policy), ..route("order") }
}

async fn start(table: RouteTable) -> (Gateway, HttpServer) {
    start_trusting(table, false).await
}

async fn start_trusting(table: RouteTable, trusts_forwarded: bool) -> (Gateway, HttpServer) {
    let order = HttpServer::start(|_| Answer::status(200));
    let registry = FakeRegistry::new(&[instance("order", "o-1", order.addr())]);
    let settings = Settings { workers: 2, trusts_forwarded, ..Settings::new(([127, 0, 0, 1], 0).into()) };
    (start_with(&registry, table, settings, Tracer::disabled()).await.unwrap(), order)
}

async fn get(gateway: &Gateway, headers: &[(&str, &str)]) -> Seen {
    let mut request = Request::get("/order/1").header("host", "a");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(gateway.addr(), request).await
}

fn text<'a>(seen: &'a Seen, name: &str) -> &'a str {
    seen.headers[name].to_str().unwrap()
}

#[tokio::test]
async fn what_is_left_is_told_and_one_too_many_is_refused() {
    let (gateway, order) = start(table(vec![limited(limit("address", 2))])).await;
    for left in [1, 0] {
        let seen = get(&gateway, &[]).await;
        assert_eq!(seen.status, 200);
        assert_eq!(text(&seen, "ratelimit-policy"), "\"order\";q=2;w=7200");
        assert!(text(&seen, "ratelimit").starts_with(&format!("\"order\";r={left};t=")), "{seen:?}");
    }
    let seen = get(&gateway, &[]).await;
    assert_eq!((seen.status.as_u16(), text(&seen, "x-bowline-reason")), (429, "rate_limited"));
    assert!((1..=3600).contains(&text(&seen, "retry-after").parse::<u32>().unwrap()), "{seen:?}");
    assert!(text(&seen, "ratelimit").starts_with("\"order\";r=0;t="), "{seen:?}");
    assert!(seen.body.contains("1/h, burst 2, by address"), "{seen:?}");
    assert_eq!(order.requests().len(), 2);
}

#[tokio::test]
async fn a_window_is_told_and_one_too_many_in_it_is_refused() {
    let quota = Quota::Window(Window::parse("2 in 1h").unwrap());
    let (gateway, order) = start(table(vec![limited(LimitPolicy { by: LimitBy::Address, quota })])).await;
    for left in [1, 0] {
        let seen = get(&gateway, &[]).await;
        assert_eq!((seen.status.as_u16(), text(&seen, "ratelimit-policy")), (200, "\"order\";q=2;w=3600"));
        assert!(text(&seen, "ratelimit").starts_with(&format!("\"order\";r={left};t=")), "{seen:?}");
    }
    let ask = Ask {
        method: Method::GET,
        url: "http://a/order/1".parse().unwrap(),
        headers: HeaderMap::new(),
        client: Some([127, 0, 0, 1].into()),
    };
    let said = gateway.explain(ask).await.limit.unwrap();
    assert_eq!((said.window.as_deref(), said.rate, said.burst), (Some("2 in 1h"), None, None));
    let seen = get(&gateway, &[]).await;
    assert_eq!((seen.status.as_u16(), text(&seen, "x-bowline-reason")), (429, "rate_limited"));
    // It is counted in tenths of the window, and a call for up to one too long.
    let wait: u64 = text(&seen, "retry-after").parse().unwrap();
    assert!((3590..=3960).contains(&wait), "{seen:?}");
    assert!(said.retry_after_ms.unwrap().div_ceil(1000).abs_diff(wait) < 10, "{said:?}", said = said.retry_after_ms);
    assert!(seen.body.contains("more than 2 in 1h, by address"), "{seen:?}");
    assert_eq!(order.requests().len(), 2);
}

#[tokio::test]
async fn one_subject_does_not_take_from_another() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let provider = provider(&[JwtAlgorithm::EdDsa], keys.keys());
    let limited = Route { auth: Some(provider.name.clone()), ..limited(limit("subject", 3)) };
    let table = RouteTable { auth: vec![provider], routes: vec![limited], ..RouteTable::default() };
    let (gateway, _order) = start(table).await;
    let (ada, bob) = (format!("Bearer {}", key.token("ada")), format!("Bearer {}", key.token("bob")));
    for _ in 0..3 {
        assert_eq!(get(&gateway, &[("authorization", &ada)]).await.status, 200);
    }
    assert_eq!(get(&gateway, &[("authorization", &ada)]).await.status, 429);
    // Another token of the same subject is the same subject.
    let again = format!(
        "Bearer {}",
        key.sign(&key.header(), &{
            let mut claims = crate::tokens::claims("ada");
            claims["jti"] = "another".into();
            claims
        })
    );
    assert_eq!(get(&gateway, &[("authorization", &again)]).await.status, 429);
    assert_eq!(get(&gateway, &[("authorization", &bob)]).await.status, 200);
    // Who is refused before has taken nothing.
    for _ in 0..5 {
        assert_eq!(get(&gateway, &[("authorization", "Bearer x")]).await.status, 401);
    }
    assert_eq!(get(&gateway, &[("authorization", &bob)]).await.status, 200);
}

#[tokio::test]
async fn a_header_tells_whom_a_limit_counts() {
    let (gateway, _order) = start(table(vec![limited(limit("header:x-tenant", 1))])).await;
    assert_eq!(get(&gateway, &[("x-tenant", "a")]).await.status, 200);
    assert_eq!(get(&gateway, &[("x-tenant", "a")]).await.status, 429);
    assert_eq!(get(&gateway, &[("x-tenant", "b")]).await.status, 200);
    assert_eq!(get(&gateway, &[]).await.status, 200);
    assert_eq!(get(&gateway, &[]).await.status, 429);
}

#[tokio::test]
async fn only_a_trusted_peer_says_whose_address_counts() {
    let (gateway, _order) = start(table(vec![limited(limit("address", 1))])).await;
    assert_eq!(get(&gateway, &[("x-forwarded-for", "192.0.2.1")]).await.status, 200);
    assert_eq!(get(&gateway, &[("x-forwarded-for", "192.0.2.2")]).await.status, 429);
    let (gateway, _order) = start_trusting(table(vec![limited(limit("address", 1))]), true).await;
    assert_eq!(get(&gateway, &[("x-forwarded-for", "192.0.2.1")]).await.status, 200);
    assert_eq!(get(&gateway, &[("x-forwarded-for", "192.0.2.2")]).await.status, 200);
    assert_eq!(get(&gateway, &[("x-forwarded-for", "198.51.100.1, 192.0.2.2")]).await.status, 429);
}

#[tokio::test]
async fn the_listener_limits_what_has_no_route_too_and_both_limits_are_told() {
    let mut table = table(vec![limited(limit("address", 100))]);
    table.listener.limit = Some(limit("address", 3));
    let (gateway, _order) = start(table).await;
    let seen = get(&gateway, &[]).await;
    let told: Vec<&str> = seen.headers.get_all("ratelimit").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(told[0].starts_with("\"order\";r=99") && told[1].starts_with("\"*\";r=2"), "{told:?}");
    for status in [404, 404, 429] {
        assert_eq!(ask(gateway.addr(), Request::get("/nowhere").header("host", "a")).await.status, status);
    }
    assert_eq!(get(&gateway, &[]).await.status, 429);
}

#[tokio::test]
async fn a_limit_outlives_a_change_of_routes_where_it_stays_the_same() {
    let (gateway, _order) = start(table(vec![limited(limit("address", 2))])).await;
    for status in [200, 200, 429] {
        assert_eq!(get(&gateway, &[]).await.status, status);
    }
    let mut same = limited(limit("address", 2));
    same.body_max = 1;
    gateway.set_table(&table(vec![route("other"), same])).unwrap();
    assert_eq!(get(&gateway, &[]).await.status, 429);
    gateway.set_table(&table(vec![limited(limit("address", 1))])).unwrap();
    for status in [200, 429] {
        assert_eq!(get(&gateway, &[]).await.status, status, "another policy is another limit");
    }
    // A table that is refused takes nothing away.
    let mut unknown = limited(limit("address", 1));
    unknown.auth = Some(ServiceName::new("nobody").unwrap());
    gateway.set_table(&table(vec![unknown])).unwrap_err();
    assert_eq!(get(&gateway, &[]).await.status, 429);
}

#[tokio::test]
async fn a_limit_is_exact_over_all_workers() {
    let (gateway, order) = start(table(vec![limited(limit("address", 50))])).await;
    let mut asking = bowline_runtime::task::JoinSet::new();
    for _ in 0..100 {
        let addr = gateway.addr();
        asking.spawn(async move { ask(addr, Request::get("/order/1").header("host", "a")).await.status.as_u16() });
    }
    let statuses = asking.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 50);
    assert_eq!(order.requests().len(), 50);
}
