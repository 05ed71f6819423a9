//! The service as its callers know it.

use example_sql::Db;
use example_testing::{Answer, Document, JSON, Running};
use serde_json::{Value, json};
use sqlx::Sqlite;

use super::Fixture;
use crate::{api, repository::SqlAccounts, service::AccountService};

const DOCUMENT: &str = include_str!("../../../openapi/account.yaml");

example_sql::on_both!(
    money_comes_in_is_held_moves_and_is_told_of,
    what_is_released_is_free_and_does_not_come_again,
    a_statement_is_of_a_time,
    statements_of_two_times_add_up_whatever_the_clock_says,
);

/// The service, which runs for as long as it is held.
pub(super) struct Bank(Running);

impl Bank {
    pub(super) async fn open<DB: Db>(fixture: &Fixture<DB>) -> Self {
        let app = api::app(AccountService { repository: super::accounts(fixture).await });
        Self(Running::start("account", app, DOCUMENT).await)
    }

    /// Sends a request in somebody's name, or in nobody's where it is empty.
    pub(super) async fn ask(&self, method: &str, path: &str, subject: &str, body: &str) -> Answer {
        let headers = [JSON, ("x-bowline-subject", subject)];
        self.ask_with(method, path, if subject.is_empty() { &headers[..1] } else { &headers }, body).await
    }

    pub(super) async fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.0.ask(method, path, headers, body).await
    }

    pub(super) async fn post(&self, path: &str, subject: &str, body: &Value) -> Answer {
        self.ask("POST", path, subject, &body.to_string()).await
    }

    /// Asks for a hold as the service of transfers does, who says for whom.
    pub(super) async fn hold(&self, asked_by: &str, hold: &Value) -> Answer {
        let mut hold = hold.clone();
        hold["asked_by"] = asked_by.into();
        self.post("/holds", "", &hold).await
    }

    pub(super) async fn get(&self, path: &str, subject: &str) -> Answer {
        self.ask("GET", path, subject, "").await
    }

    /// A new account of somebody's with that much in it.
    pub(super) async fn account(&self, owner: &str, amount: i64) -> String {
        let opened = self.post("/accounts", "teller", &json!({"owner": owner, "currency": "EUR"})).await.json(201);
        let id = opened["id"].as_str().unwrap().to_owned();
        if amount > 0 {
            let deposit = json!({"account": id, "amount": amount, "currency": "EUR", "reference": format!("of {id}")});
            self.post("/deposits", "teller", &deposit).await.json(201);
        }
        id
    }

    /// What an account has, what of it is held, and what is available.
    pub(super) async fn money(&self, id: &str) -> (i64, i64, i64) {
        let account = self.get(&format!("/accounts/{id}"), "teller").await.json(200);
        let [balance, held, available] = ["balance", "held", "available"].map(|name| account[name].as_i64().unwrap());
        (balance, held, available)
    }
}

#[test]
fn the_document_has_the_operations_of_the_service() {
    let routed = api::operations::<SqlAccounts<Sqlite>>();
    Document::read(DOCUMENT).check_operations(routed.iter().map(|(method, path, _)| (*method, *path)));
}

async fn money_comes_in_is_held_moves_and_is_told_of<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let headers = [JSON, ("x-bowline-subject", "ada"), ("idempotency-key", "k1")];
    let opening = json!({"currency": "EUR"}).to_string();
    let ada = bank.ask_with("POST", "/accounts", &headers, &opening).await.json(201);
    assert_eq!(bank.ask_with("POST", "/accounts", &headers, &opening).await.json(200), ada);
    assert_eq!((&ada["owner"], &ada["balance"], &ada["credit_limit"]), (&json!("ada"), &json!(0), &json!(0)));
    let (ada, bob) = (ada["id"].as_str().unwrap(), bank.account("bob", 0).await);

    let deposit = json!({"account": ada, "amount": 1000, "currency": "EUR", "reference": "counter, \"3\""});
    let deposited = bank.post("/deposits", "teller", &deposit).await.json(201);
    assert_eq!(bank.post("/deposits", "teller", &deposit).await.json(200), deposited);
    assert_eq!(bank.money(ada).await, (1000, 0, 1000));

    let hold = json!({"transfer": "t-1", "from": ada, "to": bob, "amount": 300, "currency": "EUR"});
    let held = bank.hold("ada", &hold).await.json(201);
    assert_eq!(bank.hold("ada", &hold).await.json(200), held);
    assert_eq!((&held["state"], &held["from"], &held["amount"]), (&json!("held"), &json!(ada), &json!(300)));
    assert_eq!(bank.money(ada).await, (1000, 300, 700));

    let captured = bank.post("/holds/t-1/capture", "", &Value::Null).await.json(200);
    assert_eq!(bank.post("/holds/t-1/capture", "", &Value::Null).await.json(200), captured);
    assert_eq!(bank.hold("ada", &hold).await.json(200), captured, "it is as it is now");
    assert_eq!(captured["state"], "captured");
    assert_eq!((bank.money(ada).await, bank.money(&bob).await), ((700, 0, 700), (300, 0, 300)));

    let statement = bank.get(&format!("/accounts/{ada}/statement"), "ada").await;
    assert_eq!(statement.content_type, "text/csv; charset=utf-8; header=present");
    let lines: Vec<_> = statement.body.split("\r\n").collect();
    assert_eq!(lines[0], "posted_at,transaction,counterparty,amount,currency,balance");
    assert!(lines[1].ends_with("Z,\"deposit:counter, \"\"3\"\"\",cash-EUR,1000,EUR,1000"), "{lines:?}");
    assert!(lines[2].ends_with(&format!("Z,transfer:t-1,{bob},-300,EUR,700")), "{lines:?}");
    assert_eq!(lines[3..], [""]);

    let ledger = bank.get("/ledger", "teller").await.json(200);
    let euros =
        json!({"currency": "EUR", "sum": 0, "customers": 1000, "held": 0, "accounts": 2, "legs": 4, "faults": 0});
    assert_eq!((&ledger["balanced"], &ledger["currencies"][0]), (&json!(true), &euros));

    let expect = json!({"transfer": "t-1", "from": ada, "to": bob, "amount": 300, "currency": "EUR",
                        "posted_at_ms": captured["ended_at_ms"]});
    assert_eq!(told(&fixture).await, [("account.posted".to_owned(), "t-1".to_owned(), expect)]);
}

/// What waits to be told: topic, id, and what it says.
async fn told<DB: Db>(fixture: &Fixture<DB>) -> Vec<(String, String, Value)> {
    let sql = super::sql(fixture).await;
    // Bytes as text: both databases know a way, each its own.
    let payload = if fixture.url().starts_with("sqlite") {
        "SELECT topic, id, CAST(payload AS TEXT) AS payload FROM bowline_outbox ORDER BY seq"
    } else {
        "SELECT topic, id, convert_from(payload, 'UTF8') AS payload FROM bowline_outbox ORDER BY seq"
    };
    let select = example_sql::Statement::new(payload);
    let rows = sql.rows(&mut *sql.read().await.unwrap(), "bowline_outbox", select).await.unwrap();
    let told = rows.iter().map(|row| ["topic", "id", "payload"].map(|column| row.text(column).unwrap()));
    told.map(|[topic, id, payload]| (topic, id, serde_json::from_str(&payload).unwrap())).collect()
}

async fn what_is_released_is_free_and_does_not_come_again<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let (ada, bob) = (bank.account("ada", 500).await, bank.account("bob", 0).await);
    let hold = |transfer: &str| json!({"transfer": transfer, "from": ada, "to": bob, "amount": 500, "currency": "EUR"});
    bank.hold("ada", &hold("t-1")).await.json(201);
    let released = bank.post("/holds/t-1/release", "", &Value::Null).await.json(200);
    assert_eq!(bank.post("/holds/t-1/release", "", &Value::Null).await.json(200), released);
    assert_eq!((&released["state"], &released["to"]), (&json!("released"), &json!(bob)));
    assert_eq!(bank.money(&ada).await, (500, 0, 500));

    // One that is released before it comes: nothing is known of it.
    let early = bank.post("/holds/t-2/release", "", &Value::Null).await.json(200);
    assert_eq!((&early["state"], &early["from"]), (&json!("released"), &Value::Null));
    for transfer in ["t-1", "t-2"] {
        let refused = bank.hold("ada", &hold(transfer)).await.json(409);
        assert_eq!(refused["reason"], "released");
        let refused = bank.post(&format!("/holds/{transfer}/capture"), "", &Value::Null).await.json(409);
        assert_eq!(refused["reason"], "released");
    }
    bank.hold("ada", &hold("t-3")).await.json(201);
    bank.post("/holds/t-3/capture", "", &Value::Null).await.json(200);
    let refused = bank.post("/holds/t-3/release", "", &Value::Null).await.json(409);
    assert_eq!(refused["reason"], "captured");
    assert_eq!((bank.money(&ada).await, bank.money(&bob).await), ((0, 0, 0), (500, 0, 500)));
}

async fn a_statement_is_of_a_time<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let ada = bank.account("ada", 500).await;
    for (query, lines) in [
        ("", 1),
        ("?from=2020-01-01", 1),
        ("?from=2020-01-01&to=2020-12-31T23:59:59Z", 0),
        ("?to=2020-01-01", 0),
        ("?from=2200-01-01", 0),
    ] {
        let statement = bank.get(&format!("/accounts/{ada}/statement{query}"), "ada").await;
        assert_eq!(statement.status, 200, "{statement:?}");
        assert_eq!(statement.body.lines().count(), 1 + lines, "{query}");
    }
}

async fn statements_of_two_times_add_up_whatever_the_clock_says<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let (ada, bob) = (bank.account("ada", 500).await, bank.account("bob", 0).await);
    // As if the last had been posted by a replica whose clock is ahead: on the last day of 2099.
    let ahead_ms = 4_102_444_799_998_i64;
    let sql = super::sql(&fixture).await;
    let mut tx = sql.begin().await.unwrap();
    for (table, update) in [
        ("ledger_transactions", "UPDATE ledger_transactions SET posted_ms = $1"),
        ("accounts", "UPDATE accounts SET last_posted_ms = $1 WHERE entries > 0"),
    ] {
        sql.execute(&mut tx, table, example_sql::Statement::new(update).bind(ahead_ms)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let hold = json!({"transfer": "t-1", "from": ada, "to": bob, "amount": 300, "currency": "EUR"});
    bank.hold("ada", &hold).await.json(201);
    let captured = bank.post("/holds/t-1/capture", "", &Value::Null).await.json(200);
    assert_eq!(captured["ended_at_ms"], ahead_ms);
    let back = json!({"transfer": "t-2", "from": bob, "to": ada, "amount": 1, "currency": "EUR"});
    bank.hold("bob", &back).await.json(201);
    assert_eq!(bank.post("/holds/t-2/capture", "", &Value::Null).await.json(200)["ended_at_ms"], ahead_ms);
    let deposit = json!({"account": ada, "amount": 1, "currency": "EUR", "reference": "later"});
    assert_eq!(bank.post("/deposits", "teller", &deposit).await.json(201)["posted_at_ms"], ahead_ms);
    assert_eq!(bank.post("/deposits", "teller", &deposit).await.json(200)["posted_at_ms"], ahead_ms);
    for (query, lines) in [("?to=2099-12-31", 0), ("?from=2099-12-31&to=2100-01-01", 4), ("?from=2100-01-01", 0)] {
        let statement = bank.get(&format!("/accounts/{ada}/statement{query}"), "ada").await;
        assert_eq!(statement.body.lines().count(), 1 + lines, "{query}: {statement:?}");
    }
    assert_eq!(bank.get("/ledger", "teller").await.json(200)["balanced"], true);
}
