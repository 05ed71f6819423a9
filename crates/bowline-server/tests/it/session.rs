//! Sessions of the console: signing in and out, what the cookie lets a browser do, and what no other page can make
//! it do.

use bowline_model::Secret;
use bowline_provider_remote::{
    Bearer,
    wire::{AuditActor, NewToken, Role, Session, SessionBy},
};
use bowline_registry::Registry as _;
use bowline_runtime::time::Duration;
use bowline_transport::{Body, HttpClient};
use http::Request;
use serde_json::json;

use crate::support::{Answer, Fixture, registration};

/// What the console's page sends with whatever changes something.
const CONSOLE: (&str, &str) = ("x-bowline-console", "1");
const JSON: (&str, &str) = ("content-type", "application/json");

async fn sign_in(fixture: &Fixture, token: &Secret) -> Answer {
    fixture.ask("POST", "/v1/session", json!({ "token": token.expose() }).to_string()).await
}

/// What a browser sends back of a cookie.
fn cookie_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

async fn session(fixture: &Fixture, headers: &[(&str, &str)]) -> (Session, Answer) {
    let answer = fixture.ask_with("GET", "/v1/session", headers, "").await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
    (serde_json::from_slice(&answer.body).unwrap(), answer)
}

#[tokio::test]
async fn a_token_becomes_a_cookie_that_no_script_reads_and_no_other_site_sends() {
    let fixture = Fixture::start().await;
    let client = fixture.client().with_bearer(Bearer::new(&fixture.root()).unwrap());
    let new = NewToken { name: "ann".to_owned(), role: Role::Editor, expires_in: Some(Duration::from_hours(1)) };
    let made = client.create_token(&new).await.unwrap();
    let answer = sign_in(&fixture, &made.token).await;
    let expected = json!({ "name": "ann", "role": "editor", "expires_unix_ms": made.about.expires_unix_ms });
    assert_eq!((answer.json(), answer.header("cache-control")), (expected, "no-store"));
    let token = made.token.expose();
    let cookie = format!("bowline_session={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200");
    assert_eq!(answer.header("set-cookie"), cookie);
    assert!(!String::from_utf8_lossy(&answer.body).contains(token), "scripts see the body");

    let root = sign_in(&fixture, &fixture.root()).await;
    assert_eq!(root.json(), json!({ "name": "root", "role": "admin" }), "it does not expire");
}

#[tokio::test]
async fn what_is_no_token_signs_nobody_in() {
    let fixture = Fixture::start().await;
    let client = fixture.client().with_bearer(Bearer::new(&fixture.root()).unwrap());
    let revoked = fixture.token("gone", "viewer").await;
    client.revoke_token(&revoked.about.id).await.unwrap();
    let new = NewToken { name: "short".to_owned(), role: Role::Viewer, expires_in: Some(Duration::from_mins(1)) };
    let expired = client.create_token(&new).await.unwrap().token;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    let forged = Secret::new(format!("bwl_root_{}", "ab".repeat(32)));
    for (bad, why) in [
        (&Secret::new(""), "no token"),
        (&Secret::new("hunter2"), "no token"),
        (&Secret::new("x\r\nset-cookie: a=b"), "no token"),
        (&forged, "unknown"),
        (&revoked.token, "revoked"),
        (&expired, "expired"),
    ] {
        let answer = sign_in(&fixture, bad).await;
        let detail = answer.problem(401, "unauthenticated");
        assert!(detail.contains(why), "{detail}");
        assert_eq!((answer.header("x-bowline-reason"), answer.header("set-cookie")), ("token_invalid", ""));
    }
    for (body, status, code) in [
        ("", 400, "invalid_argument"),
        ("{}", 422, "unprocessable"),
        (r#"{"token":"a","role":"admin"}"#, 422, "unprocessable"),
        (&"x".repeat(65 << 10), 413, "payload_too_large"),
    ] {
        fixture.ask("POST", "/v1/session", body.to_owned()).await.problem(status, code);
    }
    // As other refusals are: one a second at most.
    let refused = fixture.audit("?class=refused").await.entries;
    assert_eq!(refused.last().unwrap().operation.as_deref(), Some("POST /v1/session"));
    assert!(matches!(refused[0].actor, AuditActor::Anonymous { .. }), "{refused:?}");
}

#[tokio::test]
async fn the_cookie_acts_as_the_tokens_holder() {
    let fixture = Fixture::start_everywhere().await;
    let made = fixture.token("ann", "editor").await;
    let cookie = cookie_of(&sign_in(&fixture, &made.token).await);
    let by_cookie = [("cookie", &*format!("theme=dark; {cookie}"))];
    assert_eq!(fixture.ask_with("GET", "/v1/services", &by_cookie, "").await.status, 200);
    assert_eq!(fixture.ask_with("HEAD", "/v1/services", &by_cookie, "").await.status, 200);
    fixture.get("/v1/services").await.problem(401, "unauthenticated");

    let headers = [("cookie", &*cookie), JSON, CONSOLE, ("sec-fetch-site", "same-origin")];
    let answer = fixture.ask_with("PUT", "/v1/instances/order-1", &headers, registration("order")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let entry = &fixture.audit("?class=registry").await.entries[0];
    assert_eq!(entry.operation.as_deref(), Some("PUT /v1/instances/order-1"));
    assert!(matches!(&entry.actor, AuditActor::Token { id, name, role: Role::Editor, .. }
        if *id == made.about.id && name == "ann"));
}

#[tokio::test]
async fn the_cookie_may_what_its_role_may() {
    let fixture = Fixture::start().await;
    let cookie = cookie_of(&sign_in(&fixture, &fixture.token("v", "viewer").await.token).await);
    let headers = [("cookie", &*cookie), JSON, CONSOLE];
    let answer = fixture.ask_with("PUT", "/v1/instances/order-1", &headers, registration("order")).await;
    answer.problem(403, "permission_denied");
    assert_eq!(answer.header("x-bowline-reason"), "role", "also where nobody in particular may more");
    assert_eq!(fixture.ask_with("GET", "/v1/tokens", &headers, "").await.status, 403);
    let root = cookie_of(&sign_in(&fixture, &fixture.root()).await);
    assert_eq!(fixture.ask_with("GET", "/v1/tokens", &[("cookie", &*root)], "").await.status, 200);
    // Of both, what is said on purpose counts.
    let editor = format!("Bearer {}", fixture.token("e", "editor").await.token.expose());
    let both = [("cookie", &*cookie), ("authorization", &*editor), JSON];
    assert_eq!(fixture.ask_with("PUT", "/v1/instances/order-1", &both, registration("order")).await.status, 200);
}

#[tokio::test]
async fn another_page_changes_nothing_by_the_cookie() {
    let fixture = Fixture::start().await;
    let cookie = cookie_of(&sign_in(&fixture, &fixture.root()).await);
    let own = format!("http://{}", fixture.addr);
    let put = async |more: &[(&str, &str)]| {
        let headers = [&[("cookie", &*cookie), JSON][..], more].concat();
        fixture.ask_with("PUT", "/v1/instances/order-1", &headers, registration("order")).await
    };
    // A page on another port of this host is of the same site: the browser adds the cookie.
    for forged in [
        &[][..],
        &[("x-bowline-console", "yes")],
        &[CONSOLE, CONSOLE],
        &[CONSOLE, ("sec-fetch-site", "same-site")],
        &[CONSOLE, ("sec-fetch-site", "cross-site")],
        &[CONSOLE, ("sec-fetch-site", "none")],
        &[CONSOLE, ("origin", "http://localhost:1")],
        &[CONSOLE, ("origin", "http://127.0.0.1")],
        &[CONSOLE, ("origin", &own), ("origin", "http://127.0.0.1")],
        &[("sec-fetch-site", "same-origin"), ("origin", &own)],
    ] {
        let answer = put(forged).await;
        answer.problem(403, "permission_denied");
        assert_eq!(answer.header("x-bowline-reason"), "csrf", "{forged:?}");
    }
    put(&[CONSOLE, ("origin", "http://evil.example")]).await.problem(403, "permission_denied");
    assert_eq!(fixture.remote().services().await.unwrap(), []);
    for genuine in [&[CONSOLE][..], &[CONSOLE, ("origin", &own), ("sec-fetch-site", "same-origin")]] {
        assert_eq!(put(genuine).await.status, 200, "{genuine:?}");
    }
}

#[tokio::test]
async fn the_own_address_is_the_targets_where_http2_names_it_there() {
    let fixture = Fixture::start().await;
    let client = HttpClient::multiplexed(fixture.addr);
    let own = format!("http://{}", fixture.addr);
    for (origin, status) in [(&*own, 204), ("http://localhost", 403)] {
        let request = Request::delete("/v1/session").header("origin", origin).header(CONSOLE.0, CONSOLE.1);
        let answer = client.request(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{origin}: {answer:?}");
    }
}

#[tokio::test]
async fn another_page_changes_nothing_as_nobody_either() {
    let fixture = Fixture::start().await;
    let token = fixture.token("ann", "viewer").await.token;
    let body = json!({ "token": token.expose() }).to_string();
    for from in [("sec-fetch-site", "same-site"), ("origin", "http://localhost:8080")] {
        let answer = fixture.ask_with("PUT", "/v1/instances/order-1", &[JSON, from], registration("order")).await;
        answer.problem(403, "permission_denied");
        assert_eq!(answer.header("x-bowline-reason"), "csrf");
        // Nor does it sign a browser in with a token of its own, or out.
        for (method, body) in [("POST", &*body), ("DELETE", "")] {
            let answer = fixture.ask_with(method, "/v1/session", &[JSON, from], body.to_owned()).await;
            answer.problem(403, "permission_denied");
            assert_eq!((answer.header("x-bowline-reason"), answer.header("set-cookie")), ("csrf", ""));
        }
        let bearer = format!("Bearer {}", fixture.root().expose());
        let headers = [JSON, from, ("authorization", &*bearer)];
        let answer = fixture.ask_with("PUT", "/v1/instances/order-1", &headers, registration("order")).await;
        assert_eq!(answer.header("x-bowline-reason"), "csrf");
    }
    // What a dashboard asks through its own server says whence the browser's request was, and changes nothing.
    let form = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
    assert_eq!(fixture.ask_with("POST", "/api/v1/query", &form, "query=1").await.status, 200);
}

#[tokio::test]
async fn whoever_signs_out_is_forgotten_by_the_browser_alone() {
    let fixture = Fixture::start_everywhere().await;
    let token = fixture.token("ann", "viewer").await.token;
    let cookie = cookie_of(&sign_in(&fixture, &token).await);
    let headers = [("cookie", &*cookie), CONSOLE];
    let answer = fixture.ask_with("DELETE", "/v1/session", &headers, "").await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let gone = "bowline_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0";
    assert_eq!((answer.header("set-cookie"), answer.header("cache-control")), (gone, "no-store"));
    assert_eq!(fixture.ask_as(&token, "GET", "/v1/services", "").await.status, 200, "the token goes on");
    let answer = fixture.ask_with("DELETE", "/v1/session", &[("cookie", &*cookie)], "").await;
    assert_eq!(answer.header("x-bowline-reason"), "csrf");
}

#[tokio::test]
async fn the_session_says_who_asks() {
    let fixture = Fixture::start().await;
    let token = fixture.token("ann", "viewer").await.token;
    let cookie = cookie_of(&sign_in(&fixture, &token).await);
    let bearer = format!("Bearer {}", fixture.root().expose());
    let (known, _) = session(&fixture, &[("cookie", &cookie)]).await;
    assert_eq!((known.signed_in, known.name.as_deref()), (true, Some("ann")));
    assert_eq!((known.role, known.by), (Some(Role::Viewer), Some(SessionBy::Cookie)));
    assert_eq!(known.version, env!("CARGO_PKG_VERSION"));
    let (known, _) = session(&fixture, &[("cookie", &cookie), ("authorization", &bearer)]).await;
    assert_eq!((known.name.as_deref(), known.by), (Some("root"), Some(SessionBy::Bearer)));
    let (nobody, answer) = session(&fixture, &[]).await;
    assert_eq!((nobody.signed_in, nobody.name), (false, None));
    assert_eq!((nobody.role, nobody.by), (Some(Role::Editor), Some(SessionBy::Loopback)));
    assert_eq!(answer.header("set-cookie"), "");

    let elsewhere = Fixture::start_everywhere().await;
    let answer = elsewhere.get("/v1/session").await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(answer.json(), json!({ "signed_in": false, "role": null, "by": null, "version": version }));
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let fixture = Fixture::start().await;
    let client = fixture.client().with_bearer(Bearer::new(&fixture.root()).unwrap());
    let made = fixture.token("ann", "viewer").await;
    let cookie = cookie_of(&sign_in(&fixture, &made.token).await);
    client.revoke_token(&made.about.id).await.unwrap();
    let answer = fixture.ask_with("GET", "/v1/services", &[("cookie", &*cookie)], "").await;
    assert!(answer.problem(401, "unauthenticated").contains("revoked"));
    // The page can ask nothing with it any more, so it is taken back: who asks is then who they are without it.
    let (nobody, answer) = session(&fixture, &[("cookie", &cookie)]).await;
    assert_eq!((nobody.signed_in, nobody.by), (false, Some(SessionBy::Loopback)));
    assert!(answer.header("set-cookie").starts_with("bowline_session=; "), "{answer:?}");

    // What is sent on purpose is not: all else will be refused as well.
    for refused in [("authorization", "Bearer x"), ("cookie", "bowline_session=a; bowline_session=b")] {
        let (nobody, answer) = session(&fixture, &[refused]).await;
        assert_eq!((nobody.signed_in, nobody.role, nobody.by), (false, None, None), "{refused:?}");
        assert_eq!(answer.header("set-cookie"), "");
        fixture.ask_with("GET", "/v1/services", &[refused], "").await.problem(401, "unauthenticated");
    }
}
