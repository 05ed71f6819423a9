//! Routes, instances and listeners as they come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_gateway::Error;
use bowline_model::{Code, Health, Instance, ServiceName, mesh::Steering, route::PathPattern};
use bowline_runtime::{net, task, time};
use bowline_testkit::{Answer, HttpServer};

use crate::support::{BOUND, FakeRegistry, connect, get, get_over, instance, route, start, start_on, table};

fn server(body: &'static str) -> HttpServer {
    HttpServer::start(move |_| Answer::Status(200, body.to_owned()))
}

/// Asks until the answer's body is that.
async fn until_answered(addr: std::net::SocketAddr, path: &str, body: &str) {
    let asking = async { while get(addr, path).await.2 != body {} };
    time::timeout(BOUND, asking).await.unwrap_or_else(|_| panic!("{path} never answered {body}"));
}

#[tokio::test]
async fn it_starts_with_what_is_registered_and_follows_what_changes() {
    let (one, two) = (server("one"), server("two"));
    let registry = FakeRegistry::new(&[instance("order", "o-1", one.addr())]);
    let gateway = start(&registry, vec![route("order")]).await;
    assert_eq!(get(gateway.addr(), "/order/1").await.2, "one", "the very first request finds the instance");
    registry.put(instance("order", "o-2", two.addr()));
    until_answered(gateway.addr(), "/order/1", "two").await;
    registry.remove("o-1");
    registry.put(Instance { health: Health::Unhealthy, ..instance("order", "o-3", one.addr()) });
    until_answered(gateway.addr(), "/order/1", "two").await;
    let mut bodies = BTreeSet::new();
    for _ in 0..40 {
        bodies.insert(get(gateway.addr(), "/order/1").await.2);
    }
    // Both events may still be under way at first, but not for forty requests in a row.
    assert!(bodies.contains("two"), "{bodies:?}");
    registry.remove("o-2");
    registry.remove("o-3");
    let gone = async { while get(gateway.addr(), "/order/1").await.0 != 503 {} };
    time::timeout(BOUND, gone).await.unwrap();
    assert_eq!(get(gateway.addr(), "/order/1").await.1["x-bowline-reason"], "no_instance");
}

#[tokio::test]
async fn routes_are_replaced_under_load_without_a_failure() {
    let (order, user) = (server("order"), server("user"));
    let instances = [instance("order", "o-1", order.addr()), instance("user", "u-1", user.addr())];
    let registry = FakeRegistry::new(&instances);
    let gateway = start(&registry, vec![route("order")]).await;
    let addr = gateway.addr();
    assert_eq!(get(addr, "/user/1").await.0, 404);
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            task::spawn(async move {
                let (mut client, mut answered) = (connect(addr).await, 0_u32);
                while !is_over.load(SeqCst) {
                    let (status, _, body) = get_over(&mut client, "/order/1").await;
                    assert_eq!((status.as_u16(), body.as_str()), (200, "order"));
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for _ in 0..20 {
        gateway.set_table(&table(vec![route("user"), route("order")])).unwrap();
        until_answered(addr, "/user/1", "user").await;
        gateway.set_table(&table(vec![route("order")])).unwrap();
        let gone = async { while get(addr, "/user/1").await.0 != 404 {} };
        time::timeout(BOUND, gone).await.unwrap();
    }
    is_over.store(true, SeqCst);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_breaker_outlives_a_change_of_routes() {
    let broken = HttpServer::start(|_| Answer::status(500));
    let registry = FakeRegistry::new(&[instance("broken", "b-1", broken.addr())]);
    let gateway = start(&registry, vec![route("broken")]).await;
    let is_open = async || get(gateway.addr(), "/broken/1").await.1.contains_key("x-bowline-reason");
    let opening = async { while !is_open().await {} };
    time::timeout(BOUND, opening).await.unwrap();
    assert_eq!(broken.requests().len(), 10);
    let mut slower = route("broken");
    slower.policy.timeout = Duration::from_secs(7);
    gateway.set_table(&table(vec![route("other"), slower.clone()])).unwrap();
    for _ in 0..5 {
        assert!(is_open().await);
    }
    assert_eq!(broken.requests().len(), 10);
    // Another breaker policy is another breaker.
    let mut patient = slower;
    patient.policy.breaker.as_mut().unwrap().calls_min = 1000;
    gateway.set_table(&table(vec![patient])).unwrap();
    assert!(!is_open().await);
}

#[tokio::test]
async fn routes_that_cannot_be_served_change_nothing() {
    let order = server("order");
    let registry = FakeRegistry::new(&[instance("order", "o-1", order.addr())]);
    let gateway = start(&registry, vec![route("order")]).await;
    let error = gateway.set_table(&table(vec![route("order"), route("order")])).unwrap_err();
    assert_eq!(error.to_string(), "there are two routes named `order`");
    let mut bad = route("bad");
    bad.matches[0].headers = vec![("a b".to_owned(), "c".to_owned())];
    let error = gateway.set_table(&table(vec![bad])).unwrap_err();
    assert!(matches!(error, Error::Route { .. }) && error.code() == Code::InvalidArgument);
    assert_eq!(get(gateway.addr(), "/order/1").await.2, "order");
    let mut unreachable = route("unreachable");
    unreachable.matches[0].path = PathPattern::parse("/a;b").unwrap();
    let error = gateway.set_table(&table(vec![unreachable])).unwrap_err();
    assert!(matches!(error, Error::Route { .. }), "{error:?}");
    // The old routes still follow their instances.
    let other = server("other");
    registry.put(instance("order", "o-1", other.addr()));
    until_answered(gateway.addr(), "/order/1", "other").await;
}

#[tokio::test]
async fn a_taken_address_is_named_with_the_flag_to_change() {
    let taken = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = taken.local_addr().unwrap();
    let error = start_on(&FakeRegistry::new(&[]), vec![route("order")], addr).await.unwrap_err();
    assert!(matches!(error, Error::AddressTaken { .. }));
    let text = error.to_string();
    assert!(text.contains(&addr.to_string()) && text.contains("--gateway"), "{text}");
    assert!(start_on(&FakeRegistry::new(&[]), vec![route("a"), route("a")], addr).await.is_err());
}

#[tokio::test]
async fn draining_ends_the_listener() {
    let order = server("order");
    let registry = FakeRegistry::new(&[instance("order", "o-1", order.addr())]);
    let gateway = start(&registry, vec![route("order")]).await;
    let addr = gateway.addr();
    assert_eq!(get(addr, "/order/1").await.2, "order");
    assert!(gateway.drain(BOUND).await);
    assert!(net::TcpStream::connect(addr).await.is_err());
    // The port is free for whoever comes next.
    assert_eq!(start_on(&registry, vec![route("order")], addr).await.unwrap().addr(), addr);
}

#[tokio::test]
async fn orders_hold_the_breakers_of_the_routes_that_they_name() {
    let order = server("an order");
    let registry = FakeRegistry::new(&[instance("order", "o-1", order.addr())]);
    let mut other = route("order");
    other.name = "other".to_owned();
    other.matches[0].path = PathPattern::parse("/other/**").unwrap();
    let gateway = start(&registry, vec![route("order"), other]).await;
    let steer = |orders: &str| {
        let steering = Steering { breakers: serde_json::from_str(orders).unwrap(), ..Steering::default() };
        gateway.set_steering(&BTreeMap::from([(ServiceName::new("order").unwrap(), steering)]));
    };
    let states = || -> Vec<(String, String)> {
        let told = gateway.handle().breakers().calls.into_iter();
        told.map(|call| (call.route.unwrap(), call.breakers[0].state.clone())).collect()
    };
    let state = |route: &str, state: &str| (route.to_owned(), state.to_owned());
    steer(r#"[{"caller":"route/other","order":"open"}]"#);
    let name = route("order").name;
    assert_eq!(states(), [state(&name, "closed"), state("other", "forced_open")]);
    assert_eq!(get(gateway.addr(), "/order/1").await.0, 200);
    assert_eq!(get(gateway.addr(), "/other/1").await.0, 503);
    steer(r#"[{"caller":"gateway","order":"open"},{"caller":"route/other","order":"disabled"}]"#);
    assert_eq!(states(), [state(&name, "forced_open"), state("other", "disabled")]);
    gateway.set_steering(&BTreeMap::new());
    assert_eq!(states(), [state(&name, "closed"), state("other", "closed")]);
}

#[tokio::test]
async fn steering_reaches_every_route_of_a_service_and_those_that_come_later() {
    let (old, new) = (server("v1"), server("v2"));
    let of = |id: &str, version: &str, server: &HttpServer| Instance {
        version: version.to_owned(),
        ..instance("order", id, server.addr())
    };
    let registry = FakeRegistry::new(&[of("o-1", "v1", &old), of("o-2", "v2", &new)]);
    let other = || {
        let mut other = route("order");
        other.name = "other".to_owned();
        other.matches[0].path = PathPattern::parse("/other/**").unwrap();
        other
    };
    let gateway = start(&registry, vec![route("order")]).await;
    let steer = |version: &str| {
        let split = BTreeMap::from([(version.to_owned(), 1)]);
        let steering = Steering { split, ..Steering::default() };
        gateway.set_steering(&BTreeMap::from([(ServiceName::new("order").unwrap(), steering)]));
    };
    let bodies = async |path: &str| {
        let mut bodies = BTreeSet::new();
        for _ in 0..20 {
            bodies.insert(get(gateway.addr(), path).await.2);
        }
        bodies.into_iter().collect::<Vec<_>>()
    };
    steer("v2");
    assert_eq!(bodies("/order/1").await, ["v2"]);
    gateway.set_table(&table(vec![route("order"), other()])).unwrap();
    assert_eq!((bodies("/order/1").await, bodies("/other/1").await), (vec!["v2".to_owned()], vec!["v2".to_owned()]));
    steer("v1");
    assert_eq!((bodies("/order/1").await, bodies("/other/1").await), (vec!["v1".to_owned()], vec!["v1".to_owned()]));
    gateway.set_steering(&BTreeMap::new());
    until_answered(gateway.addr(), "/other/1", "v1").await;
    until_answered(gateway.addr(), "/other/1", "v2").await;
}
