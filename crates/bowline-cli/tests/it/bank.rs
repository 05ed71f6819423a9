//! The bank as its README shows it: transfers, refusals, statements, the ledger, and the model that does not answer.

use std::time::Duration;

use bowline_testkit::postgresql::Server;
use http::Method;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Answer, Home, PATIENCE, Running, ask, eventually, example};

const BANK: &str = "bank.localhost";

/// The keys of the README.
const ADA: &str = "bank-demo-ada";
const BOB: &str = "bank-demo-bob";
pub(crate) const TELLER: &str = "bank-demo-teller";

/// How soon a change is live everywhere.
const LIVE_WITHIN: Duration = Duration::from_secs(2);

/// A question with somebody's key.
pub(crate) async fn get(running: &Running, key: &str, path: &str) -> Answer {
    running.ask(Method::GET, BANK, path, &[("x-api-key", key)], b"").await
}

async fn post(running: &Running, key: &str, path: &str, name: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("x-api-key", key), ("idempotency-key", name)];
    running.ask(Method::POST, BANK, path, &headers, body.to_string().as_bytes()).await
}

/// A transfer in euros.
async fn transfer(running: &Running, key: &str, name: &str, (from, to): (&str, &str), amount: i64) -> Answer {
    let body = json!({"from": from, "to": to, "amount": amount, "currency": "EUR"});
    post(running, key, "/transfers", name, &body).await
}

/// Opens accounts in euros for Ada and for Bob; Ada's has so much to begin with.
async fn open(running: &Running, amount: i64) -> (String, String) {
    let mut ids = Vec::new();
    for key in [ADA, BOB] {
        let opened = post(running, key, "/accounts", "open", &json!({"currency": "EUR"})).await;
        assert_eq!(opened.status, 201, "{:?}\n{}", opened.body, running.output());
        ids.push(text(&opened.json()["id"]));
    }
    let deposit = json!({"account": ids[0], "amount": amount, "currency": "EUR", "reference": "first"});
    let deposited = post(running, TELLER, "/deposits", "first", &deposit).await;
    assert_eq!(deposited.status, 201, "{deposited:?}");
    (ids[0].clone(), ids[1].clone())
}

async fn balance(running: &Running, key: &str, id: &str) -> i64 {
    get(running, key, &format!("/accounts/{id}")).await.json()["balance"].as_i64().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_example_is_a_good_file_and_its_documents_are_there() {
    let bank = example("bank");
    let text = std::fs::read_to_string(bank.join("bowline.toml")).unwrap();
    let system = bowline_model::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(system.table.routes.iter().all(|route| route.auth.is_some() && route.limit.is_some()));
    let keys: Vec<_> = system.configs.iter().map(|config| config.key.to_string()).collect();
    assert_eq!(keys, ["bank/transaction", "bank/risk"]);
    for config in &system.configs {
        for file in [&config.schema, &config.document] {
            assert!(bank.join(file.as_ref().unwrap()).is_file(), "{file:?}");
        }
    }
}

/// The bank, whose risk lets pass what is not asked for in masses.
pub(crate) fn lenient() -> Home {
    let home = Home::bank();
    let risk = "threshold = 1.0\nfallback_amount = 1000000\nfallback_count_1h = 500\n";
    std::fs::write(home.path().join("config/risk.toml"), risk).unwrap();
    home
}

#[tokio::test]
async fn transfers_settle_once_are_refused_by_rule_and_traced() {
    let home = lenient();
    let mut running = home.up().await;
    let (ada, bob) = open(&running, 100_000).await;
    settles_once(&running, &ada, &bob).await;
    refusals(&running, &ada, &bob).await;
    statement(&running, &ada).await;
    traces(&running, &ada, &bob).await;
    let told = running.command(&["check", home.path().to_str().unwrap(), "--observed"]).await;
    assert!(!told.contains("warning"), "{told}");
    let summary = "4 services, 4 calls: every axiom holds of what is declared and what was observed\n";
    assert!(told.contains("\nobserved: ") && told.ends_with(summary), "{told}");
    running.stop().await;
}

#[tokio::test]
async fn transfers_settle_once_in_postgresql_too() {
    let Some((_server, addr)) = Server::listening() else { return };
    let home = lenient();
    home.edit(|text| text.replace("postgres://bank@127.0.0.1:5432", &format!("postgres://test@{addr}")));
    let mut running = home.start_with(&["--profile", "postgres"], &[("BANK_POSTGRES_PASSWORD", "any")]);
    running.ready().await;
    let (ada, bob) = open(&running, 100_000).await;
    settles_once(&running, &ada, &bob).await;
    running.stop().await;
    assert!(!home.data_dir().join("sqlite/account.db").exists());
}

async fn settles_once(running: &Running, ada: &str, bob: &str) {
    let first = transfer(running, ADA, "k1", (ada, bob), 2500).await;
    assert_eq!(first.status, 201, "{:?}\n{}", first.body, running.output());
    let settled = first.json();
    assert_eq!((&settled["state"], &settled["risk"]["decision"]), (&json!("settled"), &json!("allow")), "{settled}");
    assert!(text(&settled["risk"]["by"]).starts_with("model "), "{settled}");
    let again = transfer(running, ADA, "k1", (ada, bob), 2500).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &settled["id"]));
    // Two that arrive at once are one transfer.
    let both =
        tokio::join!(transfer(running, ADA, "k2", (ada, bob), 500), transfer(running, ADA, "k2", (ada, bob), 500));
    assert_eq!(both.0.json()["id"], both.1.json()["id"]);
    assert_eq!((balance(running, ADA, ada).await, balance(running, BOB, bob).await), (97_000, 3000));
    let ledger = get(running, TELLER, "/ledger").await.json();
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(get(running, ADA, "/ledger").await.status, 403);
    // Account tells when it posted it.
    let path = format!("/transfers/{}", text(&settled["id"]));
    let is_posted = async || get(running, ADA, &path).await.json()["posted_at_ms"].is_i64();
    assert!(eventually(PATIENCE, is_posted).await, "{}", running.output());
    let listed = get(running, ADA, "/transfers?state=settled").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let sagas = running.command(&["sagas", "--service", "transaction"]).await;
    assert!(sagas.contains(&text(&settled["id"])) && sagas.contains("done"), "{sagas}");
}

async fn refusals(running: &Running, ada: &str, bob: &str) {
    for (key, name, accounts, amount, status) in [
        ("nobody", "r1", (ada, bob), 1, 401),
        (ADA, "k1", (ada, bob), 2501, 409),
        (ADA, "r2", (ada, ada), 1, 422),
        (ADA, "r3", (ada, bob), 0, 422),
        (ADA, "r4", (ada, bob), 1_000_001, 422),
        (ADA, "", (ada, bob), 1, 400),
    ] {
        let answer = transfer(running, key, name, accounts, amount).await;
        assert_eq!(answer.status, status, "{name}: {:?}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{name}");
    }
    for (key, name, accounts, amount, reason) in [
        (BOB, "d1", (bob, ada), 3001, "insufficient_funds"),
        (BOB, "d2", (ada, bob), 1, "not_owner"),
        (ADA, "d3", (ada, "a-none"), 1, "no_account"),
    ] {
        let answer = transfer(running, key, name, accounts, amount).await;
        let declined = answer.json();
        let told = (answer.status.as_u16(), text(&declined["state"]), text(&declined["reason"]));
        assert_eq!(told, (201, "declined".to_owned(), reason.to_owned()), "{declined}");
    }
    let others = get(running, BOB, "/transfers?state=settled").await.json();
    assert_eq!(others, json!([]), "another's transfers");
}

async fn statement(running: &Running, ada: &str) {
    let path = format!("/accounts/{ada}/statement");
    let answer = get(running, ADA, &path).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let csv = String::from_utf8(answer.body.to_vec()).unwrap();
    let lines: Vec<&str> = csv.split("\r\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[0], "posted_at,transaction,counterparty,amount,currency,balance");
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines[3].ends_with(",-500,EUR,97000"), "{csv}");
    assert_eq!(get(running, BOB, &path).await.status, 403);
}

/// Gateway → transaction → risk → ml, and transaction → account.
async fn traces(running: &Running, ada: &str, bob: &str) {
    let settled = transfer(running, ADA, "t1", (ada, bob), 1).await;
    let id = settled.header("x-trace-id").to_owned();
    let is_served =
        |spans: &[Value], by: &str| spans.iter().any(|span| span["service"] == by && span["kind"] == "server");
    let mut spans = Vec::new();
    let is_whole = eventually(PATIENCE, async || {
        let answer = ask(running.api(), Method::GET, "localhost", &format!("/v1/traces/{id}"), &[], b"").await;
        if answer.status == 200 {
            spans.clone_from(answer.json()["spans"].as_array().unwrap());
        }
        ["gateway", "transaction", "risk", "ml", "account"].iter().all(|service| is_served(&spans, service))
    });
    assert!(is_whole.await, "{spans:#?}");
    let shown = running.command(&["trace", &id]).await;
    for step in ["assess", "hold", "capture"] {
        assert!(shown.contains(&format!("saga transfer-held {step}")), "{step}: {shown}");
    }
}

#[tokio::test]
async fn transfers_go_on_by_the_fallback_while_the_model_does_not_answer() {
    let home = Home::bank();
    home.edit(|text| format!("{text}\n[metrics]\nevery = \"1s\"\n"));
    let mut running = home.up().await;
    let (ada, bob) = open(&running, 1_000_000).await;
    let ml = running.processes("ml").await[0];
    kill_process(ml, Signal::STOP).unwrap();
    let mut last = Value::Null;
    for number in 0..8 {
        let answer = transfer(&running, ADA, &format!("s{number}"), (&ada, &bob), 100).await;
        assert_eq!(answer.status, 201, "{answer:?}\n{}", running.output());
        last = answer.json();
        assert_eq!((&last["state"], &last["risk"]["by"]), (&json!("settled"), &json!("fallback")), "{last}");
        // The trace says so.
        if number == 0 {
            let is_told = |span: &Value| span["service"] == "risk" && span.to_string().contains("risk.fallback");
            running.spans(answer.header("x-trace-id"), is_told).await;
        }
    }
    // The rule for what the model cannot say.
    let large = transfer(&running, ADA, "large", (&ada, &bob), 500_000).await.json();
    assert_eq!((&large["state"], &large["reason"]), (&json!("declined"), &json!("risk")), "{large}");
    let breaker = "sum(bowline_breakers{service=\"ml\"})";
    assert!(eventually(PATIENCE, async || running.measured(breaker).await > Some(0.0)).await, "the breaker is open");
    let fallback = "sum(bank_risk_assessments_total{by=\"fallback\"})";
    assert!(eventually(PATIENCE, async || running.measured(fallback).await >= Some(9.0)).await);
    kill_process(ml, Signal::CONT).unwrap();
    let mut number = 0;
    let is_back = eventually(PATIENCE, async || {
        number += 1;
        // Another account each time would be needed for many: the model counts them, too.
        let answer = transfer(&running, ADA, &format!("b{number}"), (&ada, &bob), 100).await;
        last = answer.json();
        text(&last["risk"]["by"]).starts_with("model ")
    });
    assert!(is_back.await, "{last}");
    running.stop().await;
}

#[tokio::test]
async fn while_risk_does_not_answer_the_amount_decides_and_limits_change_live() {
    let home = Home::bank();
    let mut running = home.up().await;
    let (ada, bob) = open(&running, 1_000_000).await;
    let risk = running.processes("risk").await[0];
    kill_process(risk, Signal::STOP).unwrap();
    let small = transfer(&running, ADA, "k1", (&ada, &bob), 10_000).await.json();
    assert_eq!((&small["state"], &small["risk"]["by"]), (&json!("settled"), &json!("amount")), "{small}");
    let large = transfer(&running, ADA, "k2", (&ada, &bob), 10_001).await.json();
    assert_eq!((&large["state"], &large["reason"]), (&json!("declined"), &json!("risk_unavailable")), "{large}");
    kill_process(risk, Signal::CONT).unwrap();

    let file = home.path().join("limits.toml");
    std::fs::write(&file, "per_transfer_max = 50\nper_day_max = 20_000\n").unwrap();
    let set = ["config", "set", "bank/transaction", file.to_str().unwrap()];
    running.command(&set).await;
    let mut number = 0;
    let is_live = eventually(LIVE_WITHIN, async || {
        number += 1;
        transfer(&running, ADA, &format!("l{number}"), (&ada, &bob), 51).await.status == 422
    });
    assert!(is_live.await);
    // The schema cannot say that the day is longer than a transfer: the instance does, and goes on with what it had.
    std::fs::write(&file, "per_transfer_max = 50\nper_day_max = 49\n").unwrap();
    running.command(&set).await;
    let is_refused =
        async || running.command(&["config", "status", "bank/transaction"]).await.contains("at least per_transfer_max");
    assert!(eventually(PATIENCE, is_refused).await);
    assert_eq!(transfer(&running, ADA, "l-last", (&ada, &bob), 51).await.status, 422);
    running.stop().await;
}
