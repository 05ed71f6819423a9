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

/// What the console's page sends with whatever changes something while it has no session.
const CONSOLE: (&str, &str) = ("x-bowline-console", "1");
const JSON: (&str, &str) = ("content-type", "application/json");
/// The form of a proof that is of no session.
const NO_PROOF: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

async fn sign_in(fixture: &Fixture, token: &Secret) -> Answer {
    fixture.ask("POST", "/v1/session", json!({ "token": token.expose() }).to_string()).await
}

/// The two halves of a session: what the browser sends back, and what the page does.
struct SignedIn {
    cookie: String,
    proof: String,
}

impl SignedIn {
    async fn with(fixture: &Fixture, token: &Secret) -> Self {
        Self::of(&sign_in(fixture, token).await)
    }

    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { cookie, proof: answer.json()["proof"].as_str().unwrap().to_owned() }
    }

    fn headers(&self) -> [(&str, &str); 2] {
        [("cookie", &self.cookie), ("x-bowline-console", &self.proof)]
    }
}

async fn session(fixture: &Fixture, headers: &[(&str, &str)]) -> (Session, Answer) {
    let answer = fixture.ask_with("GET", "/v1/session", headers, "").await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
    (serde_json::from_slice(&answer.body).unwrap(), answer)
}

/// What those headers are told about who asks: their name, and why what they show is refused.
async fn who(fixture: &Fixture, headers: &[(&str, &str)]) -> (Option<String>, String) {
    let (session, _) = session(fixture, headers).await;
    (session.name, session.why.unwrap_or_default())
}

/// A session whose token is revoked is refused as such, and asking who one is takes its cookie back: from then on one is
/// nobody, and was told so.
async fn lets_its_holder_notice_that_it_ended(fixture: &Fixture) {
    let made = fixture.token("gone", "viewer").await;
    let gone = SignedIn::with(fixture, &made.token).await;
    let client = fixture.client().with_bearer(Bearer::new(&fixture.root()).unwrap());
    client.revoke_token(&made.about.id).await.unwrap();
    let answer = fixture.ask_with("GET", "/v1/services", &gone.headers(), "").await;
    assert!(answer.problem(401, "unauthenticated").contains("revoked"));
    assert_eq!(answer.header("x-bowline-reason"), "token_invalid");
    let (nobody, answer) = session(fixture, &gone.headers()).await;
    assert!(!nobody.signed_in && nobody.why.unwrap().contains("revoked"));
    assert!(answer.header("set-cookie").contains("=; "), "the cookie is of no more use: {answer:?}");
}

async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_token_becomes_a_session_in_two_halves_and_is_in_neither() {
    let fixture = Fixture::start().await;
    let client = fixture.client().with_bearer(Bearer::new(&fixture.root()).unwrap());
    let new = NewToken { name: "ann".to_owned(), role: Role::Editor, expires_in: Some(Duration::from_hours(1)) };
    let made = client.create_token(&new).await.unwrap();
    let answer = sign_in(&fixture, &made.token).await;
    let ann = SignedIn::of(&answer);
    let expires = made.about.expires_unix_ms;
    let expected = json!({ "name": "ann", "role": "editor", "expires_unix_ms": expires, "proof": ann.proof });
    assert_eq!((answer.json(), answer.header("cache-control")), (expected, "no-store"));
    let (name, id) = ann.cookie.split_once('=').unwrap();
    assert_eq!(name, format!("bowline_session_{}", fixture.addr.port()), "two Bowlines on one host are two");
    assert_eq!((id.len(), ann.proof.len()), (64, 64));
    let set = answer.header("set-cookie").to_owned();
    let life = set.strip_prefix(&format!("{name}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age=")).unwrap();
    assert!((3590..=3600).contains(&life.parse::<u32>().unwrap()), "{life}: not longer than its token");
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!body.contains(id), "scripts see the body");
    let secret = made.token.expose().rsplit('_').next().unwrap();
    assert!(!format!("{body}{set}").contains(secret));

    let root = sign_in(&fixture, &fixture.root()).await;
    assert!(root.header("set-cookie").ends_with("; Max-Age=43200"), "{root:?}");
    // What is kept is worth nothing to whoever reads it.
    let kept = fixture.node.recorded_store().range("access/sessions/", None, 10).await.unwrap().entries;
    assert_eq!(kept.len(), 2);
    for entry in kept {
        let text = format!("{} {}", entry.key, String::from_utf8_lossy(&entry.value));
        assert!(!text.contains(id) && !text.contains(&ann.proof) && !text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn one_half_of_a_session_identifies_nobody() {
    let fixture = Fixture::start_everywhere().await;
    let ann = SignedIn::with(&fixture, &fixture.token("ann", "viewer").await.token).await;
    let bob = SignedIn::with(&fixture, &fixture.token("bob", "viewer").await.token).await;
    let get = async |headers: &[(&str, &str)]| fixture.ask_with("GET", "/v1/services", headers, "").await;
    assert_eq!(get(&ann.headers()).await.status, 200);
    let (cookie, proof) = (("cookie", &*ann.cookie), ("x-bowline-console", &*ann.proof));
    let other_name = ann.cookie.replace(&format!("_{}=", fixture.addr.port()), "=");
    for (shown, why) in [
        (vec![cookie], "does not show the proof"),
        (vec![cookie, CONSOLE], "does not show the proof"),
        (vec![cookie, proof, proof], "does not show the proof"),
        (vec![cookie, ("x-bowline-console", &bob.proof)], "the proof of another session"),
        (vec![cookie, ("x-bowline-console", NO_PROOF)], "the proof of another session"),
        (vec![proof], ""),
        (vec![("cookie", &other_name), proof], ""),
    ] {
        let detail = get(&shown).await.problem(401, "unauthenticated");
        assert!(detail.contains("needs a token of the role viewer") && detail.contains(why), "{detail}");
        let (known, answer) = session(&fixture, &shown).await;
        assert_eq!((known.signed_in, known.role, answer.header("set-cookie")), (false, None, ""), "{shown:?}");
        assert!(known.why.unwrap_or_default().contains(why));
    }
    // It is no token either, wherever it has been sent to.
    for half in [ann.cookie.split_once('=').unwrap().1, &ann.proof] {
        get(&[("authorization", &format!("Bearer {half}"))]).await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_cookie_that_is_refused_is_as_none_on_loopback() {
    let fixture = Fixture::start().await;
    let name = format!("bowline_session_{}", fixture.addr.port());
    for value in ["", "a", NO_PROOF, "ü"] {
        let cookie = format!("{name}={value}");
        let headers = [("cookie", &*cookie), JSON, ("x-bowline-console", NO_PROOF)];
        assert_eq!(fixture.ask_with("GET", "/v1/services", &headers, "").await.status, 200, "{value}");
        let (nobody, answer) = session(&fixture, &headers).await;
        assert_eq!((nobody.name, nobody.by), (None, Some(SessionBy::Loopback)));
        assert!(nobody.why.unwrap().contains("unknown here"), "{value}");
        assert!(answer.header("set-cookie").starts_with(&format!("{name}=; ")), "it is taken back: {answer:?}");
    }
    // Another server on this host may have set one of that name, for another path.
    let ann = SignedIn::with(&fixture, &fixture.token("ann", "viewer").await.token).await;
    let both = format!("{name}={NO_PROOF}; {name}=x; {}", ann.cookie);
    let headers = [("cookie", &*both), ("x-bowline-console", &*ann.proof)];
    assert_eq!(who(&fixture, &headers).await, (Some("ann".to_owned()), String::new()));
}

#[tokio::test]
async fn what_is_no_token_signs_nobody_in() {
    let fixture = Fixture::start().await;
    let client = fixture.client().with_bearer(Bearer::new(&fixture.root()).unwrap());
    let revoked = fixture.token("gone", "viewer").await;
    client.revoke_token(&revoked.about.id).await.unwrap();
    let new = NewToken { name: "short".to_owned(), role: Role::Viewer, expires_in: Some(Duration::from_mins(1)) };
    let expired = client.create_token(&new).await.unwrap().token;
    pass(Duration::from_secs(61)).await;
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
async fn a_session_acts_as_the_tokens_holder() {
    let fixture = Fixture::start_everywhere().await;
    let made = fixture.token("ann", "editor").await;
    let SignedIn { cookie, proof } = SignedIn::with(&fixture, &made.token).await;
    let among_others = format!("theme=dark; {cookie}");
    let headers = [("cookie", &*among_others), ("x-bowline-console", &*proof)];
    assert_eq!(fixture.ask_with("GET", "/v1/services", &headers, "").await.status, 200);
    assert_eq!(fixture.ask_with("HEAD", "/v1/services", &headers, "").await.status, 200);
    fixture.get("/v1/services").await.problem(401, "unauthenticated");

    let headers = [&headers[..], &[JSON, ("sec-fetch-site", "same-origin")]].concat();
    let answer = fixture.ask_with("PUT", "/v1/instances/order-1", &headers, registration("order")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let entry = &fixture.audit("?class=registry").await.entries[0];
    assert_eq!(entry.operation.as_deref(), Some("PUT /v1/instances/order-1"));
    assert!(matches!(&entry.actor, AuditActor::Token { id, name, role: Role::Editor, .. }
        if *id == made.about.id && name == "ann"));
    let of_sessions = |key: &str| key.contains("sessions");
    let entries = fixture.audit("").await.entries;
    assert!(!entries.iter().any(|entry| entry.changes.iter().any(|change| of_sessions(&change.key))));
}

#[tokio::test]
async fn a_session_may_what_its_role_may() {
    let fixture = Fixture::start().await;
    let viewer = SignedIn::with(&fixture, &fixture.token("v", "viewer").await.token).await;
    let headers = [&viewer.headers()[..], &[JSON]].concat();
    let answer = fixture.ask_with("PUT", "/v1/instances/order-1", &headers, registration("order")).await;
    answer.problem(403, "permission_denied");
    assert_eq!(answer.header("x-bowline-reason"), "role", "also where nobody in particular may more");
    assert_eq!(fixture.ask_with("GET", "/v1/tokens", &headers, "").await.status, 403);
    let root = SignedIn::with(&fixture, &fixture.root()).await;
    assert_eq!(fixture.ask_with("GET", "/v1/tokens", &root.headers(), "").await.status, 200);
    let detail = fixture.ask_with("GET", "/v1/tokens", &[("cookie", &*root.cookie)], "").await;
    assert!(detail.problem(401, "unauthenticated").contains("sign in again"));
    // Of both, what is said on purpose counts.
    let editor = format!("Bearer {}", fixture.token("e", "editor").await.token.expose());
    let both = [&headers[..], &[("authorization", &*editor)]].concat();
    assert_eq!(fixture.ask_with("PUT", "/v1/instances/order-1", &both, registration("order")).await.status, 200);
}

#[tokio::test]
async fn another_page_changes_nothing_by_a_session() {
    let fixture = Fixture::start().await;
    let root = SignedIn::with(&fixture, &fixture.root()).await;
    let own = format!("http://{}", fixture.addr);
    let proof = ("x-bowline-console", &*root.proof);
    let put = async |more: &[(&str, &str)]| {
        let headers = [&[("cookie", &*root.cookie), JSON][..], more].concat();
        fixture.ask_with("PUT", "/v1/instances/order-1", &headers, registration("order")).await
    };
    // A page on another port of this host is of the same site: the browser adds the cookie.
    for forged in [
        &[("origin", &*own)][..],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin"), ("x-bowline-console", "yes")],
        &[("sec-fetch-site", "same-origin"), proof, proof],
        &[proof, ("sec-fetch-site", "same-site")],
        &[proof, ("sec-fetch-site", "cross-site")],
        &[proof, ("sec-fetch-site", "none")],
        &[proof, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        &[proof, ("origin", "http://localhost:1")],
        &[proof, ("origin", "http://127.0.0.1")],
        &[proof, ("origin", &own), ("origin", "http://127.0.0.1")],
        &[("sec-fetch-site", "same-origin"), ("origin", &own)],
    ] {
        let answer = put(forged).await;
        answer.problem(403, "permission_denied");
        assert_eq!(answer.header("x-bowline-reason"), "csrf", "{forged:?}");
    }
    put(&[proof, ("origin", "http://evil.example")]).await.problem(403, "permission_denied");
    assert_eq!(fixture.remote().services().await.unwrap(), []);
    for genuine in [&[proof][..], &[proof, ("origin", &own), ("sec-fetch-site", "same-origin")]] {
        assert_eq!(put(genuine).await.status, 200, "{genuine:?}");
    }
}

#[tokio::test]
async fn another_page_asks_nothing_either() {
    let fixture = Fixture::start().await;
    let get = async |target: &str, site: &str| fixture.ask_with("GET", target, &[("sec-fetch-site", site)], "").await;
    let asked = ["/v1/services", "/v1/session", "/api/v1/query?query=1", "/metrics", "/openapi.json", "/v1/nothing"];
    for target in asked.into_iter().chain(["/v1/shared-caches/a/entries/b"]) {
        for site in ["cross-site", "same-site", "x"] {
            let answer = get(target, site).await;
            answer.problem(403, "permission_denied");
            assert_eq!(answer.header("x-bowline-reason"), "csrf", "{target} {site}");
        }
        for site in ["same-origin", "none"] {
            assert_ne!(get(target, site).await.status, 403, "{target} {site}");
        }
    }
    let head = fixture.ask_with("HEAD", "/v1/services", &[("sec-fetch-site", "same-site")], "").await;
    assert_eq!((head.status, head.header("x-bowline-reason")), (403, "csrf"));
    // Nor a question with a body, whatever it shows.
    let bearer = format!("Bearer {}", fixture.root().expose());
    let form = ("content-type", "application/x-www-form-urlencoded");
    let headers = [form, ("sec-fetch-site", "cross-site"), ("authorization", &*bearer)];
    assert_eq!(fixture.ask_with("POST", "/api/v1/query", &headers, "query=1").await.status, 403);
    // A link to the console leads there, and whether it lives is no secret.
    for target in ["/ui/", "/ui/traces", "/ui/assets/main.js", "/livez", "/readyz"] {
        assert_eq!(get(target, "cross-site").await.status, 200, "{target}");
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
async fn whoever_signs_out_ends_the_session_and_not_the_token() {
    let fixture = Fixture::start_everywhere().await;
    let token = fixture.token("ann", "viewer").await.token;
    let (ann, elsewhere) = (SignedIn::with(&fixture, &token).await, SignedIn::with(&fixture, &token).await);
    let name = format!("bowline_session_{}", fixture.addr.port());
    let gone = format!("{name}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    // Whoever has one half ends nothing.
    for headers in [&[("cookie", &*ann.cookie)][..], &[("cookie", &*ann.cookie), CONSOLE]] {
        let answer = fixture.ask_with("DELETE", "/v1/session", headers, "").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (204, &*gone));
    }
    assert_eq!(who(&fixture, &ann.headers()).await.0.as_deref(), Some("ann"));

    let answer = fixture.ask_with("DELETE", "/v1/session", &ann.headers(), "").await;
    assert_eq!((answer.status, answer.header("set-cookie"), answer.header("cache-control")), (204, &*gone, "no-store"));
    let (name, why) = who(&fixture, &ann.headers()).await;
    assert!(name.is_none() && why.contains("was ended"), "whoever copied both halves has nothing: {why}");
    assert_eq!(fixture.ask_as(&token, "GET", "/v1/services", "").await.status, 200, "the token goes on");
    assert_eq!(who(&fixture, &elsewhere.headers()).await.0.as_deref(), Some("ann"), "and other sessions of it");
    let again = fixture.ask_with("DELETE", "/v1/session", &ann.headers(), "").await;
    assert_eq!(again.status, 204);
}

#[tokio::test]
async fn whoever_signs_in_anew_has_one_session() {
    let fixture = Fixture::start().await;
    let token = fixture.token("ann", "viewer").await.token;
    let first = SignedIn::with(&fixture, &token).await;
    let headers = [&first.headers()[..], &[JSON]].concat();
    let body = json!({ "token": fixture.root().expose() }).to_string();
    let second = SignedIn::of(&fixture.ask_with("POST", "/v1/session", &headers, body).await);
    assert!(second.cookie != first.cookie && second.proof != first.proof);
    assert_eq!(who(&fixture, &second.headers()).await.0.as_deref(), Some("root"));
    assert_eq!(who(&fixture, &first.headers()).await.0, None);
}

#[tokio::test]
async fn the_session_says_who_asks() {
    let fixture = Fixture::start().await;
    let ann = SignedIn::with(&fixture, &fixture.token("ann", "viewer").await.token).await;
    let bearer = format!("Bearer {}", fixture.root().expose());
    let (known, _) = session(&fixture, &ann.headers()).await;
    assert_eq!((known.signed_in, known.name.as_deref(), known.why), (true, Some("ann"), None));
    assert_eq!((known.role, known.by), (Some(Role::Viewer), Some(SessionBy::Cookie)));
    assert_eq!(known.version, env!("CARGO_PKG_VERSION"));
    let both = [&ann.headers()[..], &[("authorization", &*bearer)]].concat();
    let (known, _) = session(&fixture, &both).await;
    assert_eq!((known.name.as_deref(), known.by), (Some("root"), Some(SessionBy::Bearer)));
    let (nobody, answer) = session(&fixture, &[]).await;
    assert_eq!((nobody.signed_in, nobody.name, nobody.why), (false, None, None));
    assert_eq!((nobody.role, nobody.by), (Some(Role::Editor), Some(SessionBy::Loopback)));
    assert_eq!(answer.header("set-cookie"), "");
    // What is sent on purpose is not overlooked: all else will be refused as well.
    let refused = [("authorization", "Bearer x")];
    let (nobody, answer) = session(&fixture, &refused).await;
    assert_eq!((nobody.signed_in, nobody.role, nobody.by), (false, None, None));
    assert_eq!((nobody.why.as_deref(), answer.header("set-cookie")), (Some("this is no token of Bowline"), ""));
    fixture.ask_with("GET", "/v1/services", &refused, "").await.problem(401, "unauthenticated");

    let elsewhere = Fixture::start_everywhere().await;
    let answer = elsewhere.get("/v1/session").await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(answer.json(), json!({ "signed_in": false, "role": null, "by": null, "version": version }));
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_after_12_hours() {
    let fixture = Fixture::start_everywhere().await;
    let client = fixture.client().with_bearer(Bearer::new(&fixture.root()).unwrap());
    lets_its_holder_notice_that_it_ended(&fixture).await;

    let new = NewToken { name: "short".to_owned(), role: Role::Viewer, expires_in: Some(Duration::from_mins(1)) };
    let short = SignedIn::with(&fixture, &client.create_token(&new).await.unwrap().token).await;
    let long = SignedIn::with(&fixture, &fixture.root()).await;
    pass(Duration::from_secs(61)).await;
    assert!(who(&fixture, &short.headers()).await.1.contains("token of the session has expired"));
    assert_eq!(who(&fixture, &long.headers()).await.0.as_deref(), Some("root"));
    pass(Duration::from_hours(12)).await;
    let (name, why) = who(&fixture, &long.headers()).await;
    assert_eq!((name, &*why), (None, "the session has ended: sign in again"));
    // Those that have ended are forgotten when one begins.
    let _next = SignedIn::with(&fixture, &fixture.root()).await;
    assert_eq!(fixture.node.recorded_store().range("access/sessions/", None, 10).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn whoever_had_a_session_does_not_become_anonymous_unnoticed() {
    // On loopback, where nobody needs a token for this.
    let fixture = Fixture::start().await;
    lets_its_holder_notice_that_it_ended(&fixture).await;
    assert_eq!(fixture.ask("GET", "/v1/services", "").await.status, 200);
}

#[tokio::test]
async fn a_session_outlives_a_restart_but_not_the_root_token_it_is_of() {
    let fixture = Fixture::start().await;
    let root = SignedIn::with(&fixture, &fixture.root()).await;
    let moved = |fixture: &Fixture| {
        let id = root.cookie.split_once('=').unwrap().1;
        (format!("bowline_session_{}={id}", fixture.addr.port()), root.proof.clone())
    };
    let fixture = fixture.restart().await;
    let (cookie, proof) = moved(&fixture);
    let headers = [("cookie", &*cookie), ("x-bowline-console", &*proof)];
    assert_eq!(who(&fixture, &headers).await.0.as_deref(), Some("root"));
    // Whoever lost control of it deletes its file: the new one has the same id.
    std::fs::remove_file(fixture.dir.path().join("data/root.token")).unwrap();
    let fixture = fixture.restart().await;
    let (cookie, proof) = moved(&fixture);
    let (name, why) = who(&fixture, &[("cookie", &cookie), ("x-bowline-console", &proof)]).await;
    assert!(name.is_none() && why.contains("revoked"), "{why}");
}

#[tokio::test]
async fn sessions_are_bounded_and_those_of_one_token_push_out_no_others() {
    let fixture = Fixture::start().await;
    let (ann, bob) = (fixture.token("ann", "viewer").await.token, fixture.token("bob", "viewer").await.token);
    let others = SignedIn::with(&fixture, &bob).await;
    let first = SignedIn::with(&fixture, &ann).await;
    let mut last = None;
    for _ in 0..100 {
        pass(Duration::from_millis(2)).await;
        last = Some(SignedIn::with(&fixture, &ann).await);
    }
    assert_eq!(who(&fixture, &first.headers()).await.0, None, "the oldest of that token ended");
    assert_eq!(who(&fixture, &last.unwrap().headers()).await.0.as_deref(), Some("ann"));
    assert_eq!(who(&fixture, &others.headers()).await.0.as_deref(), Some("bob"));
    assert_eq!(fixture.node.recorded_store().range("access/sessions/", None, 1000).await.unwrap().entries.len(), 101);
}
