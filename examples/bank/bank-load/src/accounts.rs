//! The accounts of a run: opened for it, and given money to begin with.

use anyhow::Context as _;
use bowline_runtime::rand;
use example_load::{Connection, Host};
use serde::Deserialize;
use serde_json::json;

/// What each account has at the beginning, in minor units.
pub(crate) const DEPOSIT: i64 = 100_000;

/// How far below nothing every second account may go, in minor units.
const CREDIT_LIMIT: i64 = 20_000;

/// What the accounts are in.
pub(crate) const CURRENCY: &str = "EUR";

/// Who owns them.
const OWNER: &str = "teller";

/// An account as the bank shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) balance: i64,
    pub(crate) held: i64,
    pub(crate) credit_limit: i64,
}

/// The ids of a run's accounts.
#[derive(Debug, Clone)]
pub(crate) struct Accounts(pub(crate) Vec<String>);

impl Accounts {
    /// Opens so many accounts.
    pub(crate) async fn open(bank: &Host, count: u16) -> anyhow::Result<Self> {
        let mut connection = bank.connect();
        let (run, mut ids) = (rand::u64(), Vec::new());
        for number in 0..count {
            let credit_limit = if number % 2 == 0 { CREDIT_LIMIT } else { 0 };
            let new = json!({"owner": OWNER, "currency": CURRENCY, "credit_limit": credit_limit});
            let key = format!("open-{run:016x}-{number}");
            let opened = connection.insist(&bank.post_once("/accounts", &new, &key)).await?;
            let opened: Account = serde_json::from_slice(&opened).context("an account cannot be read")?;
            // Asked for again under its reference, a deposit is the same.
            let reference = format!("load-{run:016x}-{number}");
            let deposit =
                json!({"account": opened.id, "amount": DEPOSIT, "currency": CURRENCY, "reference": reference});
            connection.insist(&bank.post_once("/deposits", &deposit, &reference)).await?;
            ids.push(opened.id);
        }
        Ok(Self(ids))
    }

    /// Two of them, by chance.
    pub(crate) fn pair(&self) -> (&str, &str) {
        let from = rand::below(self.0.len());
        let to = (from + 1 + rand::below(self.0.len() - 1)) % self.0.len();
        (&self.0[from], &self.0[to])
    }
}

/// An account now.
pub(crate) async fn look(bank: &Host, connection: &mut Connection, id: &str) -> anyhow::Result<Account> {
    let shown = connection.insist(&bank.get(&format!("/accounts/{id}"))).await?;
    serde_json::from_slice(&shown).context("an account cannot be read")
}
