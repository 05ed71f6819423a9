//! Many transfers at once among few accounts, through two replicas: they have the outcome of some order of them.

use std::{collections::BTreeMap, sync::Arc};

use bowline::{
    runtime::{rand, task},
    sql,
};
use example_sql::{Db, Statement};

use super::{Fixture, deposit, new_hold, open};
use crate::{
    account::{Hold, HoldState, Ledger, NewHold, Refusal},
    repository::{AccountRepository as _, Done, Error, SqlAccounts},
};

example_sql::on_both!(
    transfers_at_once_move_what_there_is_and_no_more,
    one_hold_is_captured_or_released_however_many_try,
    the_last_money_is_held_once,
    replicas_that_start_at_once_prepare_one_database,
    a_guard_of_the_database_holds_where_the_code_does_not,
);

const ACCOUNTS: [(&str, i64); 4] = [("a-0", 0), ("a-1", 0), ("a-2", 50), ("a-3", 1000)];
const CLIENTS: usize = 16;
const TRANSFERS: usize = 12;
const BEGUN_WITH: i64 = 400;

fn outcome(done: Result<Done<Hold>, Error>) -> Result<HoldState, Refusal> {
    match done {
        Ok(done) => Ok(done.value.state),
        Err(Error::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error:?}"),
    }
}

/// One client's transfers: each held once or twice at once, then captured and released by whoever comes first.
async fn transfer<DB: Db>(client: usize, replicas: [Arc<SqlAccounts<DB>>; 2]) -> Vec<(NewHold, Option<HoldState>)> {
    let mut ended = Vec::new();
    for number in 0..TRANSFERS {
        let from = rand::below(ACCOUNTS.len());
        let to = (from + 1 + rand::below(ACCOUNTS.len() - 1)) % ACCOUNTS.len();
        let amount = 1 + i64::try_from(rand::below(200)).unwrap();
        let new = new_hold(&format!("t-{client}-{number}"), ACCOUNTS[from].0, ACCOUNTS[to].0, amount);
        let [one, other] = &replicas;
        let held = tokio::join!(one.hold(&new), other.hold(&new));
        let held = (outcome(held.0), outcome(held.1));
        let refused = Err(Refusal::InsufficientFunds);
        // Between the two, another transfer may have brought what the first one missed.
        let is_held = [held.0, held.1].contains(&Ok(HoldState::Held));
        assert!(is_held || held == (refused, refused), "{held:?}");
        if !is_held {
            ended.push((new, None));
            continue;
        }
        let state = match rand::below(3) {
            0 => outcome(one.capture(&new.transfer).await).unwrap(),
            1 => outcome(other.release(&new.transfer).await).unwrap(),
            _ => {
                let both = tokio::join!(one.capture(&new.transfer), other.release(&new.transfer));
                match (outcome(both.0), outcome(both.1)) {
                    (Ok(state), Err(Refusal::Captured)) | (Err(Refusal::Released), Ok(state)) => state,
                    both => panic!("{both:?}"),
                }
            }
        };
        ended.push((new, Some(state)));
    }
    ended
}

async fn transfers_at_once_move_what_there_is_and_no_more<DB: Db>(fixture: Fixture<DB>) {
    bowline_testkit::seed();
    let replicas = [Arc::new(super::accounts(&fixture).await), Arc::new(super::accounts(&fixture).await)];
    let accounts = replicas[0].clone();
    for (id, credit_limit) in ACCOUNTS {
        open(&accounts, id, "ada", credit_limit).await;
        deposit(&accounts, id, BEGUN_WITH).await;
    }
    let total = BEGUN_WITH * i64::try_from(ACCOUNTS.len()).unwrap();
    let clients: Vec<_> = (0..CLIENTS).map(|client| task::spawn(transfer(client, replicas.clone()))).collect();
    // Whoever looks meanwhile sees books that are right.
    while !clients.iter().all(task::JoinHandle::is_finished) {
        let ledger = Ledger::new(accounts.books().await.unwrap());
        assert!(ledger.balanced && ledger.currencies[0].customers == total, "{ledger:?}");
        task::yield_now().await;
    }
    let mut balances: BTreeMap<&str, i64> = ACCOUNTS.iter().map(|(id, _)| (*id, BEGUN_WITH)).collect();
    let (mut captured, mut declined) = (0, 0);
    for client in clients {
        for (NewHold { transfer, terms, .. }, state) in client.await.unwrap() {
            declined += i64::from(state.is_none());
            if state == Some(HoldState::Captured) {
                captured += 1;
                *balances.get_mut(&*terms.from).unwrap() -= terms.amount;
                *balances.get_mut(&*terms.to).unwrap() += terms.amount;
            }
            // It stays what it is.
            if let Some(state) = state {
                let expect = if state == HoldState::Captured { Ok(state) } else { Err(Refusal::Released) };
                assert_eq!(outcome(accounts.capture(&transfer).await), expect);
            }
        }
    }
    println!("{captured} were captured, {declined} declined");
    assert!(captured > 0 && declined > 0, "the test tests nothing");
    for (id, credit_limit) in ACCOUNTS {
        let account = accounts.find(id).await.unwrap().unwrap();
        assert_eq!((account.balance, account.held), (balances[id], 0), "{id}");
        assert!(account.balance >= -credit_limit, "{account:?}");
        let lines = accounts.statement(id, (i64::MIN, i64::MAX), 10_000).await.unwrap();
        assert_eq!(lines.last().unwrap().balance, account.balance);
        assert!(lines.is_sorted_by_key(|line| line.posted_at_ms), "{lines:?}");
    }
    assert_eq!(told(&fixture).await.len(), captured);
    assert_eq!(states(&fixture).await["held"], 0);
}

/// What waits to be told, by its keys.
async fn told<DB: Db>(fixture: &Fixture<DB>) -> Vec<String> {
    let sql = super::sql(fixture).await;
    let select = Statement::new("SELECT ordering_key FROM bowline_outbox ORDER BY seq");
    let rows = sql.rows(&mut *sql.read().await.unwrap(), "bowline_outbox", select).await.unwrap();
    rows.iter().map(|row| row.text("ordering_key").unwrap()).collect()
}

/// How many holds there are in each state.
async fn states<DB: Db>(fixture: &Fixture<DB>) -> BTreeMap<&'static str, i64> {
    let sql = super::sql(fixture).await;
    let mut connection = sql.read().await.unwrap();
    let mut states = BTreeMap::new();
    for state in ["held", "captured", "released"] {
        let count = Statement::new("SELECT COUNT(*) AS n FROM holds WHERE state = $1").bind(state);
        let row = sql.row(&mut connection, "holds", count).await.unwrap().unwrap();
        states.insert(state, row.int("n").unwrap());
    }
    states
}

async fn one_hold_is_captured_or_released_however_many_try<DB: Db>(fixture: Fixture<DB>) {
    let accounts = Arc::new(super::accounts(&fixture).await);
    open(&accounts, "a-0", "ada", 0).await;
    open(&accounts, "a-1", "bob", 0).await;
    deposit(&accounts, "a-0", 100).await;
    assert_eq!(outcome(accounts.hold(&new_hold("t-1", "a-0", "a-1", 100)).await), Ok(HoldState::Held));
    let tries: Vec<_> = (0..12)
        .map(|number| {
            let accounts = accounts.clone();
            task::spawn(async move {
                let done = if number % 2 == 0 { accounts.capture("t-1").await } else { accounts.release("t-1").await };
                (done.as_ref().is_ok_and(|done| done.is_new), outcome(done))
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for one in tries {
        outcomes.push(one.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|(is_new, _)| *is_new).count(), 1, "{outcomes:?}");
    let state = outcomes.iter().find_map(|(is_new, outcome)| is_new.then(|| outcome.unwrap())).unwrap();
    let refusal = if state == HoldState::Captured { Refusal::Captured } else { Refusal::Released };
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Ok(state) || *outcome == Err(refusal)), "{outcomes:?}");
    assert_eq!(told(&fixture).await.len(), usize::from(state == HoldState::Captured));
}

async fn the_last_money_is_held_once<DB: Db>(fixture: Fixture<DB>) {
    let replicas = [Arc::new(super::accounts(&fixture).await), Arc::new(super::accounts(&fixture).await)];
    open(&replicas[0], "a-0", "ada", 20).await;
    open(&replicas[0], "a-1", "bob", 0).await;
    deposit(&replicas[0], "a-0", 100).await;
    let holds: Vec<_> = (0..10)
        .map(|number| {
            let accounts = replicas[number % 2].clone();
            task::spawn(
                async move { outcome(accounts.hold(&new_hold(&format!("t-{number}"), "a-0", "a-1", 40)).await) },
            )
        })
        .collect();
    let mut held = 0;
    for hold in holds {
        match hold.await.unwrap() {
            Ok(state) => held += usize::from(state == HoldState::Held),
            Err(refusal) => assert_eq!(refusal, Refusal::InsufficientFunds),
        }
    }
    assert_eq!(held, 3);
    let account = replicas[0].find("a-0").await.unwrap().unwrap();
    assert_eq!((account.balance, account.held, account.available), (100, 120, 0));
    assert_eq!(states(&fixture).await["held"], 3);
}

async fn replicas_that_start_at_once_prepare_one_database<DB: Db>(fixture: Fixture<DB>) {
    for accounts in Arc::new(fixture).at_once(|fixture| async move { super::accounts(&fixture).await }).await {
        assert!(accounts.find("cash-EUR").await.unwrap().unwrap().owner.is_none());
    }
}

async fn a_guard_of_the_database_holds_where_the_code_does_not<DB: Db>(fixture: Fixture<DB>) {
    let accounts = super::accounts(&fixture).await;
    open(&accounts, "a-0", "ada", 20).await;
    let sql = super::sql(&fixture).await;
    for (update, is_allowed) in [
        ("UPDATE accounts SET balance = -20 WHERE id = 'a-0'", true),
        ("UPDATE accounts SET balance = -21 WHERE id = 'a-0'", false),
        ("UPDATE accounts SET held = 21 WHERE id = 'a-0'", false),
        ("UPDATE accounts SET held = -1 WHERE id = 'a-0'", false),
        ("UPDATE accounts SET balance = -1000 WHERE id = 'cash-EUR'", true),
        ("INSERT INTO holds (transfer, state, held_ms) VALUES ('t', 'held', 1)", false),
    ] {
        let tx: Result<_, sql::Error> = sql.begin().await;
        let mut tx = tx.unwrap();
        let done = sql.execute(&mut tx, "accounts", Statement::new(update)).await;
        assert_eq!(done.is_ok(), is_allowed, "{update}: {done:?}");
        tx.rollback().await.unwrap();
    }
}
