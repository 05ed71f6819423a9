//! Moving money, as a saga: risk is asked, the money is held, then captured; or what was held is free again.
//!
//! What is captured is never taken back: from there on it is tried until it is done. A "no" is kept by the step that
//! was given it, and acted upon by the local step behind it, so that it is known when everything is undone.

use std::{sync::Arc, time::Duration};

use bowline::{
    Topic, client,
    runtime::BoxFuture,
    sql::{self, Definition, StepError, Tx},
};
use serde::{Deserialize, Serialize};

use crate::{
    callees::{Accounts, Held, Risks},
    limits::{CurrentLimits, Limits},
    repository::{End, TransferRepository},
    transfer::{Decision, Risk, State, Transfer},
};

/// The name of the saga.
pub(crate) const NAME: &str = "transfer";

/// How long account may be away before a transfer fails, of which nothing is captured yet.
pub(crate) const HOLD_WITHIN: Duration = Duration::from_mins(1);

/// How long it is tried to capture what is held: until it is done.
const CAPTURE_WITHIN: Duration = Duration::from_hours(24 * 365);

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
}

impl Moving {
    fn day(&self) -> i64 {
        self.asked_at_ms.div_euclid(DAY_MS)
    }
}

/// Why a transfer is more than goes out of an account on one day.
const DAY_LIMIT: &str = "day_limit";

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

/// The steps.
pub(crate) fn definition<R: TransferRepository>(
    local: &Arc<Local<R>>,
    account: &Arc<impl Accounts + 'static>,
    risk: &Arc<impl Risks + 'static>,
    hold_within: Duration,
) -> Definition<R::Db, Moving> {
    let step = |work: Work<R>| step(local, work);
    let (risk, limits) = (risk.clone(), local.limits.clone());
    let (hold, release, capture) = (account.clone(), account.clone(), account.clone());
    Definition::new(NAME)
        .local("open", step(Local::open))
        .undo_local(step(Local::close))
        .local("within-limits", |_tx, moving| agree(moving))
        .remote("assess", move |_id, moving| -> Step<'_> {
            let (risk, limits) = (risk.clone(), limits.clone());
            Box::pin(async move {
                let answer = risk.assess(moving).await;
                decide(moving, answer, &limits());
                Ok(())
            })
        })
        .local("allowed", |_tx, moving| agree(moving))
        .remote("hold", move |_id, moving| -> Step<'_> {
            let account = hold.clone();
            Box::pin(async move {
                if let Held::Refused(reason) = account.hold(moving).await? {
                    moving.no = Some(reason);
                }
                Ok(())
            })
        })
        .within(hold_within)
        // Also where it was refused: a request that was given up before that may still be on its way.
        .undo_remote(move |id, _moving| -> Step<'_> {
            let account = release.clone();
            Box::pin(async move { Ok(account.release(id).await?) })
        })
        .local("held", |_tx, moving| agree(moving))
        .remote("capture", move |id, _moving| -> Step<'_> {
            let account = capture.clone();
            Box::pin(async move { Ok(account.capture(id).await?) })
        })
        .within(CAPTURE_WITHIN)
        .local("settle", step(Local::settle))
}

/// Takes in what risk said. Where it cannot be asked, the amount alone decides.
fn decide(moving: &mut Moving, answer: Result<Risk, client::Error>, limits: &Limits) {
    let (risk, no) = match answer {
        Ok(risk) => (risk, "risk"),
        Err(error) => {
            tracing::warn!(transfer = moving.transfer.id, %error, "risk cannot be asked: the amount decides");
            let is_small = moving.transfer.amount <= limits.unassessed;
            let decision = if is_small { Decision::Allow } else { Decision::Deny };
            (Risk { decision, score: None, by: "amount".to_owned() }, "risk_unavailable")
        }
    };
    moving.no = (risk.decision == Decision::Deny).then(|| no.to_owned());
    moving.transfer.risk = Some(risk);
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
}

impl<R: TransferRepository> Local<R> {
    /// Takes the amount from what may go out of the account that day.
    fn open<'a>(self: Arc<Self>, tx: &'a mut Tx<R::Db>, moving: &'a mut Moving) -> Step<'a> {
        Box::pin(async move {
            let Transfer { from, amount, .. } = &moving.transfer;
            let per_day = (self.limits)().per_day;
            if !self.repository.spend(tx, from, moving.day(), *amount, per_day).await? {
                moving.no = Some(DAY_LIMIT.to_owned());
            }
            Ok(())
        })
    }

    /// The end where no money is moved.
    fn close<'a>(self: Arc<Self>, tx: &'a mut Tx<R::Db>, moving: &'a mut Moving) -> Step<'a> {
        Box::pin(async move {
            let Transfer { from, amount, .. } = &moving.transfer;
            if moving.no.as_deref() != Some(DAY_LIMIT) {
                self.repository.give_back(tx, from, moving.day(), *amount).await?;
            }
            let (state, reason) = match &moving.no {
                Some(no) => (State::Declined, no.as_str()),
                None => (State::Failed, "out_of_time"),
            };
            self.end(tx, moving, state, Some(reason)).await
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
        // What becomes of one account's transfers is told in order.
        let message = topic.message(&told).key(from).into_message()?;
        sql::publish(tx, topic.name(), message).await?;
        Ok(())
    }
}
