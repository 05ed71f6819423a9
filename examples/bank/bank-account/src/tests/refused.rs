//! What the service refuses, and how it says so.

use bowline::runtime::{task, time};
use example_sql::{Db, Statement};
use example_testing::{Answer, JSON};
use serde_json::{Value, json};

use super::{Fixture, http::Bank};
use crate::{
    account::{AMOUNT_MAX, DEPOSITED_MAX},
    service::OWNED_MAX,
};

example_sql::on_both!(
    openings_that_may_not_be_are_refused,
    accounts_are_shown_to_whom_they_concern,
    deposits_that_may_not_be_are_refused,
    holds_that_may_not_be_are_refused,
    what_cannot_be_read_is_refused,
    more_lines_than_a_statement_has_are_not_cut,
    a_database_that_is_busy_is_told_as_passing,
);

/// Checks that a refusal has that status and reason, none where it is empty.
#[track_caller]
fn is_refused(answer: &Answer, status: u16, reason: &str) {
    let problem = answer.json(status);
    assert_eq!(answer.content_type, "application/problem+json");
    assert_eq!(problem["reason"].as_str().unwrap_or_default(), reason, "{problem}");
}

async fn openings_that_may_not_be_are_refused<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let long = "a".repeat(257);
    for (subject, opening, status) in [
        ("", json!({"currency": "EUR"}), 401),
        (&*long, json!({"currency": "EUR"}), 400),
        ("ada", json!({"currency": "EUR", "owner": "bob"}), 403),
        ("ada", json!({"currency": "EUR", "credit_limit": 1}), 403),
        ("teller", json!({"currency": "EUR", "owner": ""}), 422),
        ("teller", json!({"currency": "EUR", "owner": "a\tb"}), 422),
        ("teller", json!({"currency": "EUR", "credit_limit": -1}), 422),
        ("teller", json!({"currency": "EUR", "credit_limit": AMOUNT_MAX + 1}), 422),
        ("ada", json!({"currency": "eur"}), 422),
        ("ada", json!({"currency": "CHF"}), 422),
        ("ada", json!({}), 422),
        ("ada", json!({"currency": "EUR", "balance": 5}), 422),
    ] {
        is_refused(&bank.post("/accounts", subject, &opening).await, status, "");
    }
    let keyed = async |key: &str, opening: Value| {
        let named = [JSON, ("x-bowline-subject", "ada"), ("idempotency-key", key)];
        bank.ask_with("POST", "/accounts", &named, &opening.to_string()).await
    };
    keyed("k1", json!({"currency": "EUR"})).await.json(201);
    is_refused(&keyed("k1", json!({"currency": "USD"})).await, 409, "other_content");
    is_refused(&keyed(&"k".repeat(129), json!({"currency": "EUR"})).await, 400, "");
    // The first was opened above.
    for _ in 1..OWNED_MAX {
        bank.post("/accounts", "ada", &json!({"currency": "EUR"})).await.json(201);
    }
    is_refused(&bank.post("/accounts", "ada", &json!({"currency": "EUR"})).await, 422, "too_many_accounts");
    keyed("k1", json!({"currency": "EUR"})).await.json(200);
    let credit = json!({"currency": "GBP", "owner": "ada", "credit_limit": AMOUNT_MAX});
    assert_eq!(bank.post("/accounts", "teller", &credit).await.json(201)["available"], AMOUNT_MAX);
}

async fn accounts_are_shown_to_whom_they_concern<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let ada = bank.account("ada", 100).await;
    let [account, statement] = [format!("/accounts/{ada}"), format!("/accounts/{ada}/statement")];
    for (path, subject, status) in [
        (&*account, "ada", 200),
        (&account, "teller", 200),
        (&account, "bob", 403),
        (&account, "", 401),
        (&statement, "ada", 200),
        (&statement, "teller", 403),
        (&statement, "bob", 403),
        (&statement, "", 401),
        ("/ledger", "teller", 200),
        ("/ledger", "ada", 403),
        ("/ledger", "", 401),
        ("/accounts/a-none", "ada", 404),
        ("/accounts/a-none/statement", "ada", 404),
        ("/accounts/cash-EUR", "ada", 403),
        ("/accounts/cash-EUR/statement", "teller", 403),
        (&format!("{statement}?from=yesterday"), "ada", 422),
        (&format!("{statement}?from=2026-01-02&to=2026-01-01"), "ada", 422),
        (&format!("{statement}?until=2026-01-02"), "ada", 400),
    ] {
        let answer = bank.get(path, subject).await;
        assert_eq!(answer.status, status, "{path} as {subject}: {answer:?}");
    }
}

async fn deposits_that_may_not_be_are_refused<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let (ada, bob) = (bank.account("ada", 100).await, bank.account("bob", 0).await);
    let deposit = |account: &str, amount: i64, currency: &str, reference: &str| json!({"account": account, "amount": amount, "currency": currency, "reference": reference});
    let long = "x".repeat(129);
    for (subject, deposit, status, reason) in [
        ("", deposit(&ada, 1, "EUR", "d"), 401, ""),
        ("ada", deposit(&ada, 1, "EUR", "d"), 403, ""),
        ("teller", deposit(&ada, 0, "EUR", "d"), 422, ""),
        ("teller", deposit(&ada, -1, "EUR", "d"), 422, ""),
        ("teller", deposit(&ada, AMOUNT_MAX + 1, "EUR", "d"), 422, ""),
        ("teller", deposit(&ada, i64::MAX, "EUR", "d"), 422, ""),
        ("teller", deposit(&ada, 1, "EUR", ""), 422, ""),
        ("teller", deposit(&ada, 1, "EUR", &long), 422, ""),
        ("teller", deposit(&ada, 1, "EUR", "a\nb"), 422, ""),
        ("teller", deposit(&ada, 1, "CHF", "d"), 422, ""),
        ("teller", deposit(&ada, 1, "USD", "d"), 422, "currency"),
        ("teller", deposit("a-none", 1, "EUR", "d"), 422, "no_account"),
        ("teller", deposit("cash-EUR", 1, "EUR", "d"), 422, "no_account"),
        ("teller", deposit(&ada, 99, "EUR", &format!("of {ada}")), 409, "other_content"),
        ("teller", deposit(&bob, 100, "EUR", &format!("of {ada}")), 409, "other_content"),
    ] {
        is_refused(&bank.post("/deposits", subject, &deposit).await, status, reason);
    }
    // What is refused is not kept, and its name is free.
    assert_eq!(bank.money(&ada).await.0, 100);
    bank.post("/deposits", "teller", &deposit(&ada, 1, "EUR", "d")).await.json(201);
    // As if all but 100 of what the bank takes in had come in before.
    let sql = super::sql(&fixture).await;
    let mut tx = sql.begin().await.unwrap();
    let update = Statement::new("UPDATE accounts SET balance = $1 WHERE id = 'cash-EUR'").bind(100 - DEPOSITED_MAX);
    sql.execute(&mut tx, "accounts", update).await.unwrap();
    tx.commit().await.unwrap();
    is_refused(&bank.post("/deposits", "teller", &deposit(&bob, 101, "EUR", "e")).await, 422, "too_much");
    bank.post("/deposits", "teller", &deposit(&bob, 100, "EUR", "e")).await.json(201);
    is_refused(&bank.post("/deposits", "teller", &deposit(&bob, 1, "EUR", "f")).await, 422, "too_much");
    assert_eq!(bank.money(&bob).await.0, 100);
    // The books say that this was no posting.
    assert_eq!(bank.get("/ledger", "teller").await.json(200)["balanced"], false);
}

async fn holds_that_may_not_be_are_refused<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let (ada, bob) = (bank.account("ada", 100).await, bank.account("bob", 100).await);
    let dollars = bank.post("/accounts", "bob", &json!({"currency": "USD"})).await.json(201);
    let dollars = dollars["id"].as_str().unwrap();
    let hold = |transfer: &str, from: &str, to: &str, amount: i64, currency: &str| json!({"transfer": transfer, "from": from, "to": to, "amount": amount, "currency": currency});
    bank.hold("ada", &hold("t-1", &ada, &bob, 60, "EUR")).await.json(201);
    for (subject, hold, status, reason) in [
        ("", hold("t-2", &ada, &bob, 1, "EUR"), 422, "not_owner"),
        ("bob", hold("t-2", &ada, &bob, 1, "EUR"), 422, "not_owner"),
        ("teller", hold("t-2", &ada, &bob, 1, "EUR"), 422, "not_owner"),
        ("ada", hold("t-2", &ada, &bob, 41, "EUR"), 422, "insufficient_funds"),
        ("ada", hold("t-2", &ada, &ada, 1, "EUR"), 422, "same_account"),
        ("ada", hold("t-2", "a-none", &bob, 1, "EUR"), 422, "no_account"),
        ("ada", hold("t-2", &ada, "a-none", 1, "EUR"), 422, "no_account"),
        ("ada", hold("t-2", &ada, "cash-EUR", 1, "EUR"), 422, "no_account"),
        ("ada", hold("t-2", "cash-EUR", &ada, 1, "EUR"), 422, "no_account"),
        ("ada", hold("t-2", &ada, dollars, 1, "EUR"), 422, "currency"),
        ("ada", hold("t-2", &ada, &bob, 1, "USD"), 422, "currency"),
        ("ada", hold("t-2", &ada, &bob, 0, "EUR"), 422, ""),
        ("ada", hold("t-2", &ada, &bob, -1, "EUR"), 422, ""),
        ("ada", hold("t-2", &ada, &bob, AMOUNT_MAX + 1, "EUR"), 422, ""),
        ("ada", hold("", &ada, &bob, 1, "EUR"), 422, ""),
        ("ada", hold("t/2", &ada, &bob, 1, "EUR"), 422, ""),
        ("ada", hold(&"t".repeat(129), &ada, &bob, 1, "EUR"), 422, ""),
        ("ada", hold("t-1", &ada, &bob, 61, "EUR"), 409, "other_content"),
        ("bob", hold("t-1", &bob, &ada, 60, "EUR"), 409, "other_content"),
    ] {
        is_refused(&bank.hold(subject, &hold).await, status, reason);
    }
    is_refused(&bank.post("/holds/t-2/capture", "", &Value::Null).await, 404, "no_hold");
    is_refused(&bank.post("/holds/t.2/capture", "", &Value::Null).await, 422, "");
    is_refused(&bank.post("/holds/t.2/release", "", &Value::Null).await, 422, "");
    // Nothing of it was kept, and the money that is there can be had.
    assert_eq!(bank.money(&ada).await, (100, 60, 40));
    bank.hold("ada", &hold("t-2", &ada, &bob, 40, "EUR")).await.json(201);
    assert_eq!(bank.get("/ledger", "teller").await.json(200)["balanced"], true);
}

async fn what_cannot_be_read_is_refused<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let large = format!("{{\"currency\":\"{}\"}}", "x".repeat(20_000));
    for path in ["/accounts", "/deposits", "/holds"] {
        let as_teller = |content_type| [("x-bowline-subject", "teller"), ("content-type", content_type)];
        for (content_type, body, status) in [
            ("application/json", "{", 400),
            ("application/json", "", 400),
            ("application/json", "[]", 422),
            ("application/json", &*large, 413),
            ("text/plain", "{}", 415),
        ] {
            let answer = bank.ask_with("POST", path, &as_teller(content_type), body).await;
            is_refused(&answer, status, "");
        }
    }
}

async fn more_lines_than_a_statement_has_are_not_cut<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let ada = bank.account("ada", 1).await;
    let sql = super::sql(&fixture).await;
    let mut tx = sql.begin().await.unwrap();
    // 10,000 more deposits of 1, as both databases count.
    for change in [
        "WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10001)
         INSERT INTO ledger_transactions (id, kind, reference, posted_ms)
         SELECT 'deposit:' || n, 'deposit', n, 1700000000000 + n FROM numbers",
        "INSERT INTO legs (account, entry, transaction_id, amount, currency, balance)
         SELECT accounts.id, posted_ms - 1700000000000, ledger_transactions.id, 1, 'EUR', posted_ms - 1700000000000
         FROM accounts, ledger_transactions WHERE owner = 'ada' AND posted_ms <= 1700000010001",
        "INSERT INTO legs (account, entry, transaction_id, amount, currency, balance)
         SELECT 'cash-EUR', entry, transaction_id, -1, 'EUR', -entry FROM legs WHERE entry > 1",
        "UPDATE accounts SET entries = 10001, balance = 10001 WHERE owner = 'ada'",
        "UPDATE accounts SET entries = 10001, balance = -10001 WHERE id = 'cash-EUR'",
    ] {
        sql.execute(&mut tx, "legs", Statement::new(change)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let path = format!("/accounts/{ada}/statement");
    is_refused(&bank.get(&path, "ada").await, 422, "");
    // All but the first are of that day.
    let day = bank.get(&format!("{path}?from=2023-11-14&to=2023-11-15"), "ada").await;
    assert_eq!((day.status, day.body.lines().count()), (200, 10_001));
    assert_eq!(bank.get("/ledger", "teller").await.json(200)["balanced"], true);
}

async fn a_database_that_is_busy_is_told_as_passing<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let ada = bank.account("ada", 100).await;
    let sql = super::sql(&fixture).await;
    // Another replica that stands still in the middle of a transaction.
    let mut tx = sql.begin().await.unwrap();
    let update = Statement::new("UPDATE accounts SET credit_limit = 7 WHERE id = $1").bind(&ada);
    sql.execute(&mut tx, "accounts", update).await.unwrap();
    let deposit = json!({"account": ada, "amount": 1, "currency": "EUR", "reference": "d"});
    let begun = time::now();
    let refused = bank.post("/deposits", "teller", &deposit).await;
    is_refused(&refused, 503, "");
    assert!(begun.elapsed().as_secs() < 15, "it waits for no more than it has to");
    assert_eq!(bank.money(&ada).await.0, 100, "reading goes on");
    tx.rollback().await.unwrap();
    task::yield_now().await;
    bank.post("/deposits", "teller", &deposit).await.json(201);
}
