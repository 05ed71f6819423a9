//! Tokens and the audit from the command line: asked for without asking, and never sent to an impostor.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
};

use bowline_testkit::{Answer, HttpServer};
use http::Method;

use crate::{
    harness::{Home, PATIENCE, Running, ask, eventually},
    stand_in,
};

const EMPTY: &str = "name = \"empty\"\n";

/// Runs the binary; whether it ended well, what it wrote to standard output and to standard error.
async fn run(args: &[&str], vars: &[(&str, &str)]) -> (bool, String, String) {
    let mut command = tokio::process::Command::new(crate::harness::bowline());
    let output = command.args(args).env_remove("BOWLINE_TOKEN").envs(vars.iter().copied()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn root(home: &Home) -> String {
    std::fs::read_to_string(home.data_dir().join("root.token")).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn a_token_is_made_used_listed_and_revoked_without_showing_a_credential() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    let api = running.api().to_string();
    let (is_ok, token, told) = run(&["token", "create", "ci", "--role", "editor", "--api", &api], &[]).await;
    assert!(is_ok && token.starts_with("bwl_") && token.lines().count() == 1, "{token} {told}");
    let token = token.trim_end();
    assert!(told.contains("ci (editor)") && told.contains("this once") && !told.contains(token), "{told}");

    let list = running.command(&["token", "list"]).await;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "NAME", "ROLE", "CREATED", "BY", "EXPIRES"]);
    let row = rows.iter().find(|row| row[1] == "ci").unwrap_or_else(|| panic!("{list}"));
    assert_eq!((row[2], row[5], row[6]), ("editor", "root", "-"));
    assert!(!list.contains(token) && rows.iter().any(|row| row[0] == "root"), "{list}");

    // An editor's, by variable and by flag, is no administrator's.
    let editor = [("BOWLINE_TOKEN", token)];
    assert!(run(&["services", "--api", &api], &editor).await.0);
    let ask = ["token", "list", "--api", &api, "--token", token];
    for (args, vars) in [(&ask[..4], &editor[..]), (&ask, &[])] {
        let (is_ok, _, told) = run(args, vars).await;
        assert!(!is_ok && told.contains("admin") && !told.contains(token), "{told}");
    }
    assert_eq!(running.command(&["token", "revoke", row[0]]).await, format!("revoked {}\n", row[0]));
    let (is_ok, _, told) = run(&["services", "--api", &api], &editor).await;
    assert!(!is_ok && told.contains("revoked") && told.contains("--token"), "{told}");
    let again = running.outcome(&["token", "revoke", row[0]]).await;
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("no token has the id"));
    let (is_ok, _, told) = run(&["services", "--api", &api, "--token", "two words"], &[]).await;
    assert!(!is_ok && told.contains("--token") && told.contains("no spaces") && !told.contains("two words"), "{told}");
    running.stop().await;
    assert!(!running.output().contains("bwl_"), "{}", running.output());
}

#[tokio::test]
async fn json_is_for_programs() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    let json = async |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&running.command(&[args, &["--output", "json"]].concat()).await).unwrap()
    };
    let created = json(&["token", "create", "ci", "--expires", "1h"]).await;
    assert_eq!((&created["role"], &created["created_by"]), (&"viewer".into(), &"root".into()));
    assert!(created["token"].as_str().unwrap().starts_with("bwl_") && created["expires_unix_ms"].is_u64());
    let listed = json(&["token", "list"]).await;
    assert!(listed["tokens"].as_array().unwrap().iter().all(|token| token.get("token").is_none()), "{listed}");
    let audit = json(&["audit", "--kind", "other", "--limit", "1"]).await;
    let entry = &audit["entries"][0];
    assert_eq!((&entry["operation"], &entry["actor"]["name"]), (&"POST /v1/tokens".into(), &"root".into()));
    assert_eq!(entry["changes"][0]["key"], format!("access/tokens/{}", created["id"].as_str().unwrap()));
    assert_eq!(audit["more"], true);
    running.stop().await;
}

#[tokio::test]
async fn the_audit_says_who_changed_what() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    let json = [("content-type", "application/json")];
    let body = br#"{"service":"ledger","address":"127.0.0.1:9999"}"#;
    let answer = ask(running.api(), Method::PUT, "localhost", "/v1/instances/ledger-1", &json, body).await;
    assert_eq!(answer.status, 200);
    running.command(&["token", "create", "ci"]).await;
    let shown = running.command(&["audit"]).await;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("WHEN ") && lines[0].contains("WHO") && lines[0].ends_with("CHANGED"), "{shown}");
    assert!(lines[1].contains("root (admin)") && lines[1].contains("POST /v1/tokens"), "{shown}");
    assert!(lines[1].contains("+access/tokens/"), "{shown}");
    assert!(lines[2].contains("anonymous 127.0.0.1:") && lines[2].contains("PUT /v1/instances/ledger-1"), "{shown}");
    assert!(lines[2].ends_with("+registry/instances/ledger-1"), "{shown}");
    let few = running.command(&["audit", "--limit", "1"]).await;
    assert!(few.lines().count() == 3 && few.contains("there is more: add --before "), "{few}");
    let registry = running.command(&["audit", "--kind", "registry"]).await;
    assert!(registry.contains("ledger-1") && !registry.contains("tokens"), "{registry}");
    let odd = running.outcome(&["audit", "--kind", "all"]).await;
    assert!(String::from_utf8_lossy(&odd.stderr).contains("registry, messages, other or refused"));
    running.stop().await;
}

#[tokio::test]
async fn a_root_token_that_others_can_read_is_not_used() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    let file = home.data_dir().join("root.token");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let listed = running.outcome(&["token", "list"]).await;
    let told = String::from_utf8(listed.stderr).unwrap();
    assert!(!listed.status.success(), "{told}");
    assert!(told.contains("note: ") && told.contains("root.token") && told.contains("0600"), "{told}");
    assert!(told.contains("needs a token of the role admin") && told.contains("BOWLINE_TOKEN"), "{told}");
    // What needs none goes on, and a token that is given is used without looking for another.
    assert!(running.outcome(&["services"]).await.status.success());
    let given = running.outcome(&["token", "list", "--token", &root(&home)]).await;
    assert!(given.status.success() && given.stderr.is_empty(), "{}", String::from_utf8_lossy(&given.stderr));
    std::fs::remove_file(&file).unwrap();
    let without = running.outcome(&["services"]).await;
    assert!(without.status.success() && without.stderr.is_empty(), "{}", String::from_utf8_lossy(&without.stderr));
    running.stop().await;
}

/// Answers as a server of that folder does, with a proof that it has from elsewhere.
fn impostor(home: &Home, proof: impl Fn(&str) -> String + Send + Sync + 'static) -> HttpServer {
    let data_dir = home.data_dir().display().to_string();
    HttpServer::start(move |request| match request.path.split_once("/v1/server?nonce=") {
        Some((_, nonce)) => {
            let told = serde_json::json!({
                "version": "0.1.0", "pid": 1, "revision": 1, "data_dir": data_dir, "proof": proof(nonce),
            });
            Answer::Status(200, told.to_string())
        }
        None => Answer::Status(200, r#"{"tokens":[]}"#.to_owned()),
    })
}

/// Asks the impostor, which must not be told the token.
async fn is_not_told(impostor: &HttpServer, home: &Home) {
    let api = impostor.addr().to_string();
    let (_, _, told) = run(&["token", "list", "--api", &api], &[]).await;
    assert!(told.contains("note: whoever answers at") && told.contains("does not know the root token"), "{told}");
    let requests = impostor.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    let secret = root(home);
    for request in requests {
        assert!(!request.headers.contains_key("authorization"), "{request:?}");
        assert!(!format!("{request:?}").contains(&secret), "{request:?}");
    }
}

#[tokio::test]
async fn an_impostor_is_not_told_the_root_token() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    is_not_told(&impostor(&home, |_| "00".repeat(32)), &home).await;
    // Nor one that lets the server itself answer the nonce.
    let real = running.api();
    is_not_told(&impostor(&home, move |nonce| proof_of(real, nonce)), &home).await;
    running.stop().await;
}

/// What a server answers to a nonce; blocks.
fn proof_of(server: SocketAddr, nonce: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    write!(stream, "GET /v1/server?nonce={nonce} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["proof"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_comes_with_what_the_file_holds_of_it() {
    let (is_ok, shown, told) = run(&["key", "new", "acme"], &[]).await;
    assert!(is_ok, "{told}");
    let key = shown.split_whitespace().find(|word| word.starts_with("bwk_")).unwrap();
    let hash = bowline_server::secret::hash(key);
    assert!(shown.contains(&format!("{{ subject = \"acme\", hash = \"{hash}\" }}")), "{shown}");
    let (_, json, _) = run(&["key", "new", "acme", "--output", "json"], &[]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hash"], bowline_server::secret::hash(json["key"].as_str().unwrap()).to_string());
    assert_ne!(json["key"], key, "no two are alike");
    let (is_ok, _, told) = run(&["key", "new", "two words"], &[]).await;
    assert!(!is_ok && told.contains("no spaces"), "{told}");
}

/// A system of one service that writes down its environment.
fn told_its_environment() -> Home {
    let run = format!("env > ${{data}}/told; {}", stand_in::command(false, false));
    Home::new(&format!("name = \"s\"\n[service.a]\nrun = \"{run}\"\n"))
}

fn told(home: &Home, variable: &str) -> Option<String> {
    let environment = std::fs::read_to_string(home.data_dir().join("told")).unwrap();
    environment.lines().find_map(|line| Some(line.strip_prefix(variable)?.strip_prefix('=')?.to_owned()))
}

async fn status(running: &Running, method: Method, path: &str, token: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization)];
    ask(running.api(), method, "bowline.example", path, &headers, b"").await.status.as_u16()
}

#[tokio::test]
async fn beyond_loopback_a_token_is_demanded_and_instances_have_one() {
    let home = told_its_environment();
    let mut running = home.start(&["--api", "0.0.0.0:0", "--gateway", "0.0.0.0:0"]);
    running.ready().await;
    let is_warned = eventually(PATIENCE, async || running.output().contains("tokens travel unencrypted"));
    assert!(is_warned.await, "{}", running.output());
    assert_eq!(running.output().matches("tokens travel unencrypted").count(), 1);
    let nobody = running.outcome(&["services"]).await;
    assert!(!nobody.status.success() && String::from_utf8_lossy(&nobody.stderr).contains("--token"));
    let token = root(&home);
    assert!(running.command(&["services", "--token", &token]).await.contains("a-1"));

    let lent = told(&home, "BOWLINE_TOKEN").expect("it is given a credential");
    assert_eq!(told(&home, "BOWLINE_API").unwrap(), format!("http://127.0.0.1:{}", running.api().port()));
    assert_eq!(status(&running, Method::GET, "/v1/services", &lent).await, 200);
    assert_eq!(status(&running, Method::DELETE, "/v1/instances/a-1", &lent).await, 403, "its supervisor's");
    assert_eq!(status(&running, Method::GET, "/v1/tokens", &lent).await, 403);
    running.stop().await;
    assert!(!running.output().contains(&lent) && !running.output().contains(&token), "{}", running.output());
}

#[tokio::test]
async fn on_loopback_instances_have_no_credential_not_even_the_starters() {
    let home = told_its_environment();
    let mut running = home.start_with(&[], &[("BOWLINE_TOKEN", "bwl_ab_cd")]);
    running.ready().await;
    assert_eq!(told(&home, "BOWLINE_TOKEN"), None);
    assert!(told(&home, "BOWLINE_API").is_some());
    assert_eq!(running.instances("a").await.len(), 1);
    let answer = ask(running.api(), Method::DELETE, "localhost", "/v1/instances/a-1", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-bowline-reason")), (403, "supervised"));
    running.stop().await;
}
