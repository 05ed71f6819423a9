//! Accounts that are opened, and what is posted to them.

use bowline::sql::Tx;
use example_sql::{Db, Statement};

use super::{Done, Error, SqlAccounts, now_ms, reading::select_accounts};
use crate::{
    account::{Account, DEPOSITED_MAX, Deposit, Deposited, NewAccount, Refusal},
    posting::{Kind, Posting},
};

/// What a posting came to.
pub(super) struct Posted {
    /// The accounts as they are then.
    accounts: Vec<Account>,
    pub(super) posted_at_ms: i64,
}

impl<DB: Db> SqlAccounts<DB> {
    pub(super) async fn open_account(&self, new: &NewAccount) -> Result<Done<Account>, Error> {
        let NewAccount { id, owner, currency, credit_limit, opened_by, key, owned_max } = new;
        let insert = Statement::new(
            "INSERT INTO accounts (id, owner, currency, credit_limit, opened_ms, opened_by, opening_key)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (opened_by, opening_key) DO NOTHING",
        );
        let insert = insert.bind(id).bind(owner).bind(currency.as_str()).bind(*credit_limit).bind(now_ms());
        let insert = insert.bind(opened_by).bind(key.as_deref());
        let mut tx = self.sql.begin().await?;
        let is_new = self.insert(&mut tx, "accounts", insert).await?;
        let select = match key {
            Some(key) => {
                let by_key = Statement::new(select_accounts!("WHERE opened_by = $1 AND opening_key = $2"));
                by_key.bind(opened_by).bind(key)
            }
            None => Statement::new(select_accounts!("WHERE id = $1")).bind(id),
        };
        let opened = self.accounts_of(&mut tx, select).await?.pop();
        let account = opened.ok_or(Error::Books("an account that was opened is not there"))?;
        if let Some(max) = owned_max.filter(|_| is_new)
            && self.owned(&mut tx, owner).await? > max
        {
            return Err(Refusal::TooManyAccounts.into());
        }
        tx.commit().await?;
        if is_new {
            return Ok(Done::now(account));
        }
        let is_same = account.owner.as_ref() == Some(owner)
            && account.currency == *currency
            && account.credit_limit == *credit_limit;
        if is_same { Ok(Done::before(account)) } else { Err(Refusal::OtherContent.into()) }
    }

    /// How many accounts somebody has. On PostgreSQL those that are opened at the same time may not be among them.
    async fn owned(&self, tx: &mut Tx<DB>, owner: &str) -> Result<i64, Error> {
        let count = Statement::new("SELECT COUNT(*) AS owned FROM accounts WHERE owner = $1").bind(owner);
        let row = self.sql.row(tx, "accounts", count).await?;
        Ok(row.map_or(Ok(0), |row| row.int("owned"))?)
    }

    pub(super) async fn post_deposit(&self, deposit: &Deposit) -> Result<Done<Deposited>, Error> {
        let Deposit { account, amount, currency, reference } = deposit;
        let cash = currency.cash();
        let mut tx = self.sql.begin().await?;
        let accounts = self.accounts(&mut tx, [account, account]).await?;
        match accounts.first().filter(|account| account.owner.is_some()) {
            None => return Err(Refusal::NoAccount.into()),
            Some(account) if account.currency != *currency => return Err(Refusal::Currency.into()),
            Some(_) => {}
        }
        let posting = Posting::moving(Kind::Deposit, reference, (&cash, account), *amount, *currency)?;
        let now = now_ms();
        let deposited = |posted_at_ms| Deposited {
            transaction: posting.id(),
            account: account.clone(),
            amount: *amount,
            currency: *currency,
            posted_at_ms,
        };
        if !self.name(&mut tx, &posting, now).await? {
            let posted_at_ms = self.posted_at(&mut tx, &posting).await?.ok_or(Refusal::OtherContent)?;
            return Ok(Done::before(deposited(posted_at_ms)));
        }
        let posted = self.post(&mut tx, &posting, 0, now).await?;
        let taken_in = posted.accounts.iter().find(|account| account.id == cash).map_or(0, |cash| -cash.balance);
        if taken_in > DEPOSITED_MAX {
            return Err(Refusal::TooMuch.into());
        }
        tx.commit().await?;
        Ok(Done::now(deposited(posted.posted_at_ms)))
    }

    /// Keeps that something is posted under its name; false: there is a posting of that name.
    pub(super) async fn name(&self, tx: &mut Tx<DB>, posting: &Posting, now: i64) -> Result<bool, sqlx::Error> {
        let insert = Statement::new(
            "INSERT INTO ledger_transactions (id, kind, reference, posted_ms) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        );
        let insert = insert.bind(posting.id()).bind(posting.kind().as_str()).bind(posting.reference()).bind(now);
        self.insert(tx, "ledger_transactions", insert).await
    }

    /// When it was posted, if the posting of its name has the same legs.
    async fn posted_at(&self, tx: &mut Tx<DB>, posting: &Posting) -> Result<Option<i64>, Error> {
        let select = Statement::new(
            "SELECT posted_ms, account, amount, currency FROM legs
             JOIN ledger_transactions ON ledger_transactions.id = transaction_id WHERE transaction_id = $1",
        );
        let rows = self.sql.rows(tx, "legs", select.bind(posting.id())).await?;
        let mut posted_ms = None;
        for row in &rows {
            let leg = (row.text("account")?, row.int("amount")?, row.text("currency")?);
            let is_leg = |other: &crate::posting::Leg| {
                (&*other.account, other.amount, other.currency.as_str()) == (&*leg.0, leg.1, &*leg.2)
            };
            if !posting.legs().iter().any(is_leg) {
                return Ok(None);
            }
            posted_ms = row.maybe_int("posted_ms")?;
        }
        Ok(posted_ms.filter(|_| rows.len() == posting.legs().len()))
    }

    /// Posts the legs of what was [named](Self::name) at `now`; of what the account that pays has set aside, `freed` is
    /// not any more.
    pub(super) async fn post(&self, tx: &mut Tx<DB>, posting: &Posting, freed: i64, now: i64) -> Result<Posted, Error> {
        let [one, other] = posting.legs() else { return Err(Error::Books("a posting has two legs here")) };
        let mut accounts = self.lock(tx, [&one.account, &other.account]).await?;
        // Another may have posted to one of them since, or by a clock that is ahead: entries are in the order of time.
        let posted_at_ms = accounts.iter().map(|account| account.last_posted_ms).fold(now, i64::max);
        if posted_at_ms > now {
            let update = "UPDATE ledger_transactions SET posted_ms = $2 WHERE id = $1";
            let update = Statement::new(update).bind(posting.id()).bind(posted_at_ms);
            self.sql.execute(tx, "ledger_transactions", update).await?;
        }
        for leg in posting.legs() {
            let account = accounts.iter_mut().find(|account| account.id == leg.account);
            let account = account.ok_or(Error::Books("an account of a posting is not there"))?;
            let balance = account.balance.checked_add(leg.amount);
            account.balance = balance.ok_or(Error::Books("a balance is beyond what a number holds"))?;
            account.entries += 1;
            if leg.amount < 0 {
                account.held -= freed;
            }
            let insert = Statement::new(
                "INSERT INTO legs (account, entry, transaction_id, amount, currency, balance)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            );
            let insert = insert.bind(&leg.account).bind(account.entries).bind(posting.id()).bind(leg.amount);
            let insert = insert.bind(leg.currency.as_str()).bind(account.balance);
            self.sql.execute(tx, "legs", insert).await?;
            let update = Statement::new(
                "UPDATE accounts SET balance = $2, entries = $3, held = $4, last_posted_ms = $5 WHERE id = $1",
            );
            let update = update.bind(&account.id).bind(account.balance).bind(account.entries);
            self.sql.execute(tx, "accounts", update.bind(account.held).bind(posted_at_ms)).await?;
        }
        Ok(Posted { accounts, posted_at_ms })
    }
}
