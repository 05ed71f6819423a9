//! Who may come in: tokens and keys, good and bad, and where the keys are that tokens are checked with.

use std::time::Duration;

use bowline_gateway::{Error, Gateway, KeySetSettings, Settings};
use bowline_model::{
    Code, ServiceName,
    gateway::{ApiKey, ApiKeyPolicy, AuthKind, AuthProvider, JwtAlgorithm, JwtKeys, KeyHash, RouteTable, SecretSource},
    instance::METADATA_SUPERVISED,
    route::Route,
};
use bowline_runtime::time;
use bowline_telemetry::Tracer;
use bowline_testkit::{Answer, HttpServer, eventually};
use http::Request;
use serde_json::{Value, json};

use crate::{
    support::{BOUND, FakeRegistry, Seen, ask, instance, route, spans, start_with},
    tokens::{Key, KeyServer, TempFile, at, base64, claims, provider},
};

/// Key sets are asked for again at once, and waited for as long as it takes.
const EAGER: KeySetSettings =
    KeySetSettings { refresh_every: Duration::from_hours(1), refresh_min: Duration::ZERO, wait_max: BOUND };

/// A route to `order` that demands `customers`, which is this provider.
fn demanding(provider: AuthProvider) -> RouteTable {
    let route = Route { auth: Some(provider.name.clone()), ..route("order") };
    RouteTable { auth: vec![provider], routes: vec![route], ..RouteTable::default() }
}

struct Guarded {
    gateway: Gateway,
    order: HttpServer,
    registry: FakeRegistry,
}

impl Guarded {
    async fn start(table: RouteTable) -> Self {
        Self::start_with(table, EAGER).await
    }

    /// For tests where there are no keys to wait for.
    async fn start_impatient(table: RouteTable) -> Self {
        Self::start_with(table, KeySetSettings { wait_max: time::Duration::from_millis(50), ..EAGER }).await
    }

    async fn start_with(table: RouteTable, key_sets: KeySetSettings) -> Self {
        let order = HttpServer::start(|_| Answer::Status(200, "order".to_owned()));
        let registry = FakeRegistry::new(&[instance("order", "o-1", order.addr())]);
        let settings = Settings { workers: 2, key_sets, ..Settings::new(([127, 0, 0, 1], 0).into()) };
        let gateway = start_with(&registry, table, settings, Tracer::disabled()).await.unwrap();
        Self { gateway, order, registry }
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Seen {
        let mut request = Request::get("/order/1").header("host", "a");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        ask(self.gateway.addr(), request).await
    }

    async fn get_with(&self, token: &str) -> Seen {
        self.get(&[("authorization", &format!("Bearer {token}"))]).await
    }

    /// Checks that a token is refused, and that nobody heard of it.
    #[track_caller]
    fn refused(&self, seen: &Seen, why: &str) {
        assert_eq!(seen.status, 401, "{why}: {seen:?}");
        assert_eq!(seen.headers["x-bowline-reason"], "bad_token", "{why}: {seen:?}");
        let challenge = seen.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer realm=\"customers\", error=\"invalid_token\""), "{challenge}");
        assert!(challenge.contains(why), "{challenge} has not {why:?}");
        assert_eq!(self.order.requests(), [], "{why}");
    }
}

#[tokio::test]
async fn a_good_token_of_each_algorithm_comes_in_and_the_service_learns_who_it_is() {
    let (ed, ec, rsa) = (Key::ed("ed"), Key::ec("ec"), Key::rsa("rsa"));
    let keys = KeyServer::start(&[&ed, &ec, &rsa]);
    let algorithms = [JwtAlgorithm::EdDsa, JwtAlgorithm::Es256, JwtAlgorithm::Rs256];
    let guarded = Guarded::start(demanding(provider(&algorithms, keys.keys()))).await;
    for key in [&ed, &ec, &rsa] {
        for _ in 0..2 {
            let token = format!("bearer  {}", key.token("u-1"));
            let seen = guarded.get(&[("authorization", &token), ("x-bowline-subject", "eve")]).await;
            assert_eq!((seen.status.as_u16(), &*seen.body), (200, "order"), "{}: {seen:?}", key.id);
        }
    }
    for request in guarded.order.requests() {
        assert_eq!(request.headers["x-bowline-subject"], "u-1");
        assert_eq!(request.headers["x-bowline-auth"], "customers");
        assert!(!request.headers.contains_key("authorization"), "{request:?}");
    }
    assert_eq!(keys.server.requests().len(), 1, "the set is fetched once");
}

#[tokio::test]
async fn who_has_no_token_is_told_that_one_is_needed() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    for headers in [&[][..], &[("authorization", "Basic dTpw")], &[("authorization", "Bearer ")]] {
        let seen = guarded.get(headers).await;
        assert_eq!(
            (seen.status.as_u16(), &seen.headers["x-bowline-reason"]),
            (401, &"no_credentials".parse().unwrap())
        );
        assert_eq!(seen.headers["www-authenticate"], "Bearer realm=\"customers\"");
    }
    assert_eq!(guarded.order.requests(), []);
}

#[tokio::test]
async fn what_a_token_says_of_its_own_check_decides_nothing() {
    let (key, other) = (Key::ed("ed"), Key::ed("other"));
    let (ec, keys) = (Key::ec("ec"), KeyServer::start(&[&key]));
    keys.serve(&[&key, &ec]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    let check = async |token: &str, why: &str| guarded.refused(&guarded.get_with(token).await, why);
    let with = |field: &str, value: Value| {
        let mut header = key.header();
        header[field] = value;
        key.sign(&header, &claims("u-1"))
    };
    for none in ["none", "None", "NONE", ""] {
        let unsigned = format!(
            "{}.{}.",
            base64(json!({"alg": none, "kid": "ed"}).to_string().as_bytes()),
            base64(claims("u-1").to_string().as_bytes())
        );
        check(&unsigned, "algorithm that is not accepted").await;
    }
    check(&with("alg", json!("none")), "algorithm that is not accepted").await;
    // The public key, as an outsider knows it, for a secret.
    let public = key.public()["x"].as_str().unwrap().to_owned();
    for secret in [public.as_bytes(), key.public().to_string().as_bytes()] {
        check(&Key::secret("ed", secret).token("u-1"), "algorithm that is not accepted").await;
    }
    check(&ec.token("u-1"), "algorithm that is not accepted").await;
    check(&with("kid", json!("ec")), "not for its algorithm").await;
    check(&with("kid", Value::Null), "does not name the key").await;
    check(&with("kid", json!("other")), "does not list").await;
    check(&other.token("u-1"), "does not list").await;
    check(&other.sign(&key.header(), &claims("u-1")), "signature").await;
    check(&with("crit", json!(["exp"])), "extension").await;
    // A key that the token brings along is nobody's.
    let mut header = other.header();
    (header["kid"], header["jwk"]) = (json!("ed"), other.public());
    check(&other.sign(&header, &claims("u-1")), "signature").await;
}

#[tokio::test]
async fn claims_that_are_not_those_of_the_policy_are_refused() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    let check = async |claim: &str, value: Value, why: &str| {
        let mut claims = claims("u-1");
        claims[claim] = value;
        guarded.refused(&guarded.get_with(&key.sign(&key.header(), &claims)).await, why);
    };
    check("iss", json!("https://other.test"), "another issuer").await;
    check("iss", json!(["https://other.test"]), "another issuer").await;
    check("iss", Value::Null, "by whom").await;
    check("aud", json!("bank"), "another audience").await;
    check("aud", json!(["bank", "pub"]), "another audience").await;
    check("aud", Value::Null, "for whom").await;
    check("aud", json!(1), "for whom").await;
    check("exp", json!(at(-31)), "expired").await;
    check("exp", json!(0), "expired").await;
    check("exp", Value::Null, "when it ends").await;
    check("exp", json!("tomorrow"), "cannot be read").await;
    check("nbf", json!(at(40)), "not valid yet").await;
    check("sub", Value::Null, "whose it is").await;
    check("sub", json!(""), "subject").await;
    check("sub", json!("a\nb"), "subject").await;
    check("sub", json!("é"), "subject").await;
    check("sub", json!("u".repeat(257)), "subject").await;
    check("sub", json!(7), "cannot be read").await;
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    for (claim, value) in [("exp", at(-10)), ("nbf", at(10))] {
        let mut claims = claims("u-1");
        claims[claim] = json!(value);
        assert_eq!(guarded.get_with(&key.sign(&key.header(), &claims)).await.status, 200, "{claim}");
    }
    let mut several = claims("u-1");
    several["aud"] = json!(["bank", "shop"]);
    assert_eq!(guarded.get_with(&key.sign(&key.header(), &several)).await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_good_is_refused_when_it_has_ended() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    let mut short = claims("u-1");
    assert_eq!(guarded.get_with(&key.token("u-1")).await.status, 200, "the keys are there");
    // With the leeway, it ends in two to three seconds.
    short["exp"] = json!(at(-27));
    let token = key.sign(&key.header(), &short);
    assert_eq!(guarded.get_with(&token).await.status, 200);
    let ending = async { while guarded.get_with(&token).await.status == 200 {} };
    time::timeout(BOUND, ending).await.unwrap();
    assert_eq!(guarded.get_with(&token).await.headers["x-bowline-reason"], "bad_token");
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    let good = key.token("u-1");
    let long = key.token(&"u".repeat(8 * 1024));
    let headless = format!(".{}", good.split_once('.').unwrap().1);
    for (token, why) in [
        ("x", "cannot be read"),
        ("a.b", "cannot be read"),
        ("a.b.c.d", "cannot be read"),
        (&*headless, "cannot be read"),
        (&*format!("{good}.x"), "cannot be read"),
        (&*format!("{}.{}", good.rsplit_once('.').unwrap().0, "A".repeat(86)), "signature"),
        (good.rsplit_once('.').unwrap().0, "cannot be read"),
        (&*long, "8 KiB"),
    ] {
        guarded.refused(&guarded.get_with(token).await, why);
    }
    let good = format!("Bearer {good}");
    for (first, second) in [(&*good, &*good), (&*good, "Bearer x"), ("Basic dTpw", &*good)] {
        let seen = guarded.get(&[("authorization", first), ("authorization", second)]).await;
        guarded.refused(&seen, "more than one");
    }
}

#[tokio::test]
async fn a_secret_signs_what_it_checks_and_no_public_key_does() {
    let secret = TempFile::new(b"0123456789abcdef0123456789abcdef\n");
    let keys = JwtKeys::Secret(SecretSource::File(secret.name()));
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::Hs256], keys))).await;
    guarded.refused(
        &guarded.get_with(&Key::secret("", b"another secret of thirty-two bytes").token("u")).await,
        "signature",
    );
    guarded.refused(&guarded.get_with(&Key::ed("ed").token("u")).await, "algorithm");
    let good = Key::secret("any", b"0123456789abcdef0123456789abcdef");
    assert_eq!(guarded.get_with(&good.token("u-1")).await.status, 200);
    // A secret has no name that a token would have to say.
    assert_eq!(guarded.get_with(&good.sign(&json!({"alg": "HS256"}), &claims("u-1"))).await.status, 200);
}

#[tokio::test]
async fn a_secret_that_was_replaced_signs_no_more_once_a_table_is_taken_in() {
    let (old, new) = (b"0123456789abcdef0123456789abcdef", b"another secret of thirty-two bytes");
    let secret = TempFile::new(old);
    let table = demanding(provider(&[JwtAlgorithm::Hs256], JwtKeys::Secret(SecretSource::File(secret.name()))));
    let guarded = Guarded::start(table.clone()).await;
    let (token, renewed) = (Key::secret("", old).token("u-1"), Key::secret("", new).token("u-1"));
    assert_eq!(guarded.get_with(&token).await.status, 200);
    std::fs::write(&secret.0, new).unwrap();
    guarded.gateway.set_table(&table).unwrap();
    assert_eq!(guarded.get_with(&token).await.status, 401, "also of those found good before");
    assert_eq!(guarded.get_with(&renewed).await.status, 200);
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_is_an_error_of_the_table() {
    let key = Key::ed("ed");
    let served = KeyServer::start(&[&key]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], served.keys()))).await;
    let check = |algorithms: &[JwtAlgorithm], keys: JwtKeys, code: Code, why: &str| {
        let error = guarded.gateway.set_table(&demanding(provider(algorithms, keys))).unwrap_err();
        let text = bowline_model::error::chain(&error);
        assert!(text.contains("auth `customers`") && text.contains(why), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(error.code(), code, "{text}");
    };
    let (short, secret) = (TempFile::new(b"hunter2"), JwtKeys::Secret);
    let file = SecretSource::File(short.name());
    check(&[JwtAlgorithm::Hs256], secret(file.clone()), Code::FailedPrecondition, "has 7 bytes");
    let env = SecretSource::Env("BOWLINE_TEST_UNSET".to_owned());
    check(&[JwtAlgorithm::Hs256], secret(env), Code::FailedPrecondition, "`BOWLINE_TEST_UNSET` is not set");
    let absent = SecretSource::File("/nowhere/secret".to_owned());
    check(&[JwtAlgorithm::Hs256], secret(absent), Code::FailedPrecondition, "cannot be read");
    check(&[JwtAlgorithm::Hs256], served.keys(), Code::InvalidArgument, "HS256");
    check(&[JwtAlgorithm::EdDsa], secret(file), Code::InvalidArgument, "HS256");
    check(&[], served.keys(), Code::InvalidArgument, "HS256");
    let url = JwtKeys::Url("gopher://a.test".to_owned());
    check(&[JwtAlgorithm::EdDsa], url, Code::InvalidArgument, "gopher://a.test");
    assert_eq!(guarded.get_with(&key.token("u-1")).await.status, 200, "the old table stays");
    let mut unknown = demanding(provider(&[JwtAlgorithm::EdDsa], served.keys()));
    unknown.auth.clear();
    let error = guarded.gateway.set_table(&unknown).unwrap_err();
    assert!(matches!(error, Error::UnknownAuth { .. }) && error.to_string().contains("route `order`"), "{error}");
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_is_no_longer_believed() {
    let (old, new) = (Key::ed("old"), Key::ed("new"));
    let keys = KeyServer::start(&[&old]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    assert_eq!(guarded.get_with(&old.token("u-1")).await.status, 200);
    assert_eq!(guarded.get_with(&new.token("u-1")).await.status, 401);
    keys.serve(&[&new]);
    assert_eq!(guarded.get_with(&new.token("u-1")).await.status, 200);
    assert_eq!(guarded.get_with(&old.token("u-1")).await.status, 401, "also of those found good before");
}

#[tokio::test]
async fn tokens_with_unknown_keys_do_not_make_a_fetch_each() {
    let (key, other) = (Key::ed("ed"), Key::ed("other"));
    let keys = KeyServer::start(&[&key]);
    let order = HttpServer::start(|_| Answer::status(200));
    let registry = FakeRegistry::new(&[instance("order", "o-1", order.addr())]);
    let settings = Settings { workers: 2, ..Settings::new(([127, 0, 0, 1], 0).into()) };
    let table = demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()));
    let gateway = start_with(&registry, table, settings, Tracer::disabled()).await.unwrap();
    for _ in 0..20 {
        let request = Request::get("/order/1").header("host", "a");
        let request = request.header("authorization", format!("Bearer {}", other.token("u-1")));
        assert_eq!(ask(gateway.addr(), request).await.status, 401);
    }
    assert_eq!(keys.server.requests().len(), 1);
}

#[tokio::test]
async fn the_last_good_keys_stay_when_no_others_can_be_had() {
    let (key, other) = (Key::ed("ed"), Key::ed("other"));
    let keys = KeyServer::start(&[&key]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    assert_eq!(guarded.get_with(&key.token("u-1")).await.status, 200);
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(64 * 1024));
    for broken in [
        Answer::status(500),
        Answer::Close,
        Answer::Status(200, "{}".to_owned()),
        Answer::Status(200, json!({"keys": []}).to_string()),
        Answer::Status(200, long),
    ] {
        keys.answer_with(broken);
        let before = keys.server.requests().len();
        assert_eq!(guarded.get_with(&other.token("u-1")).await.status, 401);
        assert!(keys.server.requests().len() > before, "it was tried");
        assert_eq!(guarded.get_with(&key.token("u-2")).await.status, 200);
    }
}

#[tokio::test]
async fn without_any_key_nobody_is_refused_for_good() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    keys.answer_with(Answer::status(500));
    let guarded = Guarded::start_impatient(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    let seen = guarded.get_with(&key.token("u-1")).await;
    assert_eq!(
        (seen.status.as_u16(), &seen.headers["x-bowline-reason"]),
        (503, &"auth_keys_unavailable".parse().unwrap())
    );
    assert!(seen.headers.contains_key("retry-after") && !seen.headers.contains_key("www-authenticate"), "{seen:?}");
    assert_eq!(guarded.get(&[]).await.status, 401, "who has no token needs no key to be refused");
    keys.serve(&[&key]);
    let coming = async { while guarded.get_with(&key.token("u-1")).await.status != 200 {} };
    time::timeout(BOUND, coming).await.unwrap();
}

#[tokio::test]
async fn keys_come_from_a_service_of_the_system_as_soon_as_it_is_there() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let service = ServiceName::new("user").unwrap();
    let source = JwtKeys::Service { service, path: "/.well-known/jwks.json".to_owned() };
    let guarded = Guarded::start_impatient(demanding(provider(&[JwtAlgorithm::EdDsa], source))).await;
    assert_eq!(guarded.get_with(&key.token("u-1")).await.status, 503);
    guarded.registry.put(instance("user", "u-1", keys.server.addr()));
    let coming = async { while guarded.get_with(&key.token("u-1")).await.status != 200 {} };
    time::timeout(BOUND, coming).await.unwrap();
    assert_eq!(keys.server.requests()[0].path, "/.well-known/jwks.json");
}

#[tokio::test]
async fn who_registers_itself_serves_no_keys_in_the_place_of_what_a_supervisor_runs() {
    let (key, forged) = (Key::ed("ed"), Key::ed("forged"));
    let (keys, evil) = (KeyServer::start(&[&key]), KeyServer::start(&[&forged]));
    let service = ServiceName::new("user").unwrap();
    let source = JwtKeys::Service { service, path: "/.well-known/jwks.json".to_owned() };
    let guarded = Guarded::start_impatient(demanding(provider(&[JwtAlgorithm::EdDsa], source))).await;
    let mut supervised = instance("user", "u-1", keys.server.addr());
    supervised.metadata.insert(METADATA_SUPERVISED.to_owned(), "yes".to_owned());
    guarded.registry.put(supervised);
    let coming = async { while guarded.get_with(&key.token("u-1")).await.status != 200 {} };
    time::timeout(BOUND, coming).await.unwrap();
    guarded.registry.put(instance("user", "u-evil", evil.server.addr()));
    guarded.registry.remove("u-1");
    // An unknown key has the set fetched anew: from nobody now.
    for _ in 0..3 {
        assert_eq!(guarded.get_with(&forged.token("u-1")).await.status, 401);
    }
    assert_eq!(guarded.get_with(&key.token("u-1")).await.status, 200, "the last good set stays");
    assert_eq!(evil.server.requests().len(), 0);
}

#[tokio::test]
async fn keys_come_from_a_file() {
    let (key, other) = (Key::ed("ed"), Key::ed("other"));
    let file = TempFile::new(json!({"keys": [key.public()]}).to_string().as_bytes());
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], JwtKeys::File(file.name())))).await;
    assert_eq!(guarded.get_with(&key.token("u-1")).await.status, 200);
    std::fs::write(&file.0, json!({"keys": [other.public()]}).to_string()).unwrap();
    assert_eq!(guarded.get_with(&other.token("u-1")).await.status, 200);
}

#[tokio::test]
async fn a_provider_that_stays_keeps_its_keys() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let guarded = Guarded::start(demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()))).await;
    assert_eq!(guarded.get_with(&key.token("u-1")).await.status, 200);
    keys.answer_with(Answer::status(500));
    let mut passing = demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()));
    passing.auth[0].pass_credential = true;
    guarded.gateway.set_table(&passing).unwrap();
    assert_eq!(guarded.get_with(&key.token("u-1")).await.status, 200, "another policy, the same source");
    assert!(guarded.order.requests()[1].headers["authorization"].starts_with("Bearer "));
    assert_eq!(keys.server.requests().len(), 1);
}

// === API keys ===

fn partners(pass_credential: bool) -> AuthProvider {
    // The SHA-256 of `acme-key` and of `other-key`.
    let key = |subject: &str, text: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        ApiKey { subject: subject.to_owned(), hash: KeyHash(digest.as_ref().try_into().unwrap()) }
    };
    let keys = vec![key("acme", "acme-key"), key("other", "other-key")];
    let name = ServiceName::new("partners").unwrap();
    let kind = AuthKind::ApiKey(ApiKeyPolicy { header: "x-api-key".to_owned(), keys });
    AuthProvider { name, kind, pass_credential }
}

#[tokio::test]
async fn an_api_key_says_whose_it_is() {
    let guarded = Guarded::start(demanding(partners(false))).await;
    for (key, subject) in [("acme-key", "acme"), ("other-key", "other")] {
        assert_eq!(guarded.get(&[("x-api-key", key)]).await.status, 200);
        let request = guarded.order.requests().pop().unwrap();
        assert_eq!(
            (&*request.headers["x-bowline-subject"], &*request.headers["x-bowline-auth"]),
            (subject, "partners")
        );
        assert!(!request.headers.contains_key("x-api-key"), "{request:?}");
    }
    guarded.gateway.set_table(&demanding(partners(true))).unwrap();
    assert_eq!(guarded.get(&[("x-api-key", "acme-key")]).await.status, 200);
    assert_eq!(guarded.order.requests().pop().unwrap().headers["x-api-key"], "acme-key");
}

#[tokio::test]
async fn other_api_keys_do_not_come_in() {
    let guarded = Guarded::start(demanding(partners(false))).await;
    let check = async |headers: &[(&str, &str)], reason: &str| {
        let seen = guarded.get(headers).await;
        assert_eq!((seen.status.as_u16(), seen.headers["x-bowline-reason"].to_str().unwrap()), (401, reason));
        assert_eq!(seen.headers["www-authenticate"], "ApiKey realm=\"partners\", header=\"x-api-key\"");
        assert!(!seen.body.contains("acme-ke"), "{seen:?}");
    };
    check(&[], "no_credentials").await;
    let long = "k".repeat(2000);
    let hash = partners(false);
    let AuthKind::ApiKey(policy) = &hash.kind else { unreachable!() };
    for bad in ["", "acme-ke", "acme-key2", &policy.keys[0].hash.to_string(), &long] {
        check(&[("x-api-key", bad)], "bad_api_key").await;
    }
    check(&[("x-api-key", "acme-key"), ("x-api-key", "acme-key")], "bad_api_key").await;
    assert_eq!(guarded.order.requests(), []);
}

// === listener and route ===

#[tokio::test]
async fn the_listener_asks_before_there_is_a_route_and_the_route_asks_again() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let mut table = demanding(provider(&[JwtAlgorithm::EdDsa], keys.keys()));
    table.auth.push(partners(false));
    table.listener.auth = Some(ServiceName::new("partners").unwrap());
    let guarded = Guarded::start(table.clone()).await;
    let token = format!("Bearer {}", key.token("u-1"));
    let unrouted = ask(guarded.gateway.addr(), Request::get("/nowhere").header("host", "a")).await;
    assert_eq!(unrouted.headers["x-bowline-reason"], "no_credentials", "not that there is no route");
    assert_eq!(guarded.get(&[("authorization", &token)]).await.status, 401);
    assert_eq!(guarded.get(&[("x-api-key", "acme-key")]).await.status, 401);
    assert_eq!(guarded.get(&[("x-api-key", "acme-key"), ("authorization", &token)]).await.status, 200);
    let request = guarded.order.requests().pop().unwrap();
    assert_eq!(request.headers["x-bowline-auth"], "customers", "the route's word counts");
    assert!(!request.headers.contains_key("x-api-key") && !request.headers.contains_key("authorization"));
    // A route that demands nothing: the listener's word stands.
    table.routes[0].auth = None;
    guarded.gateway.set_table(&table).unwrap();
    assert_eq!(guarded.get(&[("x-api-key", "acme-key"), ("authorization", &token)]).await.status, 200);
    let request = guarded.order.requests().pop().unwrap();
    assert_eq!((&*request.headers["x-bowline-subject"], &*request.headers["x-bowline-auth"]), ("acme", "partners"));
    assert!(!request.headers.contains_key("x-api-key") && request.headers.contains_key("authorization"));
}

#[tokio::test]
async fn the_span_tells_who_called_and_no_credential() {
    let (tracer, seen) = spans();
    let order = HttpServer::start(|_| Answer::status(200));
    let registry = FakeRegistry::new(&[instance("order", "o-1", order.addr())]);
    let settings = Settings { workers: 1, ..Settings::new(([127, 0, 0, 1], 0).into()) };
    let gateway = start_with(&registry, demanding(partners(false)), settings, tracer).await.unwrap();
    for key in ["acme-key", "wrong-key"] {
        ask(gateway.addr(), Request::get("/order/1").header("host", "a").header("x-api-key", key)).await;
    }
    eventually(BOUND, || seen.lock().unwrap().len() == 2).await;
    let told: Vec<String> = seen.lock().unwrap().iter().map(|span| format!("{span:?}")).collect();
    assert!(told[0].contains("\"acme\"") && told[0].contains("\"partners\""), "{}", told[0]);
    assert!(told[1].contains("bad_api_key") && told[1].contains("\"partners\""), "{}", told[1]);
    assert!(told.iter().all(|span| !span.contains("-key\"")), "{told:?}");
}
