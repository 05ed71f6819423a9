//! Each rule of the table, and that nobody sees what is not theirs.

use std::time::Duration;

use bowline_model::{
    mesh::{Fault, Mirror, Mode},
    parse,
    system::Call,
    units::Share,
};

use super::*;

const SHOP: &str = r#"
name = "shop"

[service.user]
run = "user"
boundary.api = ["GET /users/{id}", "POST /login"]

[service.order]
run = "order"
check = { http = "/health?deep=1" }
[service.order.calls.user]
[service.order.calls.payment]
timeout = "5s"

[service.payment]
run = "payment"
[service.payment.calls.bank]

[service.bank]
run = "bank"
boundary.api = ["POST /transfers", "GET /ledger"]

[auth.customers]
jwt = { issuer = "https://shop.localhost", audience = "shop", algorithms = ["EdDSA"], jwks = { service = "user", path = "/jwks.json?all" } }

[[route]]
name = "orders"
matches = [{ path = "/orders/**", methods = ["GET", "POST"] }, { path = "/carts", headers = { x-beta = "1" } }]
backends = [{ service = "order", weight = 90 }, { service = "user", weight = 0 }]
auth = "customers"

[[route]]
name = "rest"
hosts = ["pay.localhost"]
backends = [{ service = "payment" }]
"#;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn shop() -> System {
    let mut system = parse(SHOP).unwrap();
    system.mesh = Some(MeshPolicy::default());
    system
}

fn call<'a>(system: &'a mut System, caller: &str, target: &str) -> &'a mut Call {
    let caller = system.services.iter_mut().find(|service| service.name.as_str() == caller).unwrap();
    caller.calls.iter_mut().find(|call| call.target.as_str() == target).unwrap()
}

fn compiled(system: &System, traffic: &Traffic) -> BTreeMap<Workload, Snapshot> {
    compile(system, &system.table, traffic)
}

fn of(workload: &str, system: &System, traffic: &Traffic) -> Snapshot {
    compiled(system, traffic).remove(&workload.parse().unwrap()).unwrap()
}

/// `caller: name: METHODS path, …`, a line for each rule.
fn told(snapshot: &Snapshot) -> Vec<String> {
    let pattern = |pattern: &Pattern| {
        let path = String::from(pattern.path.clone());
        if pattern.methods.is_empty() { path } else { format!("{} {path}", pattern.methods.join("|")) }
    };
    let rule = |rule: &Rule| {
        let operations: Vec<_> = rule.operations.iter().map(pattern).collect();
        format!("{}: {}: {}", rule.caller, rule.name, operations.join(", "))
    };
    snapshot.inbound.iter().map(rule).collect()
}

#[track_caller]
fn check(workload: &str, system: &System, expect: &[&str]) {
    assert_eq!(told(&of(workload, system, &Traffic::default())), expect);
}

const PLATFORM: &str = "bowline: platform: GET|POST /-/bowline/**, GET /livez, GET /metrics, GET /readyz";

#[test]
fn a_call_without_operations_is_for_what_the_callee_offers() {
    check("service/bank", &shop(), &["service/payment: payment calls bank: POST /transfers, GET /ledger", PLATFORM]);
}

#[test]
fn a_call_is_for_its_operations() {
    let mut system = shop();
    let ledger = system.service("bank").unwrap().boundary.api[1].clone();
    call(&mut system, "payment", "bank").operations = vec![ledger];
    check("service/bank", &system, &["service/payment: payment calls bank: GET /ledger", PLATFORM]);
}

#[test]
fn a_callee_that_declares_nothing_offers_everything() {
    let expect = ["service/order: order calls payment: ", "gateway: route rest: ", PLATFORM];
    check("service/payment", &shop(), &expect);
}

#[test]
fn routes_let_the_gateway_in_by_their_matches() {
    check(
        "service/order",
        &shop(),
        &[
            "gateway: route orders: GET|POST /orders/**, /carts",
            "bowline: platform: GET|POST /-/bowline/**, GET /health, GET /livez, GET /metrics, GET /readyz",
        ],
    );
    check(
        "service/user",
        &shop(),
        &[
            "service/order: order calls user: GET /users/{id}, POST /login",
            "gateway: keys of customers: GET /jwks.json",
            "gateway: route orders: GET|POST /orders/**, /carts",
            PLATFORM,
        ],
    );
}

#[test]
fn the_published_routes_count_not_the_systems_own() {
    let system = shop();
    let table = parse::routes("[[route]]\nname = \"b\"\nbackends = [{ service = \"bank\" }]", &[name("bank")]).unwrap();
    let mut compiled = compile(&system, &table, &Traffic::default());
    let mut take = |workload: &str| compiled.remove(&workload.parse().unwrap()).unwrap();
    assert_eq!(told(&take("service/order")).len(), 1);
    assert!(told(&take("service/bank")).contains(&"gateway: route b: ".to_owned()));
    let targets: Vec<_> = take("gateway").outbound.into_iter().map(|outbound| outbound.target).collect();
    assert_eq!(targets, [name("bank")]);
}

#[test]
fn who_calls_is_told_whom_and_how() {
    let snapshot = of("service/order", &shop(), &Traffic::default());
    let calls: Vec<_> = snapshot.outbound.iter().map(|call| (call.target.as_str(), call.policy.timeout)).collect();
    assert_eq!(calls, [("payment", Duration::from_secs(5)), ("user", CallPolicy::default().timeout)]);
    let gateway = of("gateway", &shop(), &Traffic::default());
    let targets: Vec<_> = gateway.outbound.iter().map(|call| call.target.as_str()).collect();
    assert_eq!(targets, ["order", "payment", "user"]);
    assert!(gateway.inbound.is_empty() && gateway.faults.is_empty());
}

#[test]
fn the_meshs_demands_are_told() {
    let mut system = shop();
    let demands = |system: &System| {
        let snapshot = of("service/bank", system, &Traffic::default());
        (snapshot.mode, snapshot.authorization)
    };
    assert_eq!(demands(&system), (Some(Mode::Strict), Authorization::Enforce));
    for authorization in [Authorization::DryRun, Authorization::Off] {
        system.mesh = Some(MeshPolicy { mode: Mode::Permissive, authorization, ..MeshPolicy::default() });
        assert_eq!(demands(&system), (Some(Mode::Permissive), authorization));
    }
}

/// Payment is split, bank mirrored, and both are faulty.
fn traffic() -> Traffic {
    let fault = |id: &str, service: &str| Fault {
        id: id.to_owned(),
        service: name(service),
        from: None,
        share: Share::ALL,
        delay: None,
        abort: Some(503),
        until_unix_ms: 1,
    };
    let split = Steering { split: [("v1".to_owned(), 1)].into(), ..Steering::default() };
    let mirror = Mirror { version: "v2".to_owned(), share: Share::from_percent(5) };
    let mirror = Steering { mirror: Some(mirror), ..Steering::default() };
    Traffic {
        steering: [(name("payment"), split), (name("bank"), mirror)].into(),
        faults: vec![fault("b", "payment"), fault("a", "payment"), fault("c", "bank"), fault("d", "gone")],
    }
}

#[test]
fn steering_is_told_to_whom_calls_and_faults_to_whom_they_befall() {
    let steered = |workload: &str| -> Vec<_> {
        let snapshot = of(workload, &shop(), &traffic());
        let is_steered = |call: &&Outbound| !call.steering.is_empty();
        snapshot.outbound.iter().filter(is_steered).map(|call| call.target.as_str().to_owned()).collect()
    };
    let faults = |workload: &str| -> Vec<_> {
        of(workload, &shop(), &traffic()).faults.into_iter().map(|fault| fault.id).collect()
    };
    assert_eq!(steered("service/order"), ["payment"]);
    assert_eq!(steered("service/payment"), ["bank"]);
    assert_eq!(steered("gateway"), ["payment"]);
    assert_eq!(faults("service/payment"), ["a", "b"]);
    assert_eq!(faults("service/bank"), ["c"]);
    for other in ["service/user", "service/bank"] {
        assert!(steered(other).is_empty(), "{other}");
    }
    for other in ["service/user", "service/order", "gateway"] {
        assert!(faults(other).is_empty(), "{other}");
    }
}

#[test]
fn orders_to_breakers_are_told_to_those_who_hold_them() {
    let orders = r#"[{"order": "open"}, {"caller": "service/order", "order": "closed"},
        {"caller": "gateway", "order": "open", "instance": "payment-1"}, {"caller": "route/charges", "order": "open"}]"#;
    let breakers = serde_json::from_str(orders).unwrap();
    let steering = Steering { breakers, ..Steering::default() };
    let mut system = shop();
    for has_mesh in [true, false] {
        let traffic = Traffic { steering: [(name("payment"), steering.clone())].into(), faults: Vec::new() };
        let told = |workload: &str| -> Vec<String> {
            let outbound = of(workload, &system, &traffic).outbound;
            let orders = outbound.iter().flat_map(|call| &call.steering.breakers);
            orders.map(|order| order.subject(&name("payment"))).collect()
        };
        assert_eq!(told("service/order"), ["payment", "order->payment"], "{has_mesh}");
        assert_eq!(told("gateway"), ["payment", "gateway->payment@payment-1", "route:charges->payment"]);
        assert!(told("service/user").is_empty());
        system.mesh = None;
    }
}

#[test]
fn nobody_is_told_whose_a_split_is() {
    let mut of_rollout = traffic();
    of_rollout.steering.get_mut(&name("payment")).unwrap().rollout = Some(3);
    assert_eq!(compiled(&shop(), &of_rollout), compiled(&shop(), &traffic()));
}

#[test]
fn without_a_mesh_there_are_calls_and_steering_only() {
    let mut system = shop();
    system.mesh = None;
    for (workload, snapshot) in compiled(&system, &traffic()) {
        assert_eq!(snapshot.mode, None, "{workload}");
        assert!(snapshot.inbound.is_empty() && snapshot.faults.is_empty(), "{workload}");
    }
    assert!(!of("gateway", &system, &traffic()).outbound[1].steering.is_empty());
}

#[test]
fn nobody_is_told_of_services_that_are_not_theirs() {
    let told = |workload: &str| serde_json::to_string(&of(workload, &shop(), &traffic())).unwrap();
    for (workload, hidden) in [
        ("service/user", &["payment", "bank", "v1", "v2"][..]),
        ("service/order", &["bank", "v2", "/users/", "/transfers"]),
        ("service/payment", &["user", "/orders", "/transfers"]),
        ("service/bank", &["order", "user", "v1"]),
        ("gateway", &["bank", "v2", "/users/", "/orders"]),
    ] {
        let told = told(workload);
        for word in hidden {
            assert!(!told.contains(word), "{workload} is told of {word}: {told}");
        }
    }
}

#[test]
fn the_order_in_which_things_are_declared_tells_nothing() {
    let mut system = shop();
    let text = |system: &System, traffic: &Traffic| {
        serde_json::to_string(&compiled(system, traffic).values().collect::<Vec<_>>()).unwrap()
    };
    let before = text(&system, &traffic());
    assert_eq!(text(&system, &traffic()), before);
    system.services.reverse();
    system.services.iter_mut().for_each(|service| service.calls.reverse());
    system.table.routes.reverse();
    let mut reversed = traffic();
    reversed.faults.reverse();
    assert_eq!(text(&system, &reversed), before);
}

#[test]
fn what_is_written_can_be_read() {
    for (workload, snapshot) in compiled(&shop(), &traffic()) {
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot, "{workload}");
    }
}
