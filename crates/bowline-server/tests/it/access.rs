//! Who may what: tokens, their roles and their ends, on loopback and beyond it.

use std::os::unix::fs::PermissionsExt as _;

use bowline_model::{Code, Secret};
use bowline_provider_remote::{
    Bearer,
    wire::{NewToken, Role},
};
use bowline_runtime::{metric, time::Duration};
use bowline_server::secret;
use bowline_store::{Embedded, Store as _, Txn};

use crate::support::{Fixture, registration, start};

fn bearer(token: &Secret) -> Bearer {
    Bearer::new(token).unwrap()
}

/// A token of the right form that nobody has made.
fn forged(id: &str) -> Secret {
    Secret::new(format!("bwl_{id}_{}", "ab".repeat(32)))
}

#[tokio::test]
async fn a_token_is_told_once_and_listed_without_its_secret() {
    let fixture = Fixture::start().await;
    let client = fixture.client().with_bearer(bearer(&fixture.root()));
    let new = NewToken { name: "ci".to_owned(), role: Role::Editor, expires_in: Some(Duration::from_hours(1)) };
    let created = client.create_token(&new).await.unwrap();
    let about = created.about.clone();
    assert_eq!((&*about.name, about.role, &*about.created_by), ("ci", Role::Editor, "root"));
    assert_eq!(about.expires_unix_ms, Some(about.created_unix_ms + 3_600_000));
    assert!(created.token.expose().starts_with(&format!("bwl_{}_", about.id)));

    let listed = client.tokens().await.unwrap().tokens;
    assert_eq!(listed.iter().filter(|token| **token == about).count(), 1);
    assert!(listed.iter().any(|token| token.id == "root" && token.role == Role::Admin));
    let answer = fixture.ask_as(&fixture.root(), "GET", "/v1/tokens", "").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let secret = created.token.expose().rsplit('_').next().unwrap();
    assert!(!text.contains(secret) && !text.contains("hash") && !text.contains("sha256"), "{text}");
}

#[tokio::test]
async fn no_file_of_the_data_folder_holds_a_secret_but_the_root_tokens() {
    let fixture = Fixture::start().await;
    let created = fixture.token("ci", "viewer").await;
    let secrets = [created.token, fixture.root()].map(|token| token.expose().rsplit('_').next().unwrap().to_owned());
    let Fixture { dir, node, .. } = fixture;
    node.stop().await;
    let data = dir.path().join("data");
    for name in ["store.redb"] {
        let content = std::fs::read(data.join(name)).unwrap();
        for secret in &secrets {
            assert!(!content.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name}");
        }
    }
}

#[tokio::test]
async fn tokens_are_an_administrators_also_on_loopback() {
    let fixture = Fixture::start().await;
    let editor = fixture.token("ci", "editor").await;
    let new = r#"{"name":"x","role":"admin"}"#;
    for (method, path, body) in
        [("GET", "/v1/tokens", ""), ("POST", "/v1/tokens", new), ("DELETE", "/v1/tokens/ab", "")]
    {
        let answer = fixture.ask(method, path, body).await;
        assert!(answer.problem(401, "unauthenticated").contains("admin"));
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"bowline\"");
        assert_eq!(answer.header("x-bowline-reason"), "token_missing");
        let answer = fixture.ask_as(&editor.token, method, path, body).await;
        let detail = answer.problem(403, "permission_denied");
        assert!(detail.contains("ci") && detail.contains("editor") && detail.contains("admin"), "{detail}");
        assert_eq!(answer.header("x-bowline-reason"), "role");
    }
    assert_eq!(fixture.ask("HEAD", "/v1/tokens", "").await.status, 401);
}

#[tokio::test]
async fn a_bad_token_is_nobody_also_where_nobody_is_enough() {
    let fixture = Fixture::start().await;
    let real = fixture.token("ci", "editor").await.token;
    let wrong = format!("{}{}", &real.expose()[..real.expose().len() - 1], u8::from(real.expose().ends_with('0')));
    let upper = real.expose().to_uppercase();
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic cm9vdDpyb290",
        real.expose(),
        &format!("Bearer {wrong}"),
        &format!("Bearer {upper}"),
        &format!("Bearer {}", forged("root").expose()),
        &format!("Bearer {}", forged("nobody").expose()),
        &format!("Bearer {} x", real.expose()),
    ] {
        let answer = fixture.ask_with("GET", "/v1/services", &[("authorization", value)], "").await;
        let detail = answer.problem(401, "unauthenticated");
        assert!(!detail.contains(&wrong), "{detail}");
        assert_eq!(answer.header("x-bowline-reason"), "token_invalid", "{value}");
        assert!(!answer.header("www-authenticate").is_empty());
    }
    let good = format!("bearer {}", real.expose());
    assert_eq!(fixture.ask_with("GET", "/v1/services", &[("authorization", &good)], "").await.status, 200);
    let twice = [("authorization", &*good), ("authorization", &*good)];
    fixture.ask_with("GET", "/v1/services", &twice, "").await.problem(401, "unauthenticated");
    assert_eq!(fixture.ask_with("GET", "/livez", &[("authorization", "x")], "").await.status, 200);
}

#[tokio::test]
async fn a_token_may_what_its_role_may_and_no_more() {
    let fixture = Fixture::start().await;
    let (viewer, editor) = (fixture.token("v", "viewer").await.token, fixture.token("e", "editor").await.token);
    let body = registration("order");
    let put = async |token: &Secret| fixture.ask_as(token, "PUT", "/v1/instances/order-1", body.clone()).await;
    // Whoever shows a token acts as its holder, also where nobody in particular may more.
    put(&viewer).await.problem(403, "permission_denied");
    assert_eq!(fixture.ask_as(&viewer, "GET", "/v1/instances", "").await.status, 200);
    assert_eq!(put(&editor).await.status, 200);
    assert_eq!(put(&fixture.root()).await.status, 200);
    // Who may not publish is not told whether it would be.
    for (token, role, name) in [(&viewer, "editor", "shop/order"), (&editor, "admin", "bowline/routes")] {
        let check = format!("/v1/config/{name}/check");
        let detail = fixture.ask_as(token, "POST", &check, r#"{"format":"json","text":"{}"}"#).await;
        let detail = detail.problem(403, "permission_denied");
        assert!(detail.contains(role), "{detail}");
    }
}

#[tokio::test]
async fn a_revoked_token_ends_at_once_and_an_expired_one_in_time() {
    let fixture = Fixture::start().await;
    let client = fixture.client().with_bearer(bearer(&fixture.root()));
    let created = fixture.token("ci", "editor").await;
    let asked = async |token: &Secret| fixture.ask_as(token, "GET", "/v1/services", "").await;
    assert_eq!(asked(&created.token).await.status, 200);
    client.revoke_token(&created.about.id).await.unwrap();
    let detail = asked(&created.token).await.problem(401, "unauthenticated");
    assert!(detail.contains("revoked"), "{detail}");
    let gone = client.revoke_token(&created.about.id).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    for odd in ["..%2Froot", "A", "%20"] {
        let answer = fixture.ask_as(&fixture.root(), "DELETE", &format!("/v1/tokens/{odd}"), "").await;
        answer.problem(404, "not_found");
    }

    let new = NewToken { name: "short".to_owned(), role: Role::Viewer, expires_in: Some(Duration::from_mins(1)) };
    let short = client.create_token(&new).await.unwrap().token;
    assert_eq!(asked(&short).await.status, 200);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    let detail = asked(&short).await.problem(401, "unauthenticated");
    assert!(detail.contains("expired"), "{detail}");
}

#[tokio::test]
async fn a_token_that_is_taken_for_an_id_is_told_to_nobody() {
    let fixture = Fixture::start().await;
    let token = fixture.token("ci", "editor").await.token;
    let path = format!("/v1/tokens/{}", token.expose());
    let detail = fixture.ask_as(&fixture.root(), "DELETE", &path, "").await.problem(400, "invalid_argument");
    assert!(detail.contains("its id") && !detail.contains(token.expose()), "{detail}");
    fixture.ask_as(&token, "DELETE", &path, "").await.problem(403, "permission_denied");
    let refused = fixture.audit("?class=refused").await.entries;
    assert_eq!(refused[0].operation.as_deref(), Some("DELETE /v1/tokens/(a token)"));
}

#[tokio::test]
async fn a_token_that_breaks_a_rule_is_not_made() {
    let fixture = Fixture::start().await;
    let long = "a".repeat(65);
    for (body, what) in [
        (r#"{"name":"","role":"viewer"}"#.to_owned(), "name"),
        (format!(r#"{{"name":"{long}","role":"viewer"}}"#), "name"),
        (r#"{"name":"a b","role":"viewer"}"#.to_owned(), "name"),
        (r#"{"name":"a","role":"root"}"#.to_owned(), "role"),
        (r#"{"name":"a"}"#.to_owned(), "role"),
        (r#"{"name":"a","role":"viewer","expires_in":"1s"}"#.to_owned(), "expires_in"),
        (r#"{"name":"a","role":"viewer","expires_in":"4000d"}"#.to_owned(), "expires_in"),
        (r#"{"name":"a","role":"viewer","hash":"x"}"#.to_owned(), "hash"),
    ] {
        let detail = fixture.ask_as(&fixture.root(), "POST", "/v1/tokens", body).await.problem(422, "unprocessable");
        assert!(detail.contains(what), "{detail}");
    }
}

#[tokio::test]
async fn there_are_so_many_tokens_and_no_more() {
    let dir = bowline_testkit::temp_dir();
    let settings = bowline_store::Settings::new(dir.path().join("data/store.redb"));
    let store = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
    let hash = format!("sha256:{}", "0".repeat(64));
    // The root token comes on top.
    for hundred in 0..10 {
        let txn = (0..100 - usize::from(hundred == 0)).fold(Txn::default(), |txn, at| {
            let id = format!("{hundred}x{at}");
            let record = format!(
                r#"{{"id":"{id}","name":"a","role":"viewer","hash":"{hash}","created_unix_ms":1,"created_by":"root"}}"#
            );
            txn.put(format!("access/tokens/{id}"), record)
        });
        store.commit(txn).await.unwrap();
    }
    store.close().await;
    drop(store);
    let fixture = Fixture::start_in(dir).await;
    let answer = fixture.ask_as(&fixture.root(), "POST", "/v1/tokens", r#"{"name":"a","role":"viewer"}"#).await;
    let detail = answer.problem(400, "failed_precondition");
    assert!(detail.contains("1000") && detail.contains("revoke"), "{detail}");
    assert_eq!(fixture.ask_as(&fixture.root(), "DELETE", "/v1/tokens/0x1", "").await.status, 204);
    fixture.token("b", "viewer").await;
}

#[tokio::test]
async fn beyond_loopback_everything_but_health_needs_a_token() {
    let fixture = Fixture::start_everywhere().await;
    let (viewer, editor) = (fixture.token("v", "viewer").await.token, fixture.token("e", "editor").await.token);
    for path in ["/livez", "/readyz"] {
        assert_eq!(fixture.get(path).await.status, 200, "{path}");
    }
    for path in ["/metrics", "/openapi.json", "/v1/server", "/v1/services", "/v1/instances", "/v1/traces", "/v1/audit"]
    {
        let answer = fixture.get(path).await;
        answer.problem(401, "unauthenticated");
        assert!(!answer.header("www-authenticate").is_empty(), "{path}");
        assert_eq!(fixture.ask_as(&viewer, "GET", path, "").await.status, 200, "{path}");
    }
    for path in ["/nothing", "/v1/nothing", "/v1/instances/a/b"] {
        fixture.get(path).await.problem(401, "unauthenticated");
        fixture.ask_as(&viewer, "GET", path, "").await.problem(404, "not_found");
    }
    let body = registration("order");
    for (method, path, body) in [
        ("PUT", "/v1/instances/order-1", &*body),
        ("POST", "/v1/instances/order-1/heartbeat", ""),
        ("POST", "/v1/heartbeats", r#"{"ids":[]}"#),
        ("POST", "/v1/spans", r#"{"spans":[]}"#),
        ("DELETE", "/v1/instances/order-1", ""),
    ] {
        fixture.ask(method, path, body.to_owned()).await.problem(401, "unauthenticated");
        fixture.ask_as(&viewer, method, path, body.to_owned()).await.problem(403, "permission_denied");
        let answer = fixture.ask_as(&editor, method, path, body.to_owned()).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn beyond_loopback_any_host_may_be_asked_but_no_page_of_another() {
    let fixture = Fixture::start_everywhere().await;
    let authorization = format!("Bearer {}", fixture.root().expose());
    for host in ["bowline.example:7117", "10.0.0.1", "localhost"] {
        let headers = [("host", host), ("authorization", &*authorization)];
        assert_eq!(fixture.ask_with("GET", "/v1/services", &headers, "").await.status, 200, "{host}");
        assert_eq!(fixture.ask_with("GET", "/v1/services", &[("host", host)], "").await.status, 401, "{host}");
    }
    let page = |origin| [("host", "10.0.0.1:7117"), ("origin", origin), ("authorization", &*authorization)];
    for foreign in ["http://evil.example", "http://10.0.0.1", "http://10.0.0.1:8080", "null"] {
        let answer = fixture.ask_with("GET", "/v1/services", &page(foreign), "").await;
        answer.problem(403, "permission_denied");
    }
    assert_eq!(fixture.ask_with("GET", "/v1/services", &page("http://10.0.0.1:7117"), "").await.status, 200);
}

#[tokio::test]
async fn a_lent_token_is_as_long_as_its_process() {
    let fixture = Fixture::start_everywhere().await;
    let lent = fixture.node.lend_token("instances", Role::Editor).unwrap();
    let registry = fixture.remote().with_bearer(bearer(&lent));
    assert_eq!(bowline_registry::Registry::services(&registry).await.unwrap(), []);
    let listed = fixture.client().with_bearer(bearer(&fixture.root())).tokens().await.unwrap();
    assert_eq!(listed.tokens.len(), 1, "it is kept nowhere");
    let fixture = fixture.restart().await;
    fixture.ask_as(&lent, "GET", "/v1/services", "").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_restart_keeps_tokens_and_the_root_token() {
    let fixture = Fixture::start().await;
    let (root, token) = (fixture.root(), fixture.token("ci", "editor").await.token);
    let fixture = fixture.restart().await;
    assert_eq!(fixture.root(), root);
    for token in [&root, &token] {
        assert_eq!(fixture.ask_as(token, "GET", "/v1/services", "").await.status, 200);
    }
}

#[tokio::test]
async fn a_root_token_that_is_lost_told_or_anothers_is_replaced() {
    let mut fixture = Fixture::start().await;
    let file = fixture.dir.path().join("data/root.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let lose = || std::fs::remove_file(&file).unwrap();
    let tell = || std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let swap = || std::fs::write(&file, forged("root").expose()).unwrap();
    let empty = || std::fs::write(&file, "").unwrap();
    let cases: [&dyn Fn(); 4] = [&lose, &tell, &swap, &empty];
    for break_it in cases {
        let before = fixture.root();
        break_it();
        fixture = fixture.restart().await;
        assert_ne!(fixture.root(), before);
        assert_eq!(fixture.ask_as(&fixture.root(), "GET", "/v1/tokens", "").await.status, 200);
        fixture.ask_as(&before, "GET", "/v1/services", "").await.problem(401, "unauthenticated");
        fixture.ask_as(&forged("root"), "GET", "/v1/services", "").await.problem(401, "unauthenticated");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[tokio::test]
async fn a_root_token_that_cannot_be_written_is_told() {
    let dir = bowline_testkit::temp_dir();
    std::fs::create_dir_all(dir.path().join("data/root.token/in the way")).unwrap();
    let error = start(crate::support::settings(&dir, None)).await.unwrap_err();
    let text = bowline_model::error::chain(&error);
    assert!(text.contains("cannot make the root token") && text.contains("root.token"), "{text}");
    // The store is let go.
    std::fs::remove_dir_all(dir.path().join("data/root.token")).unwrap();
    start(crate::support::settings(&dir, None)).await.unwrap().stop().await;
}

#[tokio::test]
async fn the_root_token_is_not_revoked() {
    let fixture = Fixture::start().await;
    let answer = fixture.ask_as(&fixture.root(), "DELETE", "/v1/tokens/root", "").await;
    let detail = answer.problem(400, "failed_precondition");
    assert!(detail.contains("root.token") && detail.contains("restart"), "{detail}");
}

#[tokio::test]
async fn the_server_proves_that_it_knows_the_root_token() {
    let fixture = Fixture::start().await;
    let root = secret::hash(fixture.root().expose());
    let nonce = secret::new_nonce().unwrap();
    let told = fixture.client().proven_server(&nonce).await.unwrap();
    assert!(secret::is_proof(&root, &nonce, fixture.addr, told.proof.as_deref().unwrap()));
    assert!(!secret::is_proof(&root, &nonce, ([127, 0, 0, 1], 1).into(), told.proof.as_deref().unwrap()));
    assert_eq!(fixture.client().server().await.unwrap().proof, None);
    for bad in ["", "ab", "zz".repeat(32).as_str(), "ab".repeat(65).as_str()] {
        let answer = fixture.get(&format!("/v1/server?nonce={bad}")).await;
        answer.problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn beyond_loopback_the_data_folder_is_not_told() {
    let fixture = Fixture::start_everywhere().await;
    let told = fixture.client().with_bearer(bearer(&fixture.root())).server().await.unwrap();
    assert_eq!(told.data_dir, None);
}

#[tokio::test]
async fn what_the_supervisor_runs_is_its_own() {
    let fixture = Fixture::start().await;
    let mut instance = crate::support::instance("order-1");
    instance.metadata.insert("bowline.supervised".to_owned(), "true".to_owned());
    let registry = fixture.node.registry();
    for ttl in [None, Some(Duration::from_mins(1))] {
        registry.register(instance.clone(), ttl).await.unwrap();
        let editor = fixture.token("e", "editor").await.token;
        let body = registration("order");
        for (method, body) in
            [("PUT", &*body), ("PUT", r#"{"service":"evil","address":"127.0.0.1:1"}"#), ("DELETE", "")]
        {
            let nobody = fixture.ask(method, "/v1/instances/order-1", body.to_owned()).await;
            let detail = nobody.problem(403, "permission_denied");
            assert!(
                detail.contains("order-1") && detail.contains("supervisor") && detail.contains("admin"),
                "{detail}"
            );
            assert_eq!(nobody.header("x-bowline-reason"), "supervised");
            let answer = fixture.ask_as(&editor, method, "/v1/instances/order-1", body.to_owned()).await;
            answer.problem(403, "permission_denied");
        }
        let found = registry.discover(&bowline_registry::Query::default()).await.unwrap();
        assert_eq!(found.instances, [instance.clone()]);
        let answer = fixture.ask_as(&fixture.root(), "DELETE", "/v1/instances/order-1", "").await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    // Others are not concerned.
    fixture.register("order-2").await;
    assert_eq!(fixture.ask("DELETE", "/v1/instances/order-2", "").await.status, 204);
}

#[tokio::test]
async fn nobody_pretends_to_be_supervised() {
    let fixture = Fixture::start().await;
    for key in ["bowline.supervised", "bowline.owner", "bowline."] {
        let body = format!(r#"{{"service":"order","address":"127.0.0.1:1","metadata":{{"{key}":"true"}}}}"#);
        let detail = fixture.ask("PUT", "/v1/instances/order-1", body.clone()).await.problem(422, "unprocessable");
        assert!(detail.contains(key), "{detail}");
        let answer = fixture.ask_as(&fixture.root(), "PUT", "/v1/instances/order-1", body).await;
        answer.problem(422, "unprocessable");
    }
    let body = r#"{"service":"order","address":"127.0.0.1:1","metadata":{"bowliner":"true"}}"#;
    assert_eq!(fixture.ask("PUT", "/v1/instances/order-1", body).await.status, 200);
}
