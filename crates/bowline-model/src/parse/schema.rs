//! Which keys each table of `bowline.toml` may have, each with an example of its value.
//!
//! The one list: unknown keys are told by it, helps are written from its examples, and
//! `docs/bowline-toml.md` is held against it by a test.

/// What one kind of table may hold.
#[derive(Debug)]
pub(super) struct Schema {
    /// How a message calls such a table.
    pub(super) title: &'static str,
    pub(super) keys: &'static [Key],
}

/// One key of a table.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// A right value, as TOML; of a section the header that is written for it.
    pub(super) example: &'static str,
    pub(super) is_section: bool,
}

impl Key {
    /// How it is written under a name, for a help.
    pub(super) fn like_this(&self, name: &str) -> String {
        if self.is_section { format!("write `{}`", self.example) } else { format!("write `{name} = {}`", self.example) }
    }
}

impl Schema {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, example: &'static str) -> Key {
    Key { name, example, is_section: false }
}

const fn section(name: &'static str, header: &'static str) -> Key {
    Key { name, example: header, is_section: true }
}

pub(super) static SYSTEM: Schema = Schema {
    title: "the file",
    keys: &[
        key("name", r#""shop""#),
        section("boundary", "[boundary]"),
        section("mesh", "[mesh]"),
        section("tracing", "[tracing]"),
        section("metrics", "[metrics]"),
        section("alerts", "[alerts]"),
        section("messages", "[messages]"),
        section("caches", "[caches]"),
        section("databases", "[databases]"),
        section("topic", r#"[topic."order.placed"]"#),
        section("service", "[service.order]"),
        GATEWAY_KEY,
        AUTH_KEY,
        ROUTE_KEY,
        section("config", r#"[config."shop/order"]"#),
        section("deploy", "[deploy.order]"),
        section("profile", "[profile.postgres]"),
    ],
};

/// The document of the routes alone.
pub(super) static ROUTE_TABLE: Schema = Schema { title: "a route table", keys: &[GATEWAY_KEY, AUTH_KEY, ROUTE_KEY] };

const GATEWAY_KEY: Key = section("gateway", "[gateway]");
const AUTH_KEY: Key = section("auth", "[auth.customers]");
const ROUTE_KEY: Key = section("route", "[[route]]");

/// What becomes of who breaks a boundary; [`BOUNDARY`] is one service's.
pub(super) static BOUNDARIES: Schema =
    Schema { title: "the boundary section", keys: &[key("enforce", r#""deny""#), key("amplification_max", "50")] };

pub(super) static MESH: Schema = Schema {
    title: "a mesh",
    keys: &[key("mode", r#""strict""#), key("authorization", r#""enforce""#), key("certificate_ttl", r#""1h""#)],
};

pub(super) static TRACING: Schema = Schema {
    title: "tracing",
    keys: &[
        key("sample", r#""10%""#),
        key("services", r#"{ order = "100%" }"#),
        key("export", r#"{ otlp = "http://127.0.0.1:4318" }"#),
    ],
};

pub(super) static EXPORT: Schema = Schema {
    title: "an export",
    keys: &[
        key("otlp", r#""https://collector.example:4318""#),
        key("headers", r#"{ authorization = "env:OTLP_AUTHORIZATION" }"#),
    ],
};

pub(super) static METRICS: Schema = Schema {
    title: "metrics",
    keys: &[
        key("every", r#""5s""#),
        key("retention", r#""15d""#),
        key("targets", r#"[{ job = "node", address = "127.0.0.1:9100" }]"#),
    ],
};

pub(super) static TARGET: Schema = Schema {
    title: "a target",
    keys: &[
        key("job", r#""node""#),
        key("address", r#""127.0.0.1:9100""#),
        key("path", r#""/metrics""#),
        key("labels", r#"{ rack = "r1" }"#),
    ],
};

pub(super) static ALERTS: Schema = Schema {
    title: "alerts",
    keys: &[
        key("rules", r#"["alerts.yaml"]"#),
        key("group_by", r#"["alertname"]"#),
        key("group_wait", r#""0s""#),
        key("group_interval", r#""1m""#),
        key("repeat_interval", r#""4h""#),
        section("receivers", "[alerts.receivers.ops]"),
    ],
};

pub(super) static RECEIVER: Schema = Schema {
    title: "a receiver",
    keys: &[
        key("webhook", r#""env:OPS_WEBHOOK""#),
        key("match", r#"['severity="page"']"#),
        key("send_resolved", "true"),
    ],
};

pub(super) static MESSAGES: Schema = Schema {
    title: "messages",
    keys: &[key("nats", r#""nats://127.0.0.1:4222""#), key("credential", r#""env:NATS_TOKEN""#)],
};

pub(super) static CACHES: Schema = Schema {
    title: "caches",
    keys: &[
        key("redis", r#""redis://127.0.0.1:6379""#),
        key("credential", r#""env:REDIS_PASSWORD""#),
        key("bytes_max", r#""64 MiB""#),
    ],
};

pub(super) static DATABASES: Schema = Schema {
    title: "databases",
    keys: &[key("postgres", r#""postgres://127.0.0.1:5432""#), key("credential", r#""env:POSTGRES_PASSWORD""#)],
};

pub(super) static TOPIC: Schema = Schema {
    title: "a topic",
    keys: &[key("keep", r#""24h""#), key("bytes_max", r#""1 GiB""#), key("dedup", r#""2m""#)],
};

pub(super) static SERVICE: Schema = Schema {
    title: "a service",
    keys: &[
        BUILD,
        RUN,
        REPLICAS,
        key("check", r#"{ http = "/readyz", every = "2s", timeout = "500ms" }"#),
        ENV,
        section("boundary", "[service.order.boundary]"),
        section("calls", "[service.order.calls.payment]"),
        key("outbound", r#""sidecar""#),
        key("bind", r#""unix""#),
        key("metrics", r#""/metrics""#),
        key("version", r#""v1""#),
        section("versions", "[service.order.versions.v2]"),
        key("listen", r#"["mqtt:1883"]"#),
        key("shed", r#"{ calls_max = "4..1000", delay_target = "20ms" }"#),
    ],
};

const BUILD: Key = key("build", r#""cargo build --release -p shop-order""#);
const RUN: Key = key("run", r#""${target}/release/shop-order""#);
const REPLICAS: Key = key("replicas", "2");
const ENV: Key = key("env", r#"{ RUST_LOG = "info" }"#);

pub(super) static VERSION: Schema = Schema { title: "a version", keys: &[BUILD, RUN, REPLICAS, ENV] };

pub(super) static CHECK: Schema = Schema {
    title: "a check",
    keys: &[
        key("http", r#""/readyz""#),
        key("every", r#""2s""#),
        key("timeout", r#""500ms""#),
        key("healthy_after", "1"),
        key("unhealthy_after", "2"),
    ],
};

pub(super) static BOUNDARY: Schema = Schema {
    title: "a boundary",
    keys: &[
        key("api", r#"["POST /orders", "GET /orders/{id}"]"#),
        key("data", r#"["sqlite:order.db"]"#),
        key("state", r#"["topic:order.placed", "cache:order"]"#),
    ],
};

pub(super) static CALL: Schema = Schema {
    title: "a call",
    keys: &[
        key("mode", r#""sync""#),
        key("operations", r#"["POST /charges"]"#),
        key("topics", r#"["order.placed"]"#),
        TIMEOUT,
        RETRY_KEY,
        BREAKER_KEY,
        BALANCE,
        OUTCOME_KEY,
        OUTLIER_KEY,
        HEDGE_KEY,
        BULKHEAD_KEY,
        FALLBACK_KEY,
    ],
};

const TIMEOUT: Key = key("timeout", r#""800ms""#);
const RETRY_KEY: Key = key("retry", r#"{ attempts_max = 3, backoff = "20ms..500ms", budget = "20%" }"#);
const BREAKER_KEY: Key = key("breaker", r#"{ failure_rate = "50%", window = "10s", open_for = "5s" }"#);
const BALANCE: Key = key("balance", r#""p2c-ewma""#);
const OUTCOME_KEY: Key = key("outcome", r#"{ failures = ["5xx", "429"], ignored = ["404"] }"#);
const OUTLIER_KEY: Key = key("outlier", r#"{ consecutive = 5, eject_for = "30s..5m", ejected_max = "10%" }"#);
const HEDGE_KEY: Key = key("hedge", r#"{ after = "50ms", budget = "10%" }"#);
const BULKHEAD_KEY: Key = key("bulkhead", r#"{ calls_max = 100, queue_max = 50, queue_timeout = "100ms" }"#);
const FALLBACK_KEY: Key = key("fallback", r#"{ status = 200, body = "[]" }"#);

pub(super) static RETRY: Schema = Schema {
    title: "a retry",
    keys: &[
        key("attempts_max", "3"),
        key("backoff", r#""20ms..500ms""#),
        key("budget", r#""20%""#),
        key("per_try_timeout", r#""250ms""#),
        key("on", r#"["502", "503", "504", "grpc:unavailable"]"#),
        key("repeat", r#""idempotent""#),
    ],
};

pub(super) static BALANCE_TABLE: Schema = Schema {
    title: "a balance",
    keys: &[
        key("by", r#""p2c-ewma""#),
        key("key", r#""header:x-user""#),
        key("headroom", r#""25%""#),
        key("subset", "20"),
        key("slow_start", r#""30s""#),
        key("zones", r#""prefer""#),
        key("panic_below", r#""50%""#),
    ],
};

pub(super) static OUTCOME: Schema =
    Schema { title: "an outcome", keys: &[key("failures", r#"["5xx", "429"]"#), key("ignored", r#"["404"]"#)] };

pub(super) static OUTLIER: Schema = Schema {
    title: "an outlier",
    keys: &[
        key("consecutive", "5"),
        key("interval", r#""10s""#),
        key("failure_rate", r#""85%""#),
        key("deviations", r#""1.9""#),
        key("calls_min", "100"),
        key("instances_min", "5"),
        key("eject_for", r#""30s..5m""#),
        key("ejected_max", r#""10%""#),
    ],
};

pub(super) static HEDGE: Schema = Schema {
    title: "a hedge",
    keys: &[key("after", r#""50ms""#), key("attempts_max", "2"), key("budget", r#""10%""#)],
};

pub(super) static BULKHEAD: Schema = Schema {
    title: "a bulkhead",
    keys: &[key("calls_max", "100"), key("queue_max", "50"), key("queue_timeout", r#""100ms""#)],
};

pub(super) static FALLBACK: Schema = Schema {
    title: "a fallback",
    keys: &[key("status", "200"), key("body", r#""[]""#), key("content_type", r#""application/json""#)],
};

pub(super) static SHED: Schema = Schema {
    title: "a shed",
    keys: &[
        key("calls_max", r#""4..1000""#),
        key("queue_max", "1000"),
        key("delay_target", r#""20ms""#),
        key("interval", r#""100ms""#),
    ],
};

pub(super) static BREAKER: Schema = Schema {
    title: "a breaker",
    keys: &[
        key("failure_rate", r#""50%""#),
        key("slow_call", r#""300ms""#),
        key("slow_rate", r#""50%""#),
        key("consecutive", "5"),
        key("window", r#""10s""#),
        key("calls_min", "20"),
        key("open_for", r#""5s""#),
        key("probes_max", "3"),
        key("per", r#""instance""#),
    ],
};

pub(super) static ROUTE: Schema = Schema {
    title: "a route",
    keys: &[
        key("name", r#""orders""#),
        key("hosts", r#"["shop.localhost"]"#),
        key("matches", r#"[{ path = "/orders/**", methods = ["GET", "POST"] }]"#),
        key("backends", r#"[{ service = "order", weight = 100 }]"#),
        TIMEOUT,
        RETRY_KEY,
        BREAKER_KEY,
        BALANCE,
        OUTCOME_KEY,
        OUTLIER_KEY,
        HEDGE_KEY,
        BULKHEAD_KEY,
        FALLBACK_KEY,
        key("body_max", r#""10 MiB""#),
        AUTH_NAME,
        LIMIT_KEY,
        key("cors", r#"{ origins = ["https://shop.example"] }"#),
        key("request_id", "true"),
        key("request_headers", r#"{ remove = ["x-debug"], set = { x-shop = "1" } }"#),
        key("response_headers", r#"{ set = { strict-transport-security = "max-age=63072000" } }"#),
        key("compress", "true"),
    ],
};

pub(super) static MATCH: Schema = Schema {
    title: "a match",
    keys: &[
        key("path", r#""/orders/**""#),
        key("methods", r#"["GET", "POST"]"#),
        key("headers", r#"{ x-canary = "yes" }"#),
    ],
};

pub(super) static BACKEND: Schema =
    Schema { title: "a backend", keys: &[key("service", r#""order""#), key("weight", "100")] };

pub(super) static GATEWAY: Schema = Schema { title: "the gateway", keys: &[AUTH_NAME, LIMIT_KEY] };

const AUTH_NAME: Key = key("auth", r#""customers""#);
const LIMIT_KEY: Key = key("limit", r#"{ by = "address", rate = "100/s", burst = 200 }"#);

pub(super) static AUTH: Schema = Schema {
    title: "an auth section",
    keys: &[
        key(
            "jwt",
            r#"{ issuer = "https://shop.example", audience = "shop", algorithms = ["EdDSA"], jwks = { service = "user", path = "/.well-known/jwks.json" } }"#,
        ),
        section("api_key", "[auth.partners.api_key]"),
        key("pass_credential", "true"),
    ],
};

pub(super) static JWT: Schema = Schema {
    title: "a jwt",
    keys: &[
        key("issuer", r#""https://shop.example""#),
        key("audience", r#""shop""#),
        key("algorithms", r#"["EdDSA"]"#),
        key("jwks", r#"{ service = "user", path = "/.well-known/jwks.json" }"#),
        key("secret", r#""env:SHOP_JWT_SECRET""#),
        key("leeway", r#""30s""#),
    ],
};

pub(super) static JWKS: Schema =
    Schema { title: "a jwks", keys: &[key("service", r#""user""#), key("path", r#""/.well-known/jwks.json""#)] };

pub(super) static API_KEY: Schema = Schema {
    title: "an api_key",
    keys: &[key("header", r#""x-api-key""#), key("keys", r#"[{ subject = "acme", hash = "sha256:…" }]"#)],
};

pub(super) static API_KEY_ONE: Schema =
    Schema { title: "a key", keys: &[key("subject", r#""acme""#), key("hash", r#""sha256:…""#)] };

pub(super) static LIMIT: Schema = Schema {
    title: "a limit",
    keys: &[key("by", r#""address""#), key("rate", r#""100/s""#), key("burst", "200"), key("window", r#""100 in 1m""#)],
};

pub(super) static CORS: Schema = Schema {
    title: "a cors",
    keys: &[
        key("origins", r#"["https://shop.example"]"#),
        key("methods", r#"["PUT", "DELETE"]"#),
        key("headers", r#"["content-type"]"#),
        key("expose", r#"["x-request-id"]"#),
        key("credentials", "true"),
        key("max_age", r#""10m""#),
    ],
};

pub(super) static HEADER_EDITS: Schema = Schema {
    title: "a change of headers",
    keys: &[key("remove", r#"["x-debug"]"#), key("set", r#"{ x-shop = "1" }"#), key("add", r#"{ vary = "x-shop" }"#)],
};

pub(super) static CONFIG: Schema = Schema {
    title: "a configuration",
    keys: &[key("document", r#""config/order.toml""#), key("schema", r#""config/order.schema.json""#)],
};

pub(super) static DEPLOY: Schema = Schema {
    title: "a deployment",
    keys: &[
        key("strategy", r#""canary""#),
        key("steps", r#"["5%", "25%", "50%"]"#),
        key("bake", r#""2m""#),
        key("abort_when", r#""error_rate > 1% or p99 > 400ms""#),
        key("min_requests", "20"),
    ],
};

/// What stands under the keys of the file's own choosing.
pub(super) static SERVICE_ENTRY: Key = section("X", "[service.order]");
pub(super) static CALL_ENTRY: Key = section("Y", "[service.order.calls.payment]");
pub(super) static VERSION_ENTRY: Key = section("V", "[service.order.versions.v2]");
pub(super) static AUTH_ENTRY: Key = section("X", "[auth.customers]");
pub(super) static SHARE_ENTRY: Key = key("NAME", r#""10%""#);
pub(super) static LABEL_ENTRY: Key = key("NAME", r#""value""#);
pub(super) static RECEIVER_ENTRY: Key = section("X", "[alerts.receivers.ops]");
pub(super) static TOPIC_ENTRY: Key = section("NAME", r#"[topic."order.placed"]"#);
pub(super) static CONFIG_ENTRY: Key = section("NAMESPACE/NAME", r#"[config."shop/order"]"#);
pub(super) static DEPLOY_ENTRY: Key = section("X", "[deploy.order]");
pub(super) static PROFILE_ENTRY: Key = section("NAME", "[profile.postgres]");
pub(super) static ENV_ENTRY: Key = key("NAME", r#""value""#);
pub(super) static HEADER_ENTRY: Key = key("name", r#""value""#);

/// Every table there is, in the order of the reference page, with its heading there.
#[cfg(test)]
pub(super) const ALL: [(&str, &Schema); 41] = [
    ("The system", &SYSTEM),
    ("`[boundary]`", &BOUNDARIES),
    ("`[mesh]`", &MESH),
    ("`[tracing]`", &TRACING),
    ("`export`", &EXPORT),
    ("`[metrics]`", &METRICS),
    ("`targets`", &TARGET),
    ("`[alerts]`", &ALERTS),
    ("`[alerts.receivers.X]`", &RECEIVER),
    ("`[messages]`", &MESSAGES),
    ("`[caches]`", &CACHES),
    ("`[databases]`", &DATABASES),
    ("`[topic.\"NAME\"]`", &TOPIC),
    ("`[service.X]`", &SERVICE),
    ("`check`", &CHECK),
    ("`[service.X.boundary]`", &BOUNDARY),
    ("`[service.X.calls.Y]`", &CALL),
    ("`[service.X.versions.V]`", &VERSION),
    ("`retry`", &RETRY),
    ("`breaker`", &BREAKER),
    ("`balance`", &BALANCE_TABLE),
    ("`outcome`", &OUTCOME),
    ("`outlier`", &OUTLIER),
    ("`hedge`", &HEDGE),
    ("`bulkhead`", &BULKHEAD),
    ("`fallback`", &FALLBACK),
    ("`shed`", &SHED),
    ("`[[route]]`", &ROUTE),
    ("`matches`", &MATCH),
    ("`backends`", &BACKEND),
    ("`limit`", &LIMIT),
    ("`cors`", &CORS),
    ("`request_headers`, `response_headers`", &HEADER_EDITS),
    ("`[gateway]`", &GATEWAY),
    ("`[auth.X]`", &AUTH),
    ("`jwt`", &JWT),
    ("`jwks`", &JWKS),
    ("`api_key`", &API_KEY),
    ("`keys`", &API_KEY_ONE),
    ("`[config.\"NAMESPACE/NAME\"]`", &CONFIG),
    ("`[deploy.X]`", &DEPLOY),
];
