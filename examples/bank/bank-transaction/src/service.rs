//! The rules of transferring: each transfer is kept, with the saga that moves its money, before anything is done.

use std::{fmt, sync::Arc, time::Duration};

use axum::http::HeaderMap;
use bowline::{
    Code, HandlerError,
    extract::Subject,
    messages::Failure,
    runtime::{rand, time},
    sql::{self, Inbox, Outcome, Sagas},
};
use serde::Deserialize;

use crate::{
    limits::CurrentLimits,
    moving::{self, Moving},
    repository::{Kept, TransferRepository},
    transfer::{Currency, NewTransfer, State, Transfer},
};

/// How long an answer is usually waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// The most transfers of one list.
const LISTED_MAX: u32 = 1000;

/// Who sees every transfer: the bank's own people.
const TELLER: &str = "teller";

/// Whose messages are noted in the inbox.
const GROUP: &str = "transaction";

/// Moves money with the help of two other services.
pub(crate) struct TransferService<R: TransferRepository> {
    pub(crate) repository: Arc<R>,
    pub(crate) sagas: Sagas<R::Db>,
    pub(crate) limits: CurrentLimits,
    pub(crate) inbox: Inbox,
    /// How long an answer is waited for, where the request says nothing of time.
    pub(crate) patience: Duration,
}

impl<R: TransferRepository> fmt::Debug for TransferService<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransferService").field("sagas", &self.sagas).finish_non_exhaustive()
    }
}

/// The caller's name for a request, 1 to 128 visible characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(pub(crate) String);

impl IdempotencyKey {
    /// The key of a request. There is none without: what is asked for twice would be moved twice.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, HandlerError> {
        let value = headers.get("idempotency-key").map(|value| value.to_str());
        match value {
            Some(Ok(key)) if (1..=128).contains(&key.len()) => Ok(Self(key.to_owned())),
            _ => Err(HandlerError::new(Code::InvalidArgument, "idempotency-key: 1 to 128 visible characters")),
        }
    }
}

/// What a request for a transfer came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answered {
    /// This request made it, and it has ended.
    New(Transfer),
    /// An earlier request with this key made it, and it has ended.
    Known(Transfer),
    /// It is under way.
    Pending(Transfer),
}

/// What account tells once it has posted a transfer, as far as it is read here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Posting {
    pub(crate) transfer: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
    pub(crate) posted_at_ms: i64,
}

impl<R: TransferRepository> TransferService<R> {
    /// Begins a transfer, or goes on with the one that the same key began before: that one is as it is, whatever the
    /// limits are now.
    ///
    /// Two requests with one key may arrive at once, or the second after a crash of whoever served the first: both
    /// find the same kept transfer, and wait for the same saga.
    pub(crate) async fn transfer(
        &self,
        subject: &Subject,
        new: NewTransfer,
        key: &IdempotencyKey,
    ) -> Result<Answered, HandlerError> {
        if let Some(known) = self.find_by_key(subject, key).await? {
            return self.known(known, &new).await;
        }
        new.check()?;
        (self.limits)().check(new.amount)?;
        let moving = begun(subject, &new);
        if self.begin(&moving, key).await? {
            return self.finish(moving.transfer, Answered::New).await;
        }
        let known = self.find_by_key(subject, key).await?;
        let known = known.ok_or_else(|| HandlerError::internal("a key is taken by no transfer"))?;
        self.known(known, &new).await
    }

    /// Keeps a transfer and the saga that moves its money, as one; whether it did: its key may have one already.
    async fn begin(&self, moving: &Moving, key: &IdempotencyKey) -> Result<bool, sql::Error> {
        let mut tx = sql::begin(self.repository.pool()).await?;
        if !self.repository.keep(&mut tx, moving, key).await? {
            return Ok(false);
        }
        self.sagas.begin(&mut tx, moving::NAME, &moving.transfer.id, moving).await?;
        self.sagas.commit(tx).await?;
        Ok(true)
    }

    async fn find_by_key(&self, subject: &Subject, key: &IdempotencyKey) -> Result<Option<Transfer>, HandlerError> {
        let found = self.repository.find_by_key(subject.as_str(), key).await?;
        Ok(found.map(|kept| kept.transfer))
    }

    /// A key names one request: the same key with another body is a mistake of the caller.
    async fn known(&self, known: Transfer, new: &NewTransfer) -> Result<Answered, HandlerError> {
        if !new.is(&known) {
            return Err(HandlerError::new(Code::Conflict, "idempotency-key: it named another transfer already"));
        }
        self.finish(known, Answered::Known).await
    }

    /// Waits for the end of a transfer, as long as the request may take; it goes on after that.
    async fn finish(&self, transfer: Transfer, ended: fn(Transfer) -> Answered) -> Result<Answered, HandlerError> {
        if transfer.state != State::Pending {
            return Ok(ended(transfer));
        }
        // A moment is left to answer in.
        let within = bowline::time_left().unwrap_or(self.patience).mul_f64(0.9);
        let outcome = self.sagas.finish::<Moving>(&transfer.id, within).await?;
        if outcome == Outcome::StillRunning {
            return Ok(Answered::Pending(transfer));
        }
        // As whoever asks later reads it.
        let kept = self.repository.find(&transfer.id).await?;
        let kept = kept.ok_or_else(|| HandlerError::internal("a transfer that was kept is gone"))?;
        Ok(ended(kept.transfer))
    }

    /// The transfer of that id, for who asked for it.
    pub(crate) async fn show(&self, subject: &Subject, id: &str) -> Result<Transfer, HandlerError> {
        let kept = self.repository.find(id).await?;
        let Some(Kept { transfer, asked_by }) = kept else {
            return Err(HandlerError::new(Code::NotFound, format!("no transfer `{id}`")));
        };
        // Ids cannot be guessed: that there is one with this id tells nobody anything.
        if asked_by != subject.as_str() && subject.as_str() != TELLER {
            return Err(HandlerError::new(Code::PermissionDenied, "this transfer was asked for by another"));
        }
        Ok(transfer)
    }

    /// The transfers in a state, the youngest first: those that one asked for, to the bank's own people all.
    pub(crate) async fn list(
        &self,
        subject: &Subject,
        state: State,
        limit: Option<u32>,
    ) -> Result<Vec<Transfer>, HandlerError> {
        let limit = limit.unwrap_or(100);
        if !(1..=LISTED_MAX).contains(&limit) {
            return Err(HandlerError::new(Code::Unprocessable, format!("limit: 1 to {LISTED_MAX}")));
        }
        let of = (subject.as_str() != TELLER).then_some(subject.as_str());
        let kept = self.repository.list(state, of, limit).await?;
        Ok(kept.into_iter().map(|kept| kept.transfer).collect())
    }

    /// Keeps when account posted a transfer, in the transaction that notes the message: a second delivery changes
    /// nothing. It may come before the end of the saga: what is posted is as good as settled.
    pub(crate) async fn posted(&self, message_id: &str, posted: &Posting) -> Result<(), Failure> {
        let mut tx = sql::begin(self.repository.pool()).await?;
        // Ids are unique within a topic.
        if !self.inbox.once(&mut tx, GROUP, &format!("account.posted/{message_id}")).await? {
            return Ok(());
        }
        if !self.repository.post(&mut tx, posted).await? {
            // Somebody has to look at it: account posted what was not asked for here.
            return Err(Failure::dead("no transfer of that id, accounts, amount and currency was to be posted"));
        }
        tx.commit().await.map_err(sql::Error::from)?;
        Ok(())
    }
}

/// A transfer that begins now.
fn begun(subject: &Subject, new: &NewTransfer) -> Moving {
    let NewTransfer { from, to, amount, currency } = new;
    let transfer = Transfer {
        id: format!("t-{:032x}", rand::u128()),
        from: from.clone(),
        to: to.clone(),
        amount: *amount,
        currency: *currency,
        state: State::Pending,
        reason: None,
        risk: None,
        posted_at_ms: None,
    };
    let asked_at_ms = i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX);
    Moving { transfer, asked_by: subject.as_str().to_owned(), asked_at_ms, no: None, is_spent: false }
}

#[cfg(test)]
mod tests;
