//! Whole files: the design's example, many problems at once, limits, what may be left out.

use std::{fmt::Write as _, time::Duration};

use super::{check, parse, told};
use crate::{
    InstanceId, ServiceName,
    deploy::{Condition, Deployment, Plan, Strategy},
    gateway::RouteTable,
    parse::{PROBLEMS_MAX, SERVICES_MAX, TEXT_MAX, decode},
    policy::{Backoff, Balance, BreakerPolicy, CallPolicy, OpenFor, RetryPolicy, Window},
    problem::{Position, render},
    route::{Backend, HostPattern, PathPattern, Route, RouteMatch},
    system::{Boundary, Call, Check, Operation, Resource, RouteSite, Service, System},
    units::Share,
};

/// The design's example, with the service it calls.
const SHOP: &str = r#"name = "shop"

[service.order]                         # Services(S)
build = "cargo build --release -p shop-order"
run   = "${target}/release/shop-order"
replicas = 2
check = { http = "/readyz", every = "2s", timeout = "500ms", healthy_after = 3, unhealthy_after = 5 }

[service.order.boundary]                # Boundary(s) = ⟨API, Data, State⟩: what it owns
api   = ["POST /orders", "GET /orders/{id}"]
data  = ["sqlite:order.db"]
state = ["topic:order.placed", "cache:order"]

[service.order.calls.payment]           # Communication(S): declared edges, each with its policy
mode    = "sync"                        # sync | async | message
timeout = "800ms"
retry   = { attempts_max = 3, backoff = "20ms..500ms", budget = "20%" }
breaker = { failure_rate = "50%", slow_call = "300ms", window = "10s", calls_min = 20, open_for = "5s", probes_max = 3 }
balance = "p2c-ewma"

[[route]]                               # north-south, in the Gateway API's words
name = "orders"
hosts = ["shop.localhost"]
matches = [{ path = "/orders/**", methods = ["GET", "POST"] }]
backends = [{ service = "order", weight = 100 }]

[service.payment]
run = "./payment"
version = "v1"
env = { RUST_LOG = "info", BANK = "http://127.0.0.1:9" }

[deploy.payment]                        # Deployment(S)
strategy = "canary"
steps = ["5%", "25%", "50%"]
bake = "2m"
abort_when = "error_rate > 1% or p99 > 400ms"
"#;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn path(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

fn at(line: usize, column: usize) -> Position {
    Position { line, column }
}

fn resource(kind: &str, name: &str, position: Position) -> Resource {
    Resource { kind: kind.to_owned(), name: name.to_owned(), position }
}

fn payment_policy() -> CallPolicy {
    CallPolicy {
        timeout: Duration::from_millis(800),
        retry: Some(RetryPolicy {
            attempts_max: 3,
            backoff: Backoff { min: Duration::from_millis(20), max: Duration::from_millis(500) },
            budget: Share::from_percent(20),
            ..RetryPolicy::default()
        }),
        breaker: Some(BreakerPolicy {
            failure_rate: Share::from_percent(50),
            slow_call: Some(Duration::from_millis(300)),
            slow_rate: None,
            consecutive: None,
            window: Window::Time(Duration::from_secs(10)),
            calls_min: 20,
            open_for: OpenFor::exactly(Duration::from_secs(5)),
            probes_max: 3,
            ..BreakerPolicy::default()
        }),
        balance: Balance::P2cEwma.into(),
        ..CallPolicy::default()
    }
}

fn order() -> Service {
    let operation =
        |method: &str, pattern, position| Operation { method: method.to_owned(), path: path(pattern), position };
    Service {
        build: Some("cargo build --release -p shop-order".to_owned()),
        run: Some("${target}/release/shop-order".to_owned()),
        replicas: 2,
        check: Check {
            http: "/readyz".to_owned(),
            every: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            healthy_after: 3,
            unhealthy_after: 5,
        },
        boundary: Boundary {
            api: vec![operation("POST", "/orders", at(10, 10)), operation("GET", "/orders/{id}", at(10, 26))],
            data: vec![resource("sqlite", "order.db", at(11, 10))],
            state: vec![resource("topic", "order.placed", at(12, 10)), resource("cache", "order", at(12, 32))],
        },
        calls: vec![Call {
            policy: payment_policy(),
            timeout_position: Some(at(16, 11)),
            ..Call::new(name("payment"), at(14, 22))
        }],
        ..Service::new(name("order"), at(3, 10))
    }
}

fn payment() -> Service {
    Service {
        run: Some("./payment".to_owned()),
        version: "v1".to_owned(),
        replicas: 1,
        env: [("RUST_LOG", "info"), ("BANK", "http://127.0.0.1:9")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Service::new(name("payment"), at(27, 10))
    }
}

fn deployment() -> Deployment {
    let plan = Plan {
        strategy: Strategy::Canary,
        steps: [5, 25, 50].map(Share::from_percent).to_vec(),
        bake: Duration::from_mins(2),
        abort_when: Condition::parse("error_rate > 1% or p99 > 400ms").ok(),
        ..Plan::default()
    };
    Deployment { service: name("payment"), position: at(32, 9), plan }
}

#[test]
fn the_example_of_the_design_is_read() {
    let matched = RouteMatch {
        path: path("/orders/**"),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        headers: Vec::new(),
    };
    let route = Route {
        hosts: vec![HostPattern::Exact("shop.localhost".to_owned())],
        matches: vec![matched],
        ..Route::new("orders", vec![Backend { service: name("order"), weight: 100 }])
    };
    let table = RouteTable { routes: vec![route], ..RouteTable::default() };
    let routes = [("orders".to_owned(), RouteSite { position: at(22, 8), timeout_position: None })].into();
    let services = vec![order(), payment()];
    let deployments = vec![deployment()];
    let system = System { services, table, routes, deployments, ..System::new(name("shop")) };
    assert_eq!(parse(SHOP), Ok(system));
}

#[test]
fn everything_wrong_is_told_at_once_and_in_order() {
    let text = r#"name = "Shop"
replica = 2

[service.order]
run = "./order"
replicas = 101
check = { http = "readyz", evry = "2s" }
env = { "1ST" = "x" }

[service.order.boundary]
api = ["FETCH /orders"]
data = ["sqlite:../order.db"]

[service.order.calls.order]
[service.order.calls.paymnt]
timeout = "1s"
retry = { attempts_max = 99, per_try_timeout = "2s" }
breaker = { failure_rate = "101%", window = "0s", probes_max = 0 }
balance = "maglev"

[service.payment]
build = 5

[[route]]
name = "orders"
hosts = ["shop:80"]
matches = [{ path = "orders" }]
backends = [{ service = "ordr" }, { service = "order", weight = -1 }]
auth = "customers"
body_max = "10 MB"
"#;
    let problems = parse(text).unwrap_err();
    let positions: Vec<(usize, usize)> = problems.iter().map(|p| (p.position.line, p.position.column)).collect();
    let expect = [
        (1, 8),
        (2, 1),
        (6, 12),
        (7, 18),
        (7, 28),
        (8, 9),
        (11, 8),
        (12, 9),
        (14, 22),
        (17, 26),
        (17, 48),
        (18, 28),
        (18, 45),
        (18, 64),
        (19, 11),
        (22, 9),
        (26, 10),
        (27, 21),
        (28, 25),
        (28, 65),
        (29, 8),
        (30, 12),
    ];
    assert_eq!(positions, expect, "{:#?}", problems.iter().map(told).collect::<Vec<_>>());
    let shown = render("shop/bowline.toml", text, &problems[8]);
    let expect = "shop/bowline.toml:14:22: error: `order` calls itself
   14 | [service.order.calls.order]
      |                      ^^^^^ remove it: what a service does itself is no call
";
    assert_eq!(shown, expect);
}

#[test]
fn what_is_left_out_has_a_default() {
    let text = r#"
name = "t"
[service.outside]
[service.a]
run = "./a"
[service.a.calls.outside]
retry = { attempts_max = 5 }
breaker = "off"
[[route]]
name = "r"
matches = [{ headers = { X-Canary = "yes" } }]
backends = [{ service = "a" }, { service = "outside", weight = 0 }]
retry = "off"
body_max = "1 KiB"
"#;
    let system = parse(text).unwrap();
    let outside = system.service("outside").unwrap();
    assert_eq!((outside.run.as_ref(), outside.replicas, &outside.check), (None, 0, &Check::default()));
    let service = system.service("a").unwrap();
    assert_eq!(service.replicas, 1);
    let policy = &service.calls[0].policy;
    assert_eq!(policy.timeout, CallPolicy::default().timeout);
    assert_eq!(policy.retry, Some(RetryPolicy { attempts_max: 5, ..RetryPolicy::default() }));
    assert_eq!(policy.breaker, None);
    let route = &system.table.routes[0];
    assert_eq!(route.policy, CallPolicy { retry: None, ..CallPolicy::default() });
    assert_eq!(String::from(route.matches[0].path.clone()), "/**");
    assert_eq!(route.matches[0].headers, [("x-canary".to_owned(), "yes".to_owned())]);
    assert_eq!(route.backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(route.body_max, 1024);
}

#[test]
fn what_was_read_survives_json() {
    let system = parse(SHOP).unwrap();
    let policy = &system.services[0].calls[0].policy;
    let json = serde_json::to_string(policy).unwrap();
    assert!(json.contains(r#""timeout":"800ms""#) && json.contains(r#""backoff":"20ms..500ms""#), "{json}");
    assert_eq!(&serde_json::from_str::<CallPolicy>(&json).unwrap(), policy);
}

#[test]
fn the_order_of_the_file_is_kept() {
    let text =
        "name = \"t\"\n[service.z.boundary]\n[service.a]\n[service.m.calls.z]\n[service.m.calls.a]\n[service.z]\n";
    let system = parse(text).unwrap();
    let names = |services: &[Service]| services.iter().map(|s| s.name.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&system.services), "a m z");
    let calls: Vec<&str> = system.services[1].calls.iter().map(|call| call.target.as_str()).collect();
    assert_eq!(calls, ["z", "a"]);
}

#[test]
fn the_edges_of_a_range_are_in_it() {
    for count in ["0", "100", "0x64", "1_0", "+5"] {
        assert!(parse(&format!("name = \"t\"\n[service.a]\nrun = \"x\"\nreplicas = {count}")).is_ok(), "{count}");
    }
    let policy = r#"name = "t"
[service.b]
[service.a.calls.b]
timeout = "1d"
retry = { attempts_max = 10, per_try_timeout = "1d", backoff = "1s..1s", budget = "0%" }
breaker = { failure_rate = "100%", slow_call = "1d", calls_min = 1, probes_max = 1 }
"#;
    check(policy, &[]);
}

#[test]
fn marks_and_carriage_returns_are_no_problem() {
    let windows = format!("\u{feff}{}", SHOP.replace('\n', "\r\n"));
    assert_eq!(parse(&windows), parse(SHOP));
    check("\u{feff}nam = 1\r\n", &["1:1+3 unknown key `nam` in the file → did you mean `name`?"]);
}

#[test]
fn columns_count_characters() {
    check(
        "\"é日\" = 1\nname = \"é\" # x",
        &[
            "1:1+4 unknown key `é日` in the file → the file has: name, boundary, mesh, tracing, metrics, alerts, messages, caches, databases, topic, service, gateway, auth, route, config, deploy, profile",
            "2:8+3 `name` (\"é\") is not a name → only a-z, 0-9 and - are allowed",
        ],
    );
}

#[test]
fn a_value_of_many_lines_is_underlined_in_its_first() {
    check("name = [\n\"a\",\n]", &["1:8+1 `name` is a list, not a string → write `name = \"shop\"`"]);
}

#[test]
fn limits_are_told() {
    let long = format!("name = \"t\"\n#{}", "x".repeat(TEXT_MAX));
    check(&long, &["1:1+1 the file has 4194316 bytes, above the limit of 4194304 → move what is generated out of it"]);

    let mut services = String::from("name = \"t\"\n");
    for index in 0..=SERVICES_MAX {
        writeln!(services, "[service.s{index}]").unwrap();
    }
    check(
        &services,
        &["4002:10+5 `service` has 4001 entries, above the limit of 4000 → remove this one and those after it"],
    );

    let hosts: Vec<String> = (0..=1000).map(|index| format!("\"h{index}\"")).collect();
    let route = format!(
        "name = \"t\"\n[service.a]\n[[route]]\nname = \"r\"\nbackends = [{{ service = \"a\" }}]\nhosts = [{}]",
        hosts.join(",\n")
    );
    check(
        &route,
        &["1006:1+7 `hosts` has 1001 elements, above the limit of 1000 → remove this one and those after it"],
    );

    let unknown: String = (0..PROBLEMS_MAX * 2).fold(String::new(), |text, index| format!("{text}x{index} = 1\n"));
    let problems = parse(&unknown).unwrap_err();
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert_eq!(told(problems.last().unwrap()), "2001:1+1 there are more than 1000 problems → fix these first");
}

#[test]
fn what_is_no_text_is_told() {
    assert_eq!(decode("é".as_bytes()), Ok("é"));
    let problem = decode(b"name = \"a\"\n# \xc3\xa9 \xff").unwrap_err();
    assert_eq!(told(&problem), "2:5+1 the file is not UTF-8 here → save it as UTF-8");
}

#[test]
fn instances_and_variables_are_named_after_what_is_declared() {
    let system = parse(SHOP).unwrap();
    let order = system.service("order").unwrap();
    assert!(InstanceId::new(&format!("{}-1", order.name)).is_ok());
    assert_eq!(order.boundary.data[0].to_string(), "sqlite:order.db");
    assert_eq!(order.boundary.data[0].variable(), "BOWLINE_DATA_ORDER_DB");
}
