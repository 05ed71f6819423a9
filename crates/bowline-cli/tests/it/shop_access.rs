//! Who may do what in the shop, and how often: tokens good and bad, others' orders, limits.

use std::time::Duration;

use bowline_runtime::{task, time};
use http::Method;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::harness::{Answer, Home, Running, ask};

const SHOP: &str = "shop.localhost";

/// What an order of `u-1` says.
const ORDER: &str = r#"{"user_id":"u-1","items":[{"sku":"book","quantity":2,"unit_price":1999}]}"#;

async fn order(running: &Running, body: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    running.ask(Method::POST, SHOP, "/orders", &headers, body.as_bytes()).await
}

async fn show(running: &Running, id: &str, signed: &str) -> Answer {
    running.ask(Method::GET, SHOP, &format!("/orders/{id}"), &[("authorization", signed)], b"").await
}

/// Checks that it is a problem document of that status and code.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{:?}", answer.body);
    assert_eq!(answer.json()["code"], code);
    assert_eq!(answer.json()["trace_id"].as_str().map(str::len), Some(32), "{:?}", answer.body);
}

#[tokio::test]
async fn a_user_signs_in_and_acts_for_itself_only() {
    let home = Home::shop();
    let mut running = home.up().await;
    sign_in(&running).await;
    let (ada, bob) = (running.sign_in("ada@example.com").await, running.sign_in("bob@example.com").await);
    own_and_others(&running, &ada, &bob).await;
    forged(&home, &running, &ada).await;
    running.stop().await;
}

async fn sign_in(running: &Running) {
    let granted = running.try_sign_in("ada@example.com", "correct horse").await;
    assert_eq!(granted.status, 200, "{:?}", granted.body);
    assert_eq!((&granted.json()["token_type"], &granted.json()["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(granted.header("cache-control"), "no-store");
    let (wrong, unknown) = (
        running.try_sign_in("ada@example.com", "wrong horse").await,
        running.try_sign_in("eve@example.com", "correct horse").await,
    );
    for refused in [&wrong, &unknown] {
        assert_problem(refused, 401, "unauthenticated");
    }
    assert_eq!(wrong.json()["detail"], unknown.json()["detail"]);
    let keys = running.ask(Method::GET, SHOP, "/.well-known/jwks.json", &[], b"").await;
    let key = &keys.json()["keys"][0];
    assert_eq!((&key["alg"], key.get("d")), (&json!("EdDSA"), None), "{key}");
}

async fn own_and_others(running: &Running, ada: &str, bob: &str) {
    let unsigned = order(running, ORDER, &[]).await;
    assert_problem(&unsigned, 401, "unauthenticated");
    assert!(unsigned.header("www-authenticate").starts_with("Bearer"), "{:?}", unsigned.headers);
    assert!(!unsigned.header("x-bowline-reason").is_empty(), "{:?}", unsigned.headers);
    let placed = order(running, ORDER, &[("authorization", ada)]).await;
    assert_eq!(placed.status, 201, "{:?}\n{}", placed.body, running.output());
    assert!(!placed.header("x-request-id").is_empty(), "{:?}", placed.headers);
    let of_bob = ORDER.replace("u-1", "u-2");
    assert_problem(&order(running, &of_bob, &[("authorization", ada)]).await, 403, "permission_denied");
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(show(running, &id, ada).await.json(), placed.json());
    assert_problem(&show(running, &id, bob).await, 403, "permission_denied");

    // What a client says of itself reaches nobody: beside a token, instead of one, in any case.
    let claims = [("x-bowline-subject", "u-2"), ("X-Bowline-Subject", "u-2"), ("x-bowline-auth", "customers")];
    for claim in claims {
        let told = order(running, &of_bob, &[("authorization", ada), claim]).await;
        assert_problem(&told, 403, "permission_denied");
        let told = order(running, ORDER, &[("authorization", ada), claim]).await;
        assert_eq!(told.status, 201, "{claim:?}: {:?}", told.body);
        assert_problem(&order(running, &of_bob, &[claim]).await, 401, "unauthenticated");
    }
}

/// The part of a token with that number, read.
fn part(token: &str, number: usize) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn written(part: &Value) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
}

/// The key that the shop signs with, out of its own database.
async fn signing_key(home: &Home) -> Vec<u8> {
    use sqlx::{Connection as _, SqliteConnection};
    let file = home.data_dir().join("sqlite").join("user.db");
    let mut database = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query_scalar("SELECT pkcs8 FROM signing_keys").fetch_one(&mut database).await.unwrap()
}

/// Tokens that are not what they say, or are good for something else.
async fn forged(home: &Home, running: &Running, ada: &str) {
    let token = ada.strip_prefix("Bearer ").unwrap();
    let (claims, signature) = (part(token, 1), token.rsplit_once('.').unwrap().1);
    let key_id = part(token, 0)["kid"].as_str().unwrap().to_owned();
    let header = |algorithm| Header { kid: Some(key_id.clone()), ..Header::new(algorithm) };
    let key = EncodingKey::from_ed_der(&signing_key(home).await);
    let signed = |change: &dyn Fn(&mut Value)| {
        let mut changed = claims.clone();
        change(&mut changed);
        encode(&header(Algorithm::EdDSA), &changed, &key).unwrap()
    };
    // As the shop signs it, so that what is refused below is refused for what it says.
    let good = signed(&|_| ());
    assert_eq!(order(running, ORDER, &[("authorization", &format!("Bearer {good}"))]).await.status, 201);

    let public = running.ask(Method::GET, SHOP, "/.well-known/jwks.json", &[], b"").await;
    let public = serde_json::from_value(public.json()["keys"][0].clone()).unwrap();
    let public = DecodingKey::from_jwk(&public).unwrap();
    let hmac = EncodingKey::from_secret(public.try_get_as_bytes().unwrap());
    let mut unsigned = part(token, 0);
    unsigned["alg"] = json!("none");
    let unsigned = format!("{}.{}.", written(&unsigned), written(&claims));
    let mut of_bob = claims.clone();
    of_bob["sub"] = json!("u-2");
    let now = time::unix_millis_now() / 1000;
    let set = |name: &'static str, value: Value| signed(&move |claims: &mut Value| claims[name] = value.clone());
    for (what, forged) in [
        ("alg none", unsigned.clone()),
        ("alg none, with a signature", format!("{unsigned}{signature}")),
        ("the public key as a secret", encode(&header(Algorithm::HS256), &claims, &hmac).unwrap()),
        ("another's claims", format!("{}.{}.{signature}", token.split('.').next().unwrap(), written(&of_bob))),
        ("another audience", set("aud", json!("bank"))),
        ("another issuer", set("iss", json!("https://evil.example"))),
        ("over", set("exp", json!(now - 60))),
        ("not yet good", set("nbf", json!(now + 600))),
        ("no audience", signed(&|claims: &mut Value| drop(claims.as_object_mut().unwrap().remove("aud")))),
        ("no end", signed(&|claims: &mut Value| drop(claims.as_object_mut().unwrap().remove("exp")))),
        ("no token", "x".to_owned()),
        ("nothing", String::new()),
    ] {
        let refused = order(running, ORDER, &[("authorization", &format!("Bearer {forged}"))]).await;
        assert_eq!(refused.status, 401, "{what}: {:?}", refused.body);
        assert_problem(&refused, 401, "unauthenticated");
    }
}

/// How often each asks at most; the limit's burst is 40.
const ASKED_MAX: usize = 100;

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again_and_others_are_not_affected() {
    let home = Home::shop();
    // A tenth of what the shop allows: a busy machine has to be able to ask more often.
    home.edit(|text| text.replace("rate = \"100/s\", burst = 200", "rate = \"10/s\", burst = 40"));
    let mut running = home.up().await;
    let (ada, bob) = (running.sign_in("ada@example.com").await, running.sign_in("bob@example.com").await);
    let mut asking = task::JoinSet::new();
    for _ in 0..32 {
        asking.spawn(ask_until_refused(running.gateway(), ada.clone()));
    }
    let mut refused = Vec::new();
    while let Some(answer) = asking.join_next().await {
        refused.extend(answer.unwrap());
    }
    assert!(!refused.is_empty(), "3200 requests at once were within 10/s and a burst of 40");
    for answer in &refused {
        assert_problem(answer, 429, "rate_limited");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=2).contains(&seconds), "{:?}", answer.headers);
        assert!(answer.headers.keys().any(|name| name.as_str().starts_with("ratelimit")), "{:?}", answer.headers);
    }
    assert_eq!(show(&running, "o-none", &bob).await.status, 404);
    assert_eq!(running.try_sign_in("ada@example.com", "correct horse").await.status, 200);
    // Who waits as told is served.
    let is_served = crate::harness::eventually(Duration::from_secs(10), async || {
        show(&running, "o-none", &ada).await.status == 404
    });
    assert!(is_served.await);
    running.stop().await;
}

async fn ask_until_refused(gateway: std::net::SocketAddr, signed: String) -> Option<Answer> {
    for _ in 0..ASKED_MAX {
        let answer = ask(gateway, Method::GET, SHOP, "/orders/o-none", &[("authorization", &signed)], b"").await;
        if answer.status != 404 {
            return Some(answer);
        }
    }
    None
}
