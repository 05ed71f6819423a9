//! What is set aside for transfers: held, then captured or released, once.

use bowline::sql::{self, Tx};
use example_sql::{Db, Row, Statement};

use super::{Done, Error, SqlAccounts, Told, currency, now_ms, posted::Posted};
use crate::{
    account::{Account, Hold, HoldState, NewHold, Refusal, Terms},
    posting::{Kind, Posting},
};

impl<DB: Db> SqlAccounts<DB> {
    pub(super) async fn set_aside(&self, new: &NewHold) -> Result<Done<Hold>, Error> {
        let NewHold { transfer, terms, .. } = new;
        let Terms { from, to, amount, currency } = terms;
        let mut tx = self.sql.begin().await?;
        agree(new, &self.accounts(&mut tx, [from, to]).await?)?;
        let insert = Statement::new(
            "INSERT INTO holds (transfer, from_account, to_account, amount, currency, state, held_ms)
             VALUES ($1, $2, $3, $4, $5, 'held', $6) ON CONFLICT (transfer) DO NOTHING",
        );
        let now = now_ms();
        let insert = insert.bind(transfer).bind(from).bind(to).bind(*amount).bind(currency.as_str()).bind(now);
        if !self.insert(&mut tx, "holds", insert).await? {
            return again(terms, self.locked_hold(&mut tx, transfer).await?);
        }
        let payer = self.lock(&mut tx, [from, from]).await?.pop().ok_or(Refusal::NoAccount)?;
        if payer.available < *amount {
            return Err(Refusal::InsufficientFunds.into());
        }
        self.set_held(&mut tx, &payer, payer.held + amount).await?;
        tx.commit().await?;
        let (transfer, terms) = (transfer.clone(), Some(terms.clone()));
        Ok(Done::now(Hold { transfer, terms, state: HoldState::Held, held_at_ms: now, ended_at_ms: None }))
    }

    pub(super) async fn move_held(&self, transfer: &str) -> Result<Done<Hold>, Error> {
        let mut tx = self.outbox.begin().await?;
        let hold = self.locked_hold(&mut tx, transfer).await?.ok_or(Refusal::NoHold)?;
        let terms = match (&hold.state, &hold.terms) {
            (HoldState::Captured, _) => return Ok(Done::before(hold)),
            (HoldState::Held, Some(terms)) => terms,
            _ => return Err(Refusal::Released.into()),
        };
        let Terms { from, to, amount, currency } = terms;
        let posting = Posting::moving(Kind::Transfer, transfer, (from, to), *amount, *currency)?;
        let now = now_ms();
        if !self.name(&mut tx, &posting, now).await? {
            return Err(Error::Books("a transfer is posted whose hold was not captured"));
        }
        let Posted { posted_at_ms, .. } = self.post(&mut tx, &posting, *amount, now).await?;
        let captured = self.end_hold(&mut tx, &hold, HoldState::Captured, posted_at_ms).await?;
        let told = self.posted.message(&Told { transfer, terms, posted_at_ms }).id(transfer).key(transfer);
        sql::publish(&mut tx, self.posted.name(), told.into_message()?).await?;
        self.outbox.commit(tx).await?;
        Ok(Done::now(captured))
    }

    pub(super) async fn free_held(&self, transfer: &str) -> Result<Done<Hold>, Error> {
        let now = now_ms();
        let insert = Statement::new(
            "INSERT INTO holds (transfer, state, held_ms, ended_ms) VALUES ($1, 'released', $2, $2)
             ON CONFLICT (transfer) DO NOTHING",
        );
        let mut tx = self.sql.begin().await?;
        let is_early = self.insert(&mut tx, "holds", insert.bind(transfer).bind(now)).await?;
        let hold = self.locked_hold(&mut tx, transfer).await?.ok_or(Refusal::NoHold)?;
        let released = match (&hold.state, &hold.terms) {
            (HoldState::Captured, _) => return Err(Refusal::Captured.into()),
            (HoldState::Held, Some(terms)) => {
                let payer = self.lock(&mut tx, [&terms.from, &terms.from]).await?.pop().ok_or(Refusal::NoAccount)?;
                self.set_held(&mut tx, &payer, payer.held - terms.amount).await?;
                Done::now(self.end_hold(&mut tx, &hold, HoldState::Released, now).await?)
            }
            _ => Done { value: hold, is_new: is_early },
        };
        tx.commit().await?;
        Ok(released)
    }

    async fn set_held(&self, tx: &mut Tx<DB>, account: &Account, held: i64) -> Result<(), Error> {
        let update = Statement::new("UPDATE accounts SET held = $2 WHERE id = $1").bind(&account.id).bind(held);
        self.sql.execute(tx, "accounts", update).await?;
        Ok(())
    }

    async fn end_hold(&self, tx: &mut Tx<DB>, hold: &Hold, state: HoldState, now: i64) -> Result<Hold, Error> {
        let update = "UPDATE holds SET state = $2, ended_ms = $3 WHERE transfer = $1 AND state = 'held'";
        let update = Statement::new(update).bind(&hold.transfer).bind(state.as_str()).bind(now);
        if self.sql.execute(tx, "holds", update).await? != 1 {
            return Err(Error::Books("a hold ended while it was locked"));
        }
        Ok(Hold { state, ended_at_ms: Some(now), ..hold.clone() })
    }

    async fn locked_hold(&self, tx: &mut Tx<DB>, transfer: &str) -> Result<Option<Hold>, Error> {
        let select = "SELECT transfer, from_account, to_account, amount, currency, state, held_ms, ended_ms
                      FROM holds WHERE transfer = $1";
        let row = self.sql.row(tx, "holds", Statement::new(select).bind(transfer).locking()).await?;
        row.as_ref().map(hold).transpose()
    }
}

/// Whether that may be set aside at all, by what never changes of the accounts.
fn agree(new: &NewHold, accounts: &[Account]) -> Result<(), Refusal> {
    let NewHold { terms: Terms { from, to, currency, .. }, asked_by, .. } = new;
    if from == to {
        return Err(Refusal::SameAccount);
    }
    let party = |id: &String| accounts.iter().find(|account| account.id == *id && account.owner.is_some());
    let (payer, paid) = (party(from).ok_or(Refusal::NoAccount)?, party(to).ok_or(Refusal::NoAccount)?);
    if payer.owner.as_ref() != Some(asked_by) {
        return Err(Refusal::NotOwner);
    }
    if payer.currency != *currency || paid.currency != *currency {
        return Err(Refusal::Currency);
    }
    Ok(())
}

/// What is answered when there is a hold of that name.
fn again(terms: &Terms, hold: Option<Hold>) -> Result<Done<Hold>, Error> {
    let hold = hold.ok_or(Error::Books("a hold that was in the way is not there"))?;
    match &hold.terms {
        Some(held) if held != terms => Err(Refusal::OtherContent.into()),
        _ if hold.state == HoldState::Released => Err(Refusal::Released.into()),
        _ => Ok(Done::before(hold)),
    }
}

fn hold<DB: Db>(row: &Row<DB>) -> Result<Hold, Error> {
    let terms = match row.maybe_text("from_account")? {
        Some(from) => {
            Some(Terms { from, to: row.text("to_account")?, amount: row.int("amount")?, currency: currency(row)? })
        }
        None => None,
    };
    Ok(Hold {
        transfer: row.text("transfer")?,
        terms,
        state: HoldState::parse(&row.text("state")?).ok_or(Error::Books("a state that nobody knows"))?,
        held_at_ms: row.int("held_ms")?,
        ended_at_ms: row.maybe_int("ended_ms")?,
    })
}
