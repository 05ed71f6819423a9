//! What a gateway serves by, read right: from the whole file, and from a document of its own.

use std::time::Duration;

use super::{super::TEXT_MAX, parse, routes, routes_text, told};
use crate::{
    gateway::{
        ApiKey, ApiKeyPolicy, AuthKind, AuthProvider, CorsPolicy, HeaderEdits, JwtAlgorithm, JwtKeys, JwtPolicy,
        KeyHash, LimitBy, LimitPolicy, ListenerPolicy, Middleware, Quota, RouteTable, SecretSource, Window,
    },
    name::{ConfigKey, ServiceName},
    problem::Position,
    route::{Backend, Route},
    system::ConfigDeclaration,
    units::Rate,
};

const SHOP: &str = r#"# The shop.
name = "shop"

[service.order]
run = "./order"
# replicas = 3

# Keys are served by this one.
[service.user]

[gateway]                      # before routing
auth = "partners"
limit = { by = "address", rate = "1000/s", burst = 2000 }

[auth.customers]
jwt = { issuer = "https://shop.localhost", audience = "shop", algorithms = ["EdDSA", "ES256"], jwks = { service = "user", path = "/.well-known/jwks.json" }, leeway = "0s" }
pass_credential = true

[config."shop/order"]
document = "config/order.toml"
schema = "./config/order.schema.json"

[auth.partners.api_key]
header = "X-Partner-Key"
keys = [
  # two of them
  { subject = "acme", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" },
  { subject = "Zed & Co", hash = "sha256:0B0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b" },
]

# Where orders come in.

[[route]]
name = "orders"
backends = [{ service = "order" }]
auth = "customers"
limit = { by = "subject", rate = "5000/h", burst = 1 }
request_id = true
compress = true

[service.order.boundary]
data = ["sqlite:order.db"]

[route.cors]
origins = ["https://Shop.example:8443", "capacitor://localhost", "http://[::1]:8080"]
methods = ["PUT"]
headers = ["Content-Type"]
expose = ["X-Request-Id"]
credentials = true
max_age = "1h"
[route.request_headers]
remove = ["X-A"]
set = { X-B = "1", x-c = "" }
add = { x-b = "2" }
[route.response_headers.set]
strict-transport-security = "max-age=63072000"

[config."shop/notes"]
document = "notes.txt" # the last
"#;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn customers() -> AuthProvider {
    let jwt = JwtPolicy {
        issuer: "https://shop.localhost".to_owned(),
        audience: "shop".to_owned(),
        algorithms: vec![JwtAlgorithm::EdDsa, JwtAlgorithm::Es256],
        keys: JwtKeys::Service { service: name("user"), path: "/.well-known/jwks.json".to_owned() },
        leeway: Duration::ZERO,
    };
    AuthProvider { name: name("customers"), kind: AuthKind::Jwt(jwt), pass_credential: true }
}

fn partners() -> AuthProvider {
    let keys = vec![
        ApiKey { subject: "acme".to_owned(), hash: KeyHash([0x0a; 32]) },
        ApiKey { subject: "Zed & Co".to_owned(), hash: KeyHash([0x0b; 32]) },
    ];
    let policy = ApiKeyPolicy { header: "x-partner-key".to_owned(), keys };
    AuthProvider { name: name("partners"), kind: AuthKind::ApiKey(policy), pass_credential: false }
}

fn limit(by: LimitBy, rate: &str, burst: u32) -> LimitPolicy {
    LimitPolicy { by, quota: Quota::Pace { rate: Rate::parse(rate).unwrap(), burst } }
}

fn middleware() -> Middleware {
    Middleware {
        cors: Some(CorsPolicy {
            origins: texts(["https://shop.example:8443", "capacitor://localhost", "http://[::1]:8080"]),
            methods: texts(["PUT"]),
            headers: texts(["content-type"]),
            expose: texts(["x-request-id"]),
            credentials: true,
            max_age: Duration::from_hours(1),
        }),
        request_id: true,
        request_headers: HeaderEdits {
            remove: texts(["x-a"]),
            set: pairs([("x-b", "1"), ("x-c", "")]),
            add: pairs([("x-b", "2")]),
        },
        response_headers: HeaderEdits {
            set: pairs([("strict-transport-security", "max-age=63072000")]),
            ..HeaderEdits::default()
        },
        compress: true,
    }
}

fn table() -> RouteTable {
    let route = Route {
        auth: Some(name("customers")),
        limit: Some(limit(LimitBy::Subject, "5000/h", 1)),
        middleware: middleware(),
        ..Route::new("orders", vec![Backend { service: name("order"), weight: 1 }])
    };
    RouteTable {
        listener: ListenerPolicy { auth: Some(name("partners")), limit: Some(limit(LimitBy::Address, "1000/s", 2000)) },
        auth: vec![customers(), partners()],
        routes: vec![route],
    }
}

#[test]
fn the_whole_file_is_read() {
    let system = parse(SHOP).unwrap();
    assert_eq!(system.table, table());
    assert_eq!(system.table.auth("partners"), Some(&partners()));
    let declaration = |key, line, document: &str, schema: Option<&str>| ConfigDeclaration {
        key: ConfigKey::new(key).unwrap(),
        position: Position { line, column: 9 },
        document: Some(document.to_owned()),
        schema: schema.map(str::to_owned),
    };
    let expect = [
        declaration("shop/order", 19, "config/order.toml", Some("./config/order.schema.json")),
        declaration("shop/notes", 58, "notes.txt", None),
    ];
    assert_eq!(system.configs, expect);
}

/// The keys of an auth section of such a `jwt`.
fn jwt(rest: &str) -> JwtPolicy {
    let text = format!("[auth.a.jwt]\nissuer = \"i\"\naudience = \"s\"\n{rest}");
    let table = routes(&text, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    match &table.auth[0].kind {
        AuthKind::Jwt(policy) => policy.clone(),
        AuthKind::ApiKey(policy) => panic!("{policy:?}"),
    }
}

#[test]
fn keys_of_tokens_may_be_in_many_places() {
    for url in ["https://login.example/keys", "http://127.0.0.1:9/k?v=1", "https://[::1]", "https://a_b.example"] {
        let policy = jwt(&format!("algorithms = [\"RS256\"]\njwks = \"{url}\""));
        assert_eq!(policy.keys, JwtKeys::Url(url.to_owned()));
        assert_eq!(policy.leeway, Duration::from_secs(30));
    }
    let policy = jwt("algorithms = [\"RS256\", \"ES256\", \"EdDSA\"]\njwks = \"file:/etc/k.json\"\nleeway = \"5m\"");
    assert_eq!(policy.keys, JwtKeys::File("/etc/k.json".to_owned()));
    assert_eq!(policy.leeway, Duration::from_mins(5));
    for (text, source) in [
        ("env:SHOP_SECRET_2", SecretSource::Env("SHOP_SECRET_2".to_owned())),
        ("file:run/secret", SecretSource::File("run/secret".to_owned())),
    ] {
        let policy = jwt(&format!("algorithms = [\"HS256\"]\nsecret = \"{text}\""));
        assert_eq!(policy.keys, JwtKeys::Secret(source));
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let text = r#"
[auth.a]
api_key = { keys = [{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }] }
[gateway]
[[route]]
name = "r"
backends = [{ service = "order" }]
cors = { origins = ["*"], headers = ["*"] }
request_headers = {}
"#;
    let table = routes(text, &[name("order")]).unwrap();
    assert_eq!(table.listener, ListenerPolicy::default());
    let AuthKind::ApiKey(policy) = &table.auth[0].kind else { panic!("{table:?}") };
    assert_eq!(policy.header, "x-api-key");
    let Middleware { cors, request_id, request_headers, response_headers, compress } = &table.routes[0].middleware;
    let cors = cors.as_ref().unwrap();
    assert_eq!((&cors.origins, &cors.headers, cors.credentials), (&texts(["*"]), &texts(["*"]), false));
    assert_eq!(cors.max_age, Duration::from_mins(10));
    assert!(request_headers.is_empty() && response_headers.is_empty() && !request_id && !compress);
    assert_eq!((&table.routes[0].auth, &table.routes[0].limit), (&None, &None));
}

#[test]
fn who_the_listener_knows_the_routes_know() {
    let text = r#"
[auth.a]
jwt = { issuer = "i", audience = "s", algorithms = ["EdDSA"], jwks = "file:k" }
[gateway]
auth = "a"
limit = { by = "subject", rate = "1/d", burst = 30 }
[[route]]
name = "r"
backends = [{ service = "order" }]
limit = { by = "subject", rate = "1000000/s", burst = 1000000 }
[[route]]
name = "s"
hosts = ["s"]
backends = [{ service = "order" }]
limit = { by = "header:X-Tenant", rate = "1/s", burst = 1 }
[[route]]
name = "t"
hosts = ["t"]
backends = [{ service = "order" }]
limit = { by = "subject", window = "100 in 1m" }
"#;
    let table = routes(text, &[name("order")]).unwrap();
    assert_eq!(table.routes[0].limit, Some(limit(LimitBy::Subject, "1000000/s", 1_000_000)));
    assert_eq!(table.routes[1].limit, Some(limit(LimitBy::Header("x-tenant".to_owned()), "1/s", 1)));
    let quota = Quota::Window(Window::parse("100 in 1m").unwrap());
    assert_eq!(table.routes[2].limit, Some(LimitPolicy { by: LimitBy::Subject, quota }));
}

// === the document of the routes alone ===

const ROUTES: &str = r#"[gateway]                      # before routing
auth = "partners"
limit = { by = "address", rate = "1000/s", burst = 2000 }

[auth.customers]
jwt = { issuer = "https://shop.localhost", audience = "shop", algorithms = ["EdDSA", "ES256"], jwks = { service = "user", path = "/.well-known/jwks.json" }, leeway = "0s" }
pass_credential = true

[auth.partners.api_key]
header = "X-Partner-Key"
keys = [
  # two of them
  { subject = "acme", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" },
  { subject = "Zed & Co", hash = "sha256:0B0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b" },
]

# Where orders come in.

[[route]]
name = "orders"
backends = [{ service = "order" }]
auth = "customers"
limit = { by = "subject", rate = "5000/h", burst = 1 }
request_id = true
compress = true

[route.cors]
origins = ["https://Shop.example:8443", "capacitor://localhost", "http://[::1]:8080"]
methods = ["PUT"]
headers = ["Content-Type"]
expose = ["X-Request-Id"]
credentials = true
max_age = "1h"
[route.request_headers]
remove = ["X-A"]
set = { X-B = "1", x-c = "" }
add = { x-b = "2" }
[route.response_headers.set]
strict-transport-security = "max-age=63072000"
"#;

#[test]
fn the_routes_are_cut_out_as_they_were_written() {
    assert_eq!(routes_text(SHOP), ROUTES);
    assert_eq!(routes(ROUTES, &[name("order"), name("user")]), Ok(table()));
    assert_eq!(routes_text(ROUTES), ROUTES, "again it is the same");
    let windows = format!("\u{feff}{}", SHOP.replace('\n', "\r\n"));
    assert_eq!(routes(&routes_text(&windows), &[name("order"), name("user")]), Ok(table()));
}

#[track_caller]
fn check_cut(text: &str, expect: &str) {
    assert_eq!(routes_text(text), expect, "of\n{text}");
    if let Ok(system) = parse(text) {
        let services: Vec<ServiceName> = system.services.iter().map(|service| service.name.clone()).collect();
        assert_eq!(routes(expect, &services), Ok(system.table));
    }
}

#[test]
fn whatever_the_layout() {
    check_cut("", "");
    check_cut("name = \"t\"", "");
    check_cut("# a\nname = \"t\"\n[service.a]\n# b\n", "");
    let route = "[[route]]\nname = \"r\"\nbackends = [{ service = \"a\" }]";
    // Right below, a comment is the next section's; above a blank line it is the last one's.
    check_cut(
        &format!("name = \"t\"\n[service.a]\n# of the route\n{route}\n# of b\n[service.b]"),
        &format!("# of the route\n{route}\n"),
    );
    check_cut(
        &format!("name = \"t\"\n[service.a]\n# of a\n\n# of the route\n\n# too\n{route} # r\n# r too\n\n[service.b]"),
        &format!("# of the route\n\n# too\n{route} # r\n# r too\n"),
    );
    // At the root, in dotted keys, in quotes, over lines, with brackets in texts.
    check_cut(
        "gateway.limit = 1\nname = \"t\"\n'gateway'.auth = \"[x\"\n",
        "gateway.limit = 1\n'gateway'.auth = \"[x\"\n",
    );
    check_cut(
        "route = [ # [a]\n  { name = \"r\", backends = [\n    { service = \"a\" } ] },\n\n]\nname = '''\n[route]\n'''\nservice.a = {}\n",
        "route = [ # [a]\n  { name = \"r\", backends = [\n    { service = \"a\" } ] },\n\n]\n",
    );
    check_cut("name = \"t\"\n[\"rou\\u0074e\"]\n[ service . a ]\n[ [ x\n", "[\"rou\\u0074e\"]\n");
    check_cut("name = \"\"\"\n[[route]]\n\"\"\"\n[service.route]\n[[deploy.gateway.auth]]\n", "");
}

#[track_caller]
fn check_routes(text: &str, expect: &[&str]) {
    let problems = routes(text, &[name("order")]).err().unwrap_or_default();
    assert_eq!(problems.iter().map(told).collect::<Vec<_>>(), expect, "in\n{text}\n");
}

#[test]
fn a_document_of_routes_has_nothing_else() {
    check_routes("", &[]);
    check_routes(
        "name = \"shop\"\n[service.order]\n[config.\"a/b\"]\n[deploy.order]\n[gatway]\n",
        &[
            "1:1+4 unknown key `name` in a route table → a route table has: gateway, auth, route",
            "2:2+7 unknown key `service` in a route table → a route table has: gateway, auth, route",
            "3:2+6 unknown key `config` in a route table → a route table has: gateway, auth, route",
            "4:2+6 unknown key `deploy` in a route table → a route table has: gateway, auth, route",
            "5:2+6 unknown key `gatway` in a route table → did you mean `gateway`?",
        ],
    );
    check_routes(
        &"x".repeat(TEXT_MAX + 1),
        &["1:1+1 the file has 4194305 bytes, above the limit of 4194304 → move what is generated out of it"],
    );
    check_routes("[[route]\n", &["1:9+1 unclosed array table → expected `]`"]);
}

#[test]
fn a_document_of_routes_names_what_the_system_has() {
    check_routes(
        r#"
[auth.a.jwt]
issuer = "i"
audience = "s"
algorithms = ["ES256"]
jwks = { service = "user", path = "/k" }
[[route]]
name = "r"
backends = [{ service = "ordr" }]
auth = "b"
"#,
        &[
            "6:20+6 unknown service `user` → declare it with `[service.user]` in bowline.toml",
            "9:25+6 unknown service `ordr` → did you mean `order`?",
            "10:8+3 unknown auth `b` → declare it with `[auth.b]`",
        ],
    );
}

#[test]
fn there_are_no_more_auth_sections_than_may_be() {
    let section = |index| {
        format!("[auth.a{index}.jwt]\nissuer = \"i\"\naudience = \"s\"\nalgorithms = [\"ES256\"]\njwks = \"file:k\"\n")
    };
    let text: String = (0..101).map(section).collect();
    check_routes(
        &text,
        &["501:7+4 `auth` has 101 entries, above the limit of 100 → remove this one and those after it"],
    );
}

#[test]
fn texts_are_bounded() {
    let route = "[[route]]\nname = \"r\"\nbackends = [{ service = \"order\" }]\n";
    let jwt = "[auth.a.jwt]\naudience = \"s\"\nalgorithms = [\"ES256\"]\n";
    let key =
        "[[auth.a.api_key.keys]]\nhash = \"sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\"\n";
    for (before, begin, max) in [
        (format!("{jwt}jwks = \"file:k\"\n"), "issuer = \"", 1024),
        (format!("{jwt}issuer = \"i\"\n"), "jwks = \"http://a/", 1024 - 9),
        (format!("{jwt}issuer = \"i\"\n"), "jwks = \"file:", 1024),
        (format!("{jwt}issuer = \"i\"\n[auth.a.jwt.jwks]\nservice = \"order\"\n"), "path = \"/", 1023),
        (key.to_owned(), "subject = \"", 256),
        (format!("{route}[route.response_headers.set]\n"), "x-a = \"", 4096),
    ] {
        let text = |length: usize| format!("{before}{begin}{}\"\n", "x".repeat(length));
        assert_eq!(routes(&text(max), &[name("order")]).err(), None, "{begin}");
        let problems = routes(&text(max + 1), &[name("order")]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.len() < 200, "what is told is short: {problems:?}");
    }
}
