//! The books against a model: lists of what happened, which are added up anew each time.

use bowline::runtime::rand;
use example_sql::Db;

use super::{Fixture, open};
use crate::{
    account::{AMOUNT_MAX, Account, Currency, DEPOSITED_MAX, Deposit, HoldState, NewHold, Refusal, Terms},
    repository::{AccountRepository as _, Done, Error, SqlAccounts},
};

example_sql::on_both!(the_books_are_as_the_list_of_what_happened_says);

const STEPS: usize = 400;

/// What there is: the last account is not.
const ACCOUNTS: [(&str, &str, i64); 5] =
    [("a-0", "ada", 0), ("a-1", "ada", 300), ("a-2", "bob", 0), ("a-3", "ada", 0), ("a-none", "ada", 0)];

/// Money that moved: what it was called, from, to.
struct Moved {
    name: String,
    from: String,
    to: String,
    amount: i64,
    currency: Currency,
}

#[derive(Default)]
struct Model {
    moved: Vec<Moved>,
    holds: Vec<(String, Option<Terms>, HoldState)>,
}

impl Model {
    fn balance(&self, account: &str) -> i64 {
        let of = |moved: &Moved| match account {
            account if account == moved.from => -moved.amount,
            account if account == moved.to => moved.amount,
            _ => 0,
        };
        self.moved.iter().map(of).sum()
    }

    fn held(&self, account: &str) -> i64 {
        let held = self.holds.iter().filter(|(_, _, state)| *state == HoldState::Held);
        let terms = held.filter_map(|(_, terms, _)| terms.as_ref());
        terms.filter(|terms| terms.from == account).map(|terms| terms.amount).sum()
    }

    /// The legs of an account: their names, other accounts, amounts, and the balances behind them.
    fn lines(&self, account: &str) -> Vec<(String, String, i64, i64)> {
        let mut balance = 0;
        let mut lines = Vec::new();
        for Moved { name, from, to, amount, .. } in &self.moved {
            let (other, amount) = match account {
                account if account == from => (to, -amount),
                account if account == to => (from, *amount),
                _ => continue,
            };
            balance += amount;
            lines.push((name.clone(), other.clone(), amount, balance));
        }
        lines
    }

    fn deposit(&mut self, deposit: &Deposit) -> Result<bool, Refusal> {
        let Deposit { account, amount, currency, reference } = deposit;
        self.party(account)?;
        if *currency != Currency::Eur {
            return Err(Refusal::Currency);
        }
        let name = format!("deposit:{reference}");
        if let Some(before) = self.moved.iter().find(|moved| moved.name == name) {
            let is_same = (&before.to, before.amount, before.currency) == (account, *amount, *currency);
            return if is_same { Ok(false) } else { Err(Refusal::OtherContent) };
        }
        if amount - self.balance(&currency.cash()) > DEPOSITED_MAX {
            return Err(Refusal::TooMuch);
        }
        let from = currency.cash();
        self.moved.push(Moved { name, from, to: account.clone(), amount: *amount, currency: *currency });
        Ok(true)
    }

    fn hold(&mut self, new: &NewHold) -> Result<(bool, HoldState), Refusal> {
        let NewHold { transfer, terms, asked_by } = new;
        if terms.from == terms.to {
            return Err(Refusal::SameAccount);
        }
        let (_, owner, credit_limit) = self.party(&terms.from)?;
        self.party(&terms.to)?;
        if owner != asked_by {
            return Err(Refusal::NotOwner);
        }
        if terms.currency != Currency::Eur {
            return Err(Refusal::Currency);
        }
        match self.holds.iter().find(|(name, ..)| name == transfer) {
            Some((_, Some(before), _)) if before != terms => Err(Refusal::OtherContent),
            Some((_, _, HoldState::Released)) => Err(Refusal::Released),
            Some((_, _, state)) => Ok((false, *state)),
            None if self.balance(&terms.from) - self.held(&terms.from) + credit_limit < terms.amount => {
                Err(Refusal::InsufficientFunds)
            }
            None => {
                self.holds.push((transfer.clone(), Some(terms.clone()), HoldState::Held));
                Ok((true, HoldState::Held))
            }
        }
    }

    fn capture(&mut self, transfer: &str) -> Result<(bool, HoldState), Refusal> {
        let hold = self.holds.iter_mut().find(|(name, ..)| name == transfer).ok_or(Refusal::NoHold)?;
        match hold {
            (_, _, HoldState::Captured) => Ok((false, HoldState::Captured)),
            (_, Some(Terms { from, to, amount, currency }), state @ HoldState::Held) => {
                *state = HoldState::Captured;
                let (name, from, to) = (format!("transfer:{transfer}"), from.clone(), to.clone());
                self.moved.push(Moved { name, from, to, amount: *amount, currency: *currency });
                Ok((true, HoldState::Captured))
            }
            _ => Err(Refusal::Released),
        }
    }

    fn release(&mut self, transfer: &str) -> Result<(bool, HoldState), Refusal> {
        match self.holds.iter_mut().find(|(name, ..)| name == transfer) {
            Some((_, _, HoldState::Captured)) => Err(Refusal::Captured),
            Some((_, _, HoldState::Released)) => Ok((false, HoldState::Released)),
            Some((_, _, state)) => {
                *state = HoldState::Released;
                Ok((true, HoldState::Released))
            }
            None => {
                self.holds.push((transfer.to_owned(), None, HoldState::Released));
                Ok((true, HoldState::Released))
            }
        }
    }

    #[expect(clippy::unused_self, reason = "it is asked of the model")]
    fn party(&self, account: &str) -> Result<(&'static str, &'static str, i64), Refusal> {
        let known = ACCOUNTS[..ACCOUNTS.len() - 1].iter().find(|(id, ..)| *id == account);
        known.copied().ok_or(Refusal::NoAccount)
    }
}

fn some_account() -> String {
    // The bank's own is nobody's to pay from.
    if rand::below(40) == 0 { "cash-EUR".to_owned() } else { ACCOUNTS[rand::below(ACCOUNTS.len())].0.to_owned() }
}

fn some_currency() -> Currency {
    if rand::below(20) == 0 { Currency::Usd } else { Currency::Eur }
}

fn some_deposit() -> Deposit {
    // Few amounts and references, so that some come twice, the same and not.
    let amount = match rand::below(8) {
        0 => AMOUNT_MAX,
        other => 100 * i64::try_from(other).unwrap(),
    };
    let reference = rand::below(30).to_string();
    Deposit { account: some_account(), amount, currency: some_currency(), reference }
}

fn some_hold(holds: &[NewHold]) -> NewHold {
    if let Some(before) = holds.get(rand::below(2 * holds.len() + 1)) {
        return before.clone();
    }
    let amount = 1 + i64::try_from(rand::below(400)).unwrap();
    let terms = Terms { from: some_account(), to: some_account(), amount, currency: some_currency() };
    let asked_by = if rand::below(8) == 0 { "bob" } else { "ada" }.to_owned();
    NewHold { transfer: some_transfer(), terms, asked_by }
}

fn some_transfer() -> String {
    format!("t-{}", rand::below(120))
}

fn answered<T, A>(done: Result<Done<T>, Error>, answer: impl FnOnce(Done<T>) -> A) -> Result<A, Refusal> {
    match done {
        Ok(done) => Ok(answer(done)),
        Err(Error::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error:?}"),
    }
}

async fn the_books_are_as_the_list_of_what_happened_says<DB: Db>(fixture: Fixture<DB>) {
    bowline_testkit::seed();
    let accounts = super::accounts(&fixture).await;
    for (id, owner, credit_limit) in &ACCOUNTS[..ACCOUNTS.len() - 1] {
        open(&accounts, id, owner, *credit_limit).await;
    }
    let (mut model, mut asked) = (Model::default(), Vec::new());
    for step in 0..STEPS {
        step_once(&accounts, &mut model, &mut asked).await;
        if step % 20 == 0 {
            compare(&accounts, &model).await;
        }
    }
    compare(&accounts, &model).await;
}

async fn step_once<DB: Db>(accounts: &SqlAccounts<DB>, model: &mut Model, asked: &mut Vec<NewHold>) {
    match rand::below(8) {
        0 | 1 => {
            let deposit = some_deposit();
            let done = answered(accounts.deposit(&deposit).await, |done| done.is_new);
            assert_eq!(done, model.deposit(&deposit), "{deposit:?}");
        }
        2 => {
            let transfer = some_transfer();
            let done = answered(accounts.release(&transfer).await, |done| (done.is_new, done.value.state));
            assert_eq!(done, model.release(&transfer), "release {transfer}");
        }
        3 | 4 => {
            let transfer = some_transfer();
            let done = answered(accounts.capture(&transfer).await, |done| (done.is_new, done.value.state));
            assert_eq!(done, model.capture(&transfer), "capture {transfer}");
        }
        _ => {
            let new = some_hold(asked);
            let done = answered(accounts.hold(&new).await, |done| (done.is_new, done.value.state));
            assert_eq!(done, model.hold(&new), "{new:?}");
            asked.push(new);
        }
    }
}

async fn compare<DB: Db>(accounts: &SqlAccounts<DB>, model: &Model) {
    let (mut customers, mut held) = (0, 0);
    for (id, _, credit_limit) in &ACCOUNTS[..ACCOUNTS.len() - 1] {
        let account: Account = accounts.find(id).await.unwrap().unwrap();
        let (balance, set_aside) = (model.balance(id), model.held(id));
        assert_eq!((account.balance, account.held), (balance, set_aside), "{id}");
        assert_eq!(account.available, balance - set_aside + credit_limit);
        let lines = accounts.statement(id, (i64::MIN, i64::MAX), 10_000).await.unwrap();
        let lines: Vec<_> =
            lines.into_iter().map(|line| (line.transaction, line.counterparty, line.amount, line.balance)).collect();
        assert_eq!(lines, model.lines(id), "{id}");
        customers += balance;
        held += set_aside;
    }
    assert_eq!(accounts.find("cash-EUR").await.unwrap().unwrap().balance, -customers);
    for books in accounts.books().await.unwrap() {
        let is_used = books.currency == Currency::Eur;
        let expect = if is_used { (customers, held, 2 * i64::try_from(model.moved.len()).unwrap()) } else { (0, 0, 0) };
        assert_eq!((books.customers, books.held, books.legs), expect, "{books:?}");
        assert_eq!((books.sum, books.faults), (0, 0), "{books:?}");
    }
}
