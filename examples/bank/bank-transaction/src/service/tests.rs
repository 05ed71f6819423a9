//! Transfers with stand-ins for account and risk, which say what the test wants of them.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::http::StatusCode;
use bowline::{
    Microservice, Settings, client,
    runtime::{metric, task},
};
use example_sql::{Db, Row, Statement, on_both, testing::Fixture};

use super::*;
use crate::{
    callees::{Accounts, Held, Risks},
    limits::Limits,
    moving::{Local, Topics},
    repository::{SqlTransfers, tests::open},
    transfer::{Currency, Decision, Risk},
};

on_both!(
    a_transfer_is_held_assessed_captured_and_told_once,
    sixteen_who_ask_at_once_with_one_key_get_one_transfer,
    a_key_names_one_request_of_who_asked,
    what_risk_denies_is_declined_and_released,
    while_risk_cannot_be_asked_the_amount_decides,
    what_risk_refuses_to_assess_is_declined_however_small_it_is,
    out_of_anothers_account_nothing_is_spent_and_nothing_assessed,
    what_account_does_not_hold_is_declined_and_released,
    what_account_does_not_answer_fails_and_is_released,
    what_is_held_is_captured_however_often_that_fails,
    what_is_captured_settles_however_long_that_takes,
    what_goes_out_on_a_day_is_limited_by_what_is_moved,
    a_transfer_of_the_release_before_goes_on_in_its_own_order,
    account_tells_when_it_posted_once,
    what_is_no_transfer_is_not_kept,
    a_database_that_is_busy_is_told_as_passing,
);

fn away(service: &str) -> client::Error {
    answered(service, StatusCode::SERVICE_UNAVAILABLE)
}

fn answered(service: &str, status: StatusCode) -> client::Error {
    let service = serde_json::from_value(service.into()).unwrap();
    client::Error::Status { service, status, problem: None }
}

/// Holds everything but what goes out of `poor` or of `anothers`; never answers about `away`, and answers the first
/// tries to capture badly. What it was asked, it tells.
#[derive(Default)]
struct Account {
    asked: Mutex<Vec<String>>,
    captures_failed: AtomicUsize,
}

impl Account {
    fn note(&self, asked: &str) {
        self.asked.lock().unwrap().push(asked.to_owned());
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Accounts for Account {
    async fn hold(&self, moving: &Moving) -> Result<Held, client::Error> {
        self.note("hold");
        match moving.transfer.from.as_str() {
            "poor" => Ok(Held::Refused("insufficient_funds".to_owned())),
            "anothers" => Ok(Held::Refused("not_owner".to_owned())),
            "away" => Err(away("account")),
            _ => Ok(Held::Held),
        }
    }

    async fn capture(&self, _: &str) -> Result<(), client::Error> {
        self.note("capture");
        // Every test has accounts of its own.
        match self.captures_failed.load(Relaxed) {
            0 => Ok(()),
            left => {
                self.captures_failed.store(left - 1, Relaxed);
                Err(away("account"))
            }
        }
    }

    async fn release(&self, _: &str) -> Result<(), client::Error> {
        self.note("release");
        Ok(())
    }
}

/// Denies what goes to `mule`, cannot be asked of what goes to `unknown`, and refuses what goes to `odd`.
#[derive(Default)]
struct Model {
    asked: AtomicUsize,
}

impl Risks for Model {
    async fn assess(&self, moving: &Moving) -> Result<Risk, client::Error> {
        self.asked.fetch_add(1, Relaxed);
        let decision = match moving.transfer.to.as_str() {
            "unknown" => return Err(away("risk")),
            "odd" => return Err(answered("risk", StatusCode::UNPROCESSABLE_ENTITY)),
            "mule" => Decision::Deny,
            _ => Decision::Allow,
        };
        Ok(Risk { decision, score: Some(0.5), by: "model 1".to_owned() })
    }
}

struct Bank<DB: Db> {
    transfers: TransferService<SqlTransfers<DB>>,
    account: Arc<Account>,
    model: Arc<Model>,
    metrics: metric::Registry,
}

impl<DB: Db> Bank<DB> {
    async fn open(fixture: &Fixture<DB>) -> Self {
        Self::with(fixture, Limits::default(), Duration::from_mins(1)).await
    }

    async fn with(fixture: &Fixture<DB>, limits: Limits, hold_within: Duration) -> Self {
        let repository = Arc::new(open(fixture).await);
        let service = Microservice::new(Settings::from_vars("transaction", []).unwrap());
        let [settled, declined] = ["transfer.settled", "transfer.declined"].map(|name| service.topic(name));
        let limits = Arc::new(limits);
        let limits: CurrentLimits = Arc::new(move || limits.clone());
        let topics = Topics { settled, declined };
        let metrics = metric::Registry::default();
        let local = Arc::new(Local {
            repository: repository.clone(),
            topics,
            limits: limits.clone(),
            metrics: metrics.clone(),
        });
        let (account, model) = (Arc::new(Account::default()), Arc::new(Model::default()));
        let definition = |name| moving::definition(name, &local, &account, &model, hold_within);
        let sagas = Sagas::builder(repository.pool().clone())
            .saga(definition(moving::NAME))
            .saga(definition(moving::ASSESSED_FIRST))
            .start()
            .unwrap();
        let transfers = TransferService { repository, sagas, limits, inbox: Inbox::default(), patience: PATIENCE };
        Self { transfers, account, model, metrics }
    }

    async fn ask(&self, subject: &str, new: NewTransfer, key: &str) -> Result<Answered, (Code, String)> {
        let asked =
            self.transfers.transfer(&Subject::new(subject).unwrap(), new, &IdempotencyKey(key.to_owned())).await;
        asked.map_err(|error| (error.code(), error.to_string()))
    }

    /// A transfer that this request made, and that has ended.
    async fn made(&self, new: NewTransfer, key: &str) -> Transfer {
        match self.ask("ada", new, key).await.unwrap() {
            Answered::New(transfer) => transfer,
            other => panic!("{other:?}"),
        }
    }

    async fn change(&self, statement: &'static str) {
        let sql = &self.transfers.repository.0;
        sql.execute(&mut sql.read().await.unwrap(), "transfers", Statement::new(statement)).await.unwrap();
    }

    /// A transfer as the release before kept it when it had counted what goes out, and was to ask risk: whose process
    /// is gone since.
    async fn keep_as_before(&self, new: &NewTransfer, key: &str) {
        let moving = begun(&Subject::new("ada").unwrap(), new);
        let Transfer { id, from, to, amount, .. } = &moving.transfer;
        let at_ms = moving.asked_at_ms;
        let data = serde_json::json!({
            "transfer": {"id": id, "from": from, "to": to, "amount": amount, "currency": "EUR", "state": "pending"},
            "asked_by": "ada", "asked_at_ms": at_ms, "no": null,
        });
        let insert = "INSERT INTO bowline_sagas
                          (id, name, phase, step, since_ms, attempts, due_ms, is_unsure, is_stuck, deadline_ms, data,
                           history, owner, lease_ms, version, begun_ms)
                      VALUES ($1, 'transfer', 'acting', 'assess', $2, 0, $2, 0, 0, $3, $4, '[]', NULL, 0, 1, $2)";
        let insert = Statement::new(insert).bind(id).bind(at_ms).bind(i64::MAX).bind(data.to_string());
        let repository = &self.transfers.repository;
        let mut tx = sql::begin(repository.pool()).await.unwrap();
        assert!(repository.keep(&mut tx, &moving, &IdempotencyKey(key.to_owned())).await.unwrap());
        assert!(repository.spend(&mut tx, from, at_ms / 86_400_000, *amount, i64::MAX).await.unwrap());
        repository.0.execute(&mut tx, "bowline_sagas", insert).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// What goes out of accounts, all days together.
    async fn spent(&self) -> Vec<(String, i64)> {
        let sql = &self.transfers.repository.0;
        let select = Statement::new("SELECT account, amount FROM spent ORDER BY account");
        let rows = sql.rows(&mut *sql.read().await.unwrap(), "spent", select).await.unwrap();
        rows.iter().map(|row| (row.text("account").unwrap(), row.int("amount").unwrap())).collect()
    }

    /// What waits for the message bus: topics, and the states that are told.
    async fn told(&self) -> Vec<(String, String)> {
        let sql = &self.transfers.repository.0;
        let select = Statement::new("SELECT topic, payload FROM bowline_outbox ORDER BY seq");
        let rows = sql.rows(&mut *sql.read().await.unwrap(), "bowline_outbox", select).await.unwrap();
        let told = |row: &Row<DB>| {
            let payload: serde_json::Value = serde_json::from_slice(&row.bytes("payload").unwrap()).unwrap();
            let reason = payload["reason"].as_str().unwrap_or("-");
            (row.text("topic").unwrap(), format!("{} {reason}", payload["state"].as_str().unwrap()))
        };
        rows.iter().map(told).collect()
    }
}

fn of(from: &str, to: &str, amount: i64) -> NewTransfer {
    NewTransfer { from: from.to_owned(), to: to.to_owned(), amount, currency: Currency::Eur }
}

fn told(topic: &str, words: &str) -> (String, String) {
    (topic.to_owned(), words.to_owned())
}

async fn a_transfer_is_held_assessed_captured_and_told_once<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let made = bank.made(of("a-1", "a-2", 500), "k1").await;
    assert_eq!((made.state, &made.reason, made.amount), (State::Settled, &None, 500));
    assert_eq!(made.risk.as_ref().map(|risk| (risk.decision, risk.by.as_str())), Some((Decision::Allow, "model 1")));
    assert_eq!(bank.account.asked(), ["hold", "capture"]);
    assert_eq!(bank.told().await, [told("transfer.settled", "settled -")]);
    // Asked again, nothing more is done.
    assert_eq!(bank.ask("ada", of("a-1", "a-2", 500), "k1").await, Ok(Answered::Known(made)));
    assert_eq!((bank.account.asked().len(), bank.told().await.len()), (2, 1));
}

async fn sixteen_who_ask_at_once_with_one_key_get_one_transfer<DB: Db>(fixture: Fixture<DB>) {
    let bank = Arc::new(Bank::open(&fixture).await);
    let asking = (0..16).map(|_| {
        let bank = bank.clone();
        task::spawn(async move { bank.ask("ada", of("a-1", "a-2", 500), "k1").await.unwrap() })
    });
    let (mut ids, mut made) = (Vec::new(), 0);
    for answered in asking.collect::<Vec<_>>() {
        let transfer = match answered.await.unwrap() {
            Answered::New(transfer) => {
                made += 1;
                transfer
            }
            Answered::Known(transfer) => transfer,
            Answered::Pending(transfer) => panic!("{transfer:?}"),
        };
        ids.push(transfer.id);
    }
    ids.dedup();
    assert_eq!((ids.len(), made), (1, 1));
    assert_eq!(bank.account.asked(), ["hold", "capture"]);
}

async fn a_key_names_one_request_of_who_asked<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let mine = bank.made(of("a-1", "a-2", 500), "k1").await;
    let (code, detail) = bank.ask("ada", of("a-1", "a-2", 501), "k1").await.unwrap_err();
    assert_eq!((code, &*detail), (Code::Conflict, "idempotency-key: it named another transfer already"));
    let Ok(Answered::New(others)) = bank.ask("bob", of("a-3", "a-2", 7), "k1").await else { panic!() };
    assert_ne!(others.id, mine.id);
    let show = async |subject: &str, id: &str| bank.transfers.show(&Subject::new(subject).unwrap(), id).await;
    assert_eq!(show("ada", &mine.id).await.unwrap(), mine);
    assert_eq!(show("teller", &mine.id).await.unwrap(), mine);
    assert_eq!(show("bob", &mine.id).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(show("bob", "t-none").await.unwrap_err().code(), Code::NotFound);
    let list = async |subject: &str, state, limit| {
        let listed = bank.transfers.list(&Subject::new(subject).unwrap(), state, limit).await;
        listed.map(|listed| listed.into_iter().map(|transfer| transfer.id).collect::<Vec<_>>())
    };
    assert_eq!(list("bob", State::Settled, None).await.unwrap(), [others.id]);
    assert_eq!(list("teller", State::Settled, None).await.unwrap().len(), 2);
    assert!(list("teller", State::Pending, None).await.unwrap().is_empty());
    assert_eq!(list("teller", State::Settled, Some(0)).await.unwrap_err().code(), Code::Unprocessable);
}

async fn what_risk_denies_is_declined_and_released<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let denied = bank.made(of("a-1", "mule", 500), "k1").await;
    assert_eq!((denied.state, denied.reason.as_deref()), (State::Declined, Some("risk")));
    assert_eq!(denied.risk.as_ref().unwrap().decision, Decision::Deny);
    assert_eq!(bank.account.asked(), ["hold", "release"]);
    assert_eq!(bank.told().await, [told("transfer.declined", "declined risk")]);
    assert_eq!(bank.ask("ada", of("a-1", "mule", 500), "k1").await, Ok(Answered::Known(denied)));
}

async fn while_risk_cannot_be_asked_the_amount_decides<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let small = bank.made(of("a-1", "unknown", 10_000), "k1").await;
    assert_eq!((small.state, small.risk.unwrap().by.as_str()), (State::Settled, "amount"));
    let large = bank.made(of("a-1", "unknown", 10_001), "k2").await;
    assert_eq!((large.state, large.reason.as_deref()), (State::Declined, Some("risk_unavailable")));
    assert_eq!(large.risk, Some(Risk { decision: Decision::Deny, score: None, by: "amount".to_owned() }));
}

async fn what_risk_refuses_to_assess_is_declined_however_small_it_is<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    moving::show_counters(&bank.metrics);
    let refused = bank.made(of("a-1", "odd", 1), "k1").await;
    assert_eq!((refused.state, refused.reason.as_deref()), (State::Declined, Some("risk")));
    assert_eq!(refused.risk, Some(Risk { decision: Decision::Deny, score: None, by: "refused".to_owned() }));
    assert_eq!(bank.account.asked(), ["hold", "release"]);
    bank.made(of("a-1", "unknown", 1), "k2").await;
    bank.made(of("a-1", "unknown", 2), "k3").await;
    bank.made(of("a-1", "a-2", 3), "k4").await;
    let text = bank.metrics.render();
    for line in
        ["bank_transfers_unassessed_total{by=\"amount\"} 2", "bank_transfers_unassessed_total{by=\"refused\"} 1"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
}

async fn out_of_anothers_account_nothing_is_spent_and_nothing_assessed<DB: Db>(fixture: Fixture<DB>) {
    let limits = serde_json::from_str(r#"{"per_transfer_max": 600, "per_day_max": 1000}"#).unwrap();
    let bank = Bank::with(&fixture, limits, Duration::from_mins(1)).await;
    for number in 0..3 {
        let refused = bank.made(of("anothers", "a-2", 600), &format!("k{number}")).await;
        assert_eq!((refused.state, refused.reason.as_deref()), (State::Declined, Some("not_owner")));
        assert_eq!(refused.risk, None);
    }
    assert_eq!(bank.model.asked.load(Relaxed), 0);
    assert_eq!(bank.spent().await, []);
}

async fn what_account_does_not_hold_is_declined_and_released<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let refused = bank.made(of("poor", "a-2", 500), "k1").await;
    assert_eq!((refused.state, refused.reason.as_deref()), (State::Declined, Some("insufficient_funds")));
    assert_eq!(bank.account.asked(), ["hold", "release"]);
    assert_eq!(bank.told().await, [told("transfer.declined", "declined insufficient_funds")]);
}

async fn what_account_does_not_answer_fails_and_is_released<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::with(&fixture, Limits::default(), Duration::from_millis(300)).await;
    let failed = bank.made(of("away", "a-2", 500), "k1").await;
    assert_eq!((failed.state, failed.reason.as_deref()), (State::Failed, Some("out_of_time")));
    let asked = bank.account.asked();
    assert_eq!((asked.first().unwrap().as_str(), asked.last().unwrap().as_str()), ("hold", "release"));
    assert!(!asked.contains(&"capture".to_owned()), "{asked:?}");
    assert_eq!(bank.told().await, [told("transfer.declined", "failed out_of_time")]);
}

async fn what_is_held_is_captured_however_often_that_fails<DB: Db>(fixture: Fixture<DB>) {
    let mut bank = Bank::open(&fixture).await;
    bank.transfers.patience = Duration::from_millis(20);
    bank.account.captures_failed.store(3, Relaxed);
    let Ok(Answered::Pending(pending)) = bank.ask("ada", of("a-1", "a-2", 500), "k1").await else { panic!() };
    assert_eq!((pending.state, &pending.risk), (State::Pending, &None));
    bank.transfers.patience = PATIENCE;
    let Ok(Answered::Known(settled)) = bank.ask("ada", of("a-1", "a-2", 500), "k1").await else { panic!() };
    assert_eq!((settled.state, settled.id), (State::Settled, pending.id));
    assert_eq!(bank.account.asked(), ["hold", "capture", "capture", "capture", "capture"]);
}

async fn what_is_captured_settles_however_long_that_takes<DB: Db>(fixture: Fixture<DB>) {
    let mut bank = Bank::open(&fixture).await;
    bank.transfers.patience = Duration::from_millis(20);
    // Nothing can be told, so that it does not settle.
    bank.change("ALTER TABLE bowline_outbox RENAME TO away").await;
    let Ok(Answered::Pending(pending)) = bank.ask("ada", of("a-1", "a-2", 500), "k1").await else { panic!() };
    let sagas = &bank.transfers.sagas;
    let tried = async |more: u32| {
        loop {
            let saga = sagas.get(&pending.id).await.unwrap();
            assert!(!matches!(saga.phase, sql::Phase::Undoing | sql::Phase::Stuck), "{saga:?}");
            if saga.step.as_deref() == Some("settle") && saga.attempts >= more {
                return saga.attempts;
            }
            sagas.finish::<Moving>(&pending.id, Duration::from_millis(50)).await.unwrap();
        }
    };
    let attempts = tried(1).await;
    // As if its process had been away for two hours in the middle of it.
    bank.change("UPDATE bowline_sagas SET since_ms = since_ms - 7200000, version = version + 1").await;
    tried(attempts + 2).await;
    bank.change("ALTER TABLE away RENAME TO bowline_outbox").await;
    bank.transfers.patience = PATIENCE;
    let Ok(Answered::Known(settled)) = bank.ask("ada", of("a-1", "a-2", 500), "k1").await else { panic!() };
    assert_eq!((settled.state, settled.id), (State::Settled, pending.id));
    assert_eq!(bank.account.asked(), ["hold", "capture"]);
    assert_eq!(bank.told().await, [told("transfer.settled", "settled -")]);
}

async fn what_goes_out_on_a_day_is_limited_by_what_is_moved<DB: Db>(fixture: Fixture<DB>) {
    let limits = serde_json::from_str(r#"{"per_transfer_max": 600, "per_day_max": 1000}"#).unwrap();
    let bank = Bank::with(&fixture, limits, Duration::from_mins(1)).await;
    let (code, detail) = bank.ask("ada", of("a-1", "a-2", 601), "k0").await.unwrap_err();
    assert_eq!((code, &*detail), (Code::Unprocessable, "amount: at most 600 minor units at once"));
    // What is not moved does not count.
    assert_eq!(bank.made(of("a-1", "mule", 600), "k1").await.state, State::Declined);
    assert_eq!(bank.made(of("a-1", "a-2", 600), "k2").await.state, State::Settled);
    let over = bank.made(of("a-1", "a-2", 401), "k3").await;
    assert_eq!((over.state, over.reason.as_deref(), &over.risk), (State::Declined, Some("day_limit"), &None));
    // Nor does what was too much.
    assert_eq!(bank.made(of("a-1", "a-2", 400), "k4").await.state, State::Settled);
    assert_eq!(bank.made(of("a-2", "a-1", 600), "k5").await.state, State::Settled);
}

async fn a_transfer_of_the_release_before_goes_on_in_its_own_order<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    for (from, to, state, reason, asked) in [
        ("a-1", "a-2", State::Settled, None, &["hold", "capture"][..]),
        ("a-3", "mule", State::Declined, Some("risk"), &[]),
        ("poor", "a-2", State::Declined, Some("insufficient_funds"), &["hold", "release"]),
    ] {
        bank.keep_as_before(&of(from, to, 500), from).await;
        let Ok(Answered::Known(ended)) = bank.ask("ada", of(from, to, 500), from).await else { panic!("{from}") };
        assert_eq!((ended.state, ended.reason.as_deref()), (state, reason), "{from}");
        assert!(ended.risk.is_some(), "{from} was not assessed");
        assert_eq!(std::mem::take(&mut *bank.account.asked.lock().unwrap()), asked, "{from}");
    }
    // It is counted once, and what was not moved no more.
    let spent = [("a-1", 500), ("a-3", 0), ("poor", 0)].map(|(account, amount)| (account.to_owned(), amount));
    assert_eq!(bank.spent().await, spent);
    assert_eq!(bank.told().await.len(), 3);
}

async fn account_tells_when_it_posted_once<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let made = bank.made(of("a-1", "a-2", 500), "k1").await;
    let posted = |amount, posted_at_ms| Posting {
        transfer: made.id.clone(),
        from: "a-1".to_owned(),
        to: "a-2".to_owned(),
        amount,
        currency: Currency::Eur,
        posted_at_ms,
    };
    for (message, posted_at_ms) in [("m-1", 7), ("m-1", 8), ("m-2", 9)] {
        bank.transfers.posted(message, &posted(500, posted_at_ms)).await.unwrap();
    }
    let shown = bank.transfers.show(&Subject::new("ada").unwrap(), &made.id).await.unwrap();
    assert_eq!(shown, Transfer { posted_at_ms: Some(7), ..made.clone() });
    // What was not asked for here waits for somebody to look at it.
    let dead = Failure::dead("no transfer of that id, accounts, amount and currency was to be posted");
    assert_eq!(bank.transfers.posted("m-3", &posted(501, 7)).await, Err(dead));
}

async fn what_is_no_transfer_is_not_kept<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    for bad in [of("a-1", "a-1", 1), of("a/1", "a-2", 1), of("a-1", "a-2", 0)] {
        assert_eq!(bank.ask("ada", bad, "k1").await.unwrap_err().0, Code::Unprocessable);
    }
    let mut headers = HeaderMap::new();
    assert_eq!(IdempotencyKey::of(&headers).unwrap_err().code(), Code::InvalidArgument);
    headers.insert("idempotency-key", "k".repeat(129).parse().unwrap());
    assert_eq!(IdempotencyKey::of(&headers).unwrap_err().code(), Code::InvalidArgument);
    headers.insert("idempotency-key", "k1".parse().unwrap());
    assert_eq!(IdempotencyKey::of(&headers), Ok(IdempotencyKey("k1".to_owned())));
}

async fn a_database_that_is_busy_is_told_as_passing<DB: Db>(fixture: Fixture<DB>) {
    let bank = Bank::open(&fixture).await;
    let made = bank.made(of("a-1", "a-2", 500), "k1").await;
    // Another replica that stands still in the middle of the same request.
    let other = open(&fixture).await;
    let mut tx = other.0.begin().await.unwrap();
    let moving = begun(&Subject::new("ada").unwrap(), &of("a-1", "a-2", 7));
    assert!(other.keep(&mut tx, &moving, &IdempotencyKey("k2".to_owned())).await.unwrap());
    let (code, detail) = bank.ask("ada", of("a-1", "a-2", 7), "k2").await.unwrap_err();
    assert_eq!((code, &*detail), (Code::Unavailable, "the database cannot take it now, ask again"));
    // What is there is read meanwhile.
    assert_eq!(bank.ask("ada", of("a-1", "a-2", 500), "k1").await, Ok(Answered::Known(made)));
    tx.rollback().await.unwrap();
    assert_eq!(bank.made(of("a-1", "a-2", 7), "k2").await.state, State::Settled);
}
