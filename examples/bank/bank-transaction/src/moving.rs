//! Moving money, as a saga: the money is held, risk is asked, then it is captured; or what was held is free again.
//!
//! It is held first, where account looks whose money it is: before that nothing is kept of an account that anybody may
//! name. What is captured is never taken back: from there on it is tried until it is done. A "no" is kept by the step
//! that was given it, and acted upon by the local step behind it, so that it is known when everything is undone.
//!
//! Another order of these steps is another saga, with a name of its own.

use std::{sync::Arc, time::Duration};

use bowline::{
    Topic, client,
    runtime::{BoxFuture, metric},
    sql::{self, Definition, StepError, Tx},
};
use serde::{Deserialize, Serialize};

use crate::{
    callees::{Accounts, Held, Risks},
    limits::CurrentLimits,
    repository::{End, TransferRepository},
    transfer::{Decision, Risk, State, Transfer},
};

/// The name of the saga.
pub(crate) const NAME: &str = "transfer-held";

/// That of transfers begun by a release that asked risk before it held. A stored saga is found by the name of its step:
/// in the other order it would pass by what it has not done. It is here for as long as there are such transfers.
pub(crate) const ASSESSED_FIRST: &str = "transfer";

/// How long account may be away before a transfer fails, of which nothing is captured yet.
pub(crate) const HOLD_WITHIN: Duration = Duration::from_mins(1);

/// For how long a transfer may be at its first step, which does nothing: what gives that up would leave it pending.
const OPEN_WITHIN: Duration = Duration::from_hours(24 * 365);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What is known of a transfer that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moving {
    pub(crate) transfer: Transfer,
    /// In whose name.
    pub(crate) asked_by: String,
    /// In milliseconds since 1970.
    pub(crate) asked_at_ms: i64,
    /// Who said no, and why, if somebody did.
    #[serde(default)]
    pub(crate) no: Option<String>,
    /// Whether it is counted among what goes out of the account that day.
    #[serde(default)]
    pub(crate) is_spent: bool,
}

impl Moving {
    fn day(&self) -> i64 {
        self.asked_at_ms.div_euclid(DAY_MS)
    }
}

/// Why a transfer is more than goes out of an account on one day.
const DAY_LIMIT: &str = "day_limit";

/// Who decided, where risk does not answer: the amount alone.
const BY_AMOUNT: &str = "amount";

/// Who decided, where risk refuses to assess.
const REFUSED: &str = "refused";

/// Where it is told what became of transfers.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) settled: Topic,
    pub(crate) declined: Topic,
}

/// What is told of a transfer.
#[derive(Debug, Serialize)]
struct Told<'a> {
    id: &'a str,
    from: &'a str,
    to: &'a str,
    amount: i64,
    currency: &'a str,
    state: State,
    reason: Option<&'a str>,
    at_unix_ms: i64,
}

type Step<'a> = BoxFuture<'a, Result<(), StepError>>;

/// The steps, in the order of the saga of that name.
pub(crate) fn definition<R: TransferRepository>(
    name: &str,
    local: &Arc<Local<R>>,
    account: &Arc<impl Accounts + 'static>,
    risk: &Arc<impl Risks + 'static>,
    hold_within: Duration,
) -> Definition<R::Db, Moving> {
    let step = |work: Work<R>| step(local, work);
    let begun = Definition::new(name);
    let agreed = if name == ASSESSED_FIRST {
        let counted = begun
            .local("open", step(Local::spend))
            .within(OPEN_WITHIN)
            .undo_local(step(Local::close_counted))
            .local("within-limits", |_tx, moving| agree(moving));
        let allowed = assessed(counted, local, risk);
        held(allowed, account, hold_within).local("held", |_tx, moving| agree(moving))
    } else {
        let opened = begun
            // It is here for what undoes it: the end of every transfer of which nothing is captured.
            .local("open", |_tx, _moving| Box::pin(async { Ok(()) }))
            .within(OPEN_WITHIN)
            .undo_local(step(Local::close));
        let counted = held(opened, account, hold_within)
            .local("spend", step(Local::spend))
            .undo_local(step(Local::give_back))
            .local("held", |_tx, moving| agree(moving));
        assessed(counted, local, risk)
    };
    let capture = account.clone();
    agreed
        .remote("capture", move |id, _moving| -> Step<'_> {
            let account = capture.clone();
            Box::pin(async move { Ok(account.capture(id).await?) })
        })
        .forward()
        .local("settle", step(Local::settle))
}

/// With the step that sets the money aside.
fn held<DB: sql::Db>(
    before: Definition<DB, Moving>,
    account: &Arc<impl Accounts + 'static>,
    within: Duration,
) -> Definition<DB, Moving> {
    let (hold, release) = (account.clone(), account.clone());
    before
        .remote("hold", move |_id, moving| -> Step<'_> {
            let account = hold.clone();
            Box::pin(async move {
                if let Held::Refused(reason) = account.hold(moving).await? {
                    moving.no = Some(reason);
                }
                Ok(())
            })
        })
        .within(within)
        // Also where it was refused: a request that was given up before that may still be on its way.
        .undo_remote(move |id, _moving| -> Step<'_> {
            let account = release.clone();
            Box::pin(async move { Ok(account.release(id).await?) })
        })
}

/// With the steps that ask risk, and go on where it lets the transfer pass.
fn assessed<R: TransferRepository>(
    before: Definition<R::Db, Moving>,
    local: &Arc<Local<R>>,
    risk: &Arc<impl Risks + 'static>,
) -> Definition<R::Db, Moving> {
    let (risk, rules) = (risk.clone(), local.clone());
    before
        .remote("assess", move |_id, moving| -> Step<'_> {
            let (risk, rules) = (risk.clone(), rules.clone());
            Box::pin(async move {
                let answer = risk.assess(moving).await;
                rules.decide(moving, answer);
                Ok(())
            })
        })
        .local("allowed", |_tx, moving| agree(moving))
}

/// Whether there was no answer. One that refuses, or that nobody can read, is none to go on by, and no absence.
fn is_away(error: &client::Error) -> bool {
    match error.status() {
        Some(status) => status.is_server_error() || error.retryable(),
        None => matches!(error, client::Error::Call { .. } | client::Error::NoIdentity { .. }),
    }
}

/// Goes on where nobody said no.
fn agree<'a>(moving: &Moving) -> Step<'a> {
    let no = moving.no.clone();
    Box::pin(async move { no.map_or(Ok(()), |no| Err(StepError::abort(no))) })
}

/// A step in the database of transfers.
type Work<R> = for<'a> fn(Arc<Local<R>>, &'a mut Tx<<R as TransferRepository>::Db>, &'a mut Moving) -> Step<'a>;

fn step<R: TransferRepository>(
    local: &Arc<Local<R>>,
    work: Work<R>,
) -> impl for<'a> Fn(&'a mut Tx<R::Db>, &'a mut Moving) -> Step<'a> + Send + Sync + 'static {
    let local = local.clone();
    move |tx, moving| work(local.clone(), tx, moving)
}

/// What happens in the database of transfers.
pub(crate) struct Local<R> {
    pub(crate) repository: Arc<R>,
    pub(crate) topics: Topics,
    pub(crate) limits: CurrentLimits,
    pub(crate) metrics: metric::Registry,
}

/// Has every series be there from the start, so that a rule sees the first of them.
pub(crate) fn show_counters(metrics: &metric::Registry) {
    for by in [BY_AMOUNT, REFUSED] {
        unassessed(metrics, by);
    }
}

fn unassessed(metrics: &metric::Registry, by: &str) -> metric::Counter {
    let help = "Transfers that risk did not assess, and what was decided by instead.";
    metrics.counter("bank_transfers_unassessed_total", help, &[("by", by)])
}

impl<R: TransferRepository> Local<R> {
    /// Takes in what risk said. Where it does not answer, the amount alone decides; what it refuses to assess is denied.
    fn decide(&self, moving: &mut Moving, answer: Result<Risk, client::Error>) {
        let (risk, no) = match answer {
            Ok(risk) => (risk, "risk"),
            Err(error) => {
                let is_away = is_away(&error);
                let by = if is_away { BY_AMOUNT } else { REFUSED };
                tracing::warn!(transfer = moving.transfer.id, by, %error, "risk did not assess a transfer");
                unassessed(&self.metrics, by).increment();
                let is_small = moving.transfer.amount <= (self.limits)().unassessed;
                let decision = if is_away && is_small { Decision::Allow } else { Decision::Deny };
                let no = if is_away { "risk_unavailable" } else { "risk" };
                (Risk { decision, score: None, by: by.to_owned() }, no)
            }
        };
        moving.no = (risk.decision == Decision::Deny).then(|| no.to_owned());
        moving.transfer.risk = Some(risk);
    }

    /// Takes what is held from what may go out of the account that day.
    fn spend<'a>(self: Arc<Self>, tx: &'a mut Tx<R::Db>, moving: &'a mut Moving) -> Step<'a> {
        Box::pin(async move {
            if moving.no.is_some() {
                return Ok(());
            }
            let Transfer { from, amount, .. } = &moving.transfer;
            let per_day = (self.limits)().per_day;
            moving.is_spent = self.repository.spend(tx, from, moving.day(), *amount, per_day).await?;
            moving.no = (!moving.is_spent).then(|| DAY_LIMIT.to_owned());
            Ok(())
        })
    }

    /// Counts what is not moved no more.
    fn give_back<'a>(self: Arc<Self>, tx: &'a mut Tx<R::Db>, moving: &'a mut Moving) -> Step<'a> {
        Box::pin(async move {
            if std::mem::take(&mut moving.is_spent) {
                let Transfer { from, amount, .. } = &moving.transfer;
                self.repository.give_back(tx, from, moving.day(), *amount).await?;
            }
            Ok(())
        })
    }

    /// The end where no money is moved.
    fn close<'a>(self: Arc<Self>, tx: &'a mut Tx<R::Db>, moving: &'a mut Moving) -> Step<'a> {
        Box::pin(async move {
            let (state, reason) = match &moving.no {
                Some(no) => (State::Declined, no.as_str()),
                None => (State::Failed, "out_of_time"),
            };
            self.end(tx, moving, state, Some(reason)).await
        })
    }

    /// The end where no money is moved, of a transfer that was counted as it began. Whoever began it may have noted that
    /// nowhere: it was, unless it was too much.
    fn close_counted<'a>(self: Arc<Self>, tx: &'a mut Tx<R::Db>, moving: &'a mut Moving) -> Step<'a> {
        Box::pin(async move {
            moving.is_spent = moving.no.as_deref() != Some(DAY_LIMIT);
            self.clone().give_back(tx, moving).await?;
            self.close(tx, moving).await
        })
    }

    /// The end where the money is moved.
    fn settle<'a>(self: Arc<Self>, tx: &'a mut Tx<R::Db>, moving: &'a mut Moving) -> Step<'a> {
        Box::pin(async move { self.end(tx, moving, State::Settled, None).await })
    }

    /// Keeps how a transfer ended, and publishes it in the same transaction.
    async fn end(
        &self,
        tx: &mut Tx<R::Db>,
        moving: &Moving,
        state: State,
        reason: Option<&str>,
    ) -> Result<(), StepError> {
        let Transfer { id, from, to, amount, currency, risk, .. } = &moving.transfer;
        self.repository.end(tx, id, &End { state, reason, risk: risk.as_ref() }).await?;
        let told = Told {
            id,
            from,
            to,
            amount: *amount,
            currency: currency.as_str(),
            state,
            reason,
            at_unix_ms: moving.asked_at_ms,
        };
        let topic = if state == State::Settled { &self.topics.settled } else { &self.topics.declined };
        // Whoever follows counts one transfer at a time: the order among those of one account is no matter, and would
        // have each wait for the one before.
        let message = topic.message(&told).key(id).into_message()?;
        sql::publish(tx, topic.name(), message).await?;
        Ok(())
    }
}
