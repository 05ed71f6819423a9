//! One saga, worked on: its steps are run as the table says, and what came of them is kept.

use std::{panic::AssertUnwindSafe, time::Duration};

use bowline_messaging::{
    delivery::Moment,
    saga::{Effect, Event, Phase as At, Saga},
};
use bowline_runtime::{rand, time};
use bowline_telemetry::{Span, SpanKind, current, names};
use futures_util::FutureExt as _;

use super::{
    DATA_BYTES_MAX, Shared,
    definition::{Erased, Run, StepError},
    info::{FAILURE_BYTES_MAX, Happened, What},
    row::{Kept, Stored},
};
use crate::{
    Error,
    db::{Db, Query, Tx, begin},
    ms, now_ms,
    relay::chain,
    trace,
};

/// How often it is tried at once to keep what a remote step did; after that, the step is done again.
const KEEP_ATTEMPTS_MAX: u32 = 5;

/// How long after a lease could not be renewed that is tried again.
const RENEW_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The step that an effect is about, and whether it is undone.
fn subject(effect: Effect) -> Option<(usize, bool)> {
    match effect {
        Effect::Act { step } => Some((step, false)),
        Effect::Undo { step } => Some((step, true)),
        Effect::Wait { .. } | Effect::Ended | Effect::Stale => None,
    }
}

/// What a try came to, for the table.
fn event(step: usize, is_undo: bool, result: &Result<String, StepError>) -> Event {
    match (result, is_undo) {
        (Ok(_), false) => Event::Acted { step },
        (Ok(_), true) => Event::Undone { step },
        (Err(StepError::Abort(_)), false) => Event::Refused { step },
        (Err(StepError::Retry(_)), false) => Event::Failed { step },
        (Err(_), true) => Event::NotUndone { step },
    }
}

impl<DB: Db> Erased<DB> {
    /// How the subject of an effect is brought about; none where nothing has to be.
    fn run(&self, effect: Effect) -> Option<&Run<DB>> {
        let (step, is_undo) = subject(effect)?;
        let step = self.steps.get(step)?;
        if is_undo { step.undo.as_ref() } else { Some(&step.act) }
    }

    /// Whether an effect is brought about in the transaction that keeps it.
    pub(super) fn is_local(&self, effect: Effect) -> bool {
        subject(effect).is_some() && !matches!(self.run(effect), Some(Run::Remote(_)))
    }

    /// The table, and what is told of it.
    pub(super) fn advance(&self, kept: &mut Kept, saga: Saga, event: Event, failure: Option<&str>) -> (Saga, Effect) {
        let at_ms = now_ms();
        let luck = u16::try_from(rand::below(usize::from(u16::MAX) + 1)).unwrap_or_default();
        let (next, effect) = saga.step(&self.plan, event, Moment { now: at_ms, luck });
        let (At::Acting { step, .. } | At::Undoing { step, .. }) = saga.phase else { return (next, effect) };
        if let Some(happened) = Happened::of(event, self.step_name(step), failure, at_ms) {
            kept.note(happened);
        }
        let was_acting = matches!(saga.phase, At::Acting { .. });
        if was_acting && matches!(next.phase, At::Undoing { .. } | At::Compensated) {
            if let Event::Refused { .. } = event {
                kept.reason = failure.map(str::to_owned);
            } else {
                let step = if matches!(event, Event::Acted { .. }) { step + 1 } else { step };
                let step = self.step_name(step).to_owned();
                let last = failure.map(|failure| format!(", at last: {failure}")).unwrap_or_default();
                kept.reason = Some(crate::cut(format!("`{step}` was not done in its time{last}"), FAILURE_BYTES_MAX));
                kept.note(Happened { at_ms, step, what: What::GaveUp, failure: None });
            }
        }
        if next.phase.is_stuck(&self.plan) && !saga.phase.is_stuck(&self.plan) {
            let step = self.step_name(step);
            tracing::error!(saga = kept.name, id = kept.id, step, "a saga is stuck: a step cannot be undone");
        }
        kept.at = Stored::of(next, self);
        (next, effect)
    }

    /// A try is over: what it says for the table, and the data that it left.
    fn take_in(
        &self,
        kept: &mut Kept,
        saga: Saga,
        effect: Effect,
        result: Result<String, StepError>,
    ) -> (Saga, Effect) {
        let Some((step, is_undo)) = subject(effect) else { return (saga, effect) };
        let result = result.and_then(|data| {
            let fits = data.len() <= DATA_BYTES_MAX;
            if fits { Ok(data) } else { Err(StepError::retry("its data have more than 1 MiB as JSON")) }
        });
        let event = event(step, is_undo, &result);
        let failure = match result {
            Ok(data) => {
                kept.data = data;
                None
            }
            Err(StepError::Abort(reason)) => Some(reason),
            Err(StepError::Retry(error)) => Some(chain(&*error)),
        };
        let failure = failure.map(|failure| crate::cut(failure, FAILURE_BYTES_MAX));
        if let Some(failure) = failure.as_ref().filter(|_| !matches!(event, Event::Refused { .. })) {
            let step = self.step_name(step);
            tracing::warn!(saga = kept.name, id = kept.id, step, is_undo, error = failure, "a step of a saga failed");
        }
        self.advance(kept, saga, event, failure.as_deref())
    }
}

impl<DB: Db> Shared<DB> {
    /// Works on a saga until it has ended, waits or is lost; the saga where it has ended.
    pub(super) async fn drive(
        &self,
        definition: &Erased<DB>,
        mut kept: Kept,
        saga: Saga,
        is_fresh: bool,
    ) -> Result<Option<Kept>, Error> {
        let event = if is_fresh { Event::Look } else { Event::Resume };
        let (mut now, mut effect) = definition.advance(&mut kept, saga, event, None);
        // An end that was decided elsewhere, as by a retry, is not kept as one yet.
        let mut is_kept = now == saga && effect != Effect::Ended;
        loop {
            // What was decided is kept before anything is begun elsewhere because of it.
            if !is_kept || definition.is_local(effect) {
                let Some(next) = self.settle(definition, &mut kept, now, effect).await? else { return Ok(None) };
                (now, effect) = next;
                if let Effect::Wait { .. } = effect {
                    // It was left to whoever comes as it was kept.
                    return Ok(None);
                }
                is_kept = true;
            }
            match effect {
                Effect::Ended => return Ok(Some(kept)),
                Effect::Wait { until } => {
                    let mut connection = self.pool.acquire().await?;
                    kept.release::<DB>(&mut connection, until).await?;
                    return Ok(None);
                }
                Effect::Stale => return Ok(None),
                Effect::Act { .. } | Effect::Undo { .. } if definition.is_local(effect) => {}
                Effect::Act { .. } | Effect::Undo { .. } => {
                    let Some(result) = self.remote(definition, &mut kept, now, effect).await? else { return Ok(None) };
                    (now, effect) = definition.take_in(&mut kept, now, effect, result);
                    is_kept = false;
                }
            }
        }
    }

    /// Keeps where the saga is, and brings about what is local, in one transaction; none where somebody else has it.
    async fn settle(
        &self,
        definition: &Erased<DB>,
        kept: &mut Kept,
        saga: Saga,
        effect: Effect,
    ) -> Result<Option<(Saga, Effect)>, Error> {
        let mut attempt = 1;
        loop {
            match self.try_settle(definition, kept.clone(), saga, effect).await {
                Ok(Some((now, effect, settled))) => {
                    *kept = settled;
                    self.committed();
                    return Ok(Some((now, effect)));
                }
                Ok(None) => return Ok(None),
                Err(error) if error.retryable() && attempt < KEEP_ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(error),
            }
            time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn try_settle(
        &self,
        definition: &Erased<DB>,
        mut kept: Kept,
        saga: Saga,
        effect: Effect,
    ) -> Result<Option<(Saga, Effect, Kept)>, Error> {
        let mut tx = begin(&self.pool).await?;
        let Some((saga, effect)) = self.settle_in(&mut tx, definition, &mut kept, saga, effect).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        tx.commit().await?;
        if effect == Effect::Ended {
            self.metrics.ended(&kept);
        }
        Ok(Some((saga, effect, kept)))
    }

    /// The same within a transaction.
    pub(super) async fn settle_in(
        &self,
        tx: &mut Tx<DB>,
        definition: &Erased<DB>,
        kept: &mut Kept,
        mut saga: Saga,
        mut effect: Effect,
    ) -> Result<Option<(Saga, Effect)>, Error> {
        while definition.is_local(effect) {
            let result = match definition.run(effect) {
                Some(Run::Local(run)) => {
                    let run = run.clone();
                    let (limit, mut span) = self.begin_try(definition, kept, saga, effect);
                    DB::run(tx, Query::new("SAVEPOINT bowline_step")).await?;
                    let result = tried(limit, current::scope(span.context(), run(tx, &kept.data))).await;
                    if result.is_err() {
                        DB::run(tx, Query::new("ROLLBACK TO SAVEPOINT bowline_step")).await?;
                    }
                    DB::run(tx, Query::new("RELEASE SAVEPOINT bowline_step")).await?;
                    end_try(&mut span, effect, &result);
                    result
                }
                _ => Ok(kept.data.clone()),
            };
            (saga, effect) = definition.take_in(kept, saga, effect, result);
        }
        let now = now_ms();
        kept.lease_ms = now.saturating_add(ms(self.settings.lease));
        match effect {
            Effect::Wait { until } => {
                (kept.owner, kept.lease_ms) = (None, 0);
                kept.at.wait_until(until);
            }
            Effect::Ended => (kept.owner, kept.lease_ms, kept.ended_ms) = (None, 0, Some(now)),
            Effect::Act { .. } | Effect::Undo { .. } | Effect::Stale => {}
        }
        Ok(kept.keep::<DB>(tx).await?.then_some((saga, effect)))
    }

    /// Tries a remote step, and stays the saga's owner meanwhile; none where it is not any more.
    async fn remote(
        &self,
        definition: &Erased<DB>,
        kept: &mut Kept,
        saga: Saga,
        effect: Effect,
    ) -> Result<Option<Result<String, StepError>>, Error> {
        let Some(Run::Remote(run)) = definition.run(effect) else { return Ok(None) };
        let run = run.clone();
        let (limit, mut span) = self.begin_try(definition, kept, saga, effect);
        let (id, data) = (kept.id.clone(), kept.data.clone());
        let trying = tried(limit, current::scope(span.context(), run(&id, &data)));
        // Beside it, not between: what is tried may need what renewing waits for, as a pool's last connection.
        tokio::select! {
            biased;
            result = trying => {
                end_try(&mut span, effect, &result);
                Ok(Some(result))
            }
            lost = self.keep_leased(kept) => {
                span.fail("another replica may have taken the saga over");
                lost.map(|()| None)
            }
        }
    }

    /// Renews the lease again and again, as long as it lasts; ends when it is another's, or over.
    async fn keep_leased(&self, kept: &mut Kept) -> Result<(), Error> {
        let lease = self.settings.lease;
        loop {
            let left = Duration::from_millis(u64::try_from(kept.lease_ms.saturating_sub(now_ms())).unwrap_or_default());
            let ends = time::now() + left;
            time::sleep(left.saturating_sub(lease * 2 / 3)).await;
            let until = loop {
                let until = now_ms().saturating_add(ms(lease));
                match time::timeout_at(ends, self.renew(kept, until)).await {
                    Ok(Ok(true)) => break until,
                    Ok(Ok(false)) | Err(_) => return Ok(()),
                    Ok(Err(error)) if error.retryable() && time::now() < ends => {}
                    Ok(Err(error)) => return Err(error),
                }
                time::sleep(RENEW_AGAIN_AFTER).await;
            };
            kept.lease_ms = until;
        }
    }

    async fn renew(&self, kept: &Kept, until: i64) -> Result<bool, Error> {
        let mut connection = self.pool.acquire().await?;
        kept.renew::<DB>(&mut connection, until).await
    }

    /// How long a try may take, and its span.
    fn begin_try(&self, definition: &Erased<DB>, kept: &Kept, saga: Saga, effect: Effect) -> (Duration, Span) {
        let (step, is_undo) = subject(effect).unwrap_or_default();
        let timeout = definition.steps.get(step).map_or(Duration::ZERO, |step| step.timeout);
        let left = saga.gives_up_at(&definition.plan).map_or(i64::MAX, |at| at.saturating_sub(now_ms()));
        let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
        let name = definition.step_name(step);
        let title =
            if is_undo { format!("saga {} undo {name}", kept.name) } else { format!("saga {} {name}", kept.name) };
        let parent = kept.traceparent.as_deref().and_then(trace::parse);
        let mut span = self.tracer.start(title, SpanKind::Internal, parent);
        span.set("bowline.saga", kept.name.clone());
        span.set("bowline.saga.id", kept.id.clone());
        span.set("bowline.saga.step", name.to_owned());
        (timeout.min(left), span)
    }
}

fn end_try(span: &mut Span, effect: Effect, result: &Result<String, StepError>) {
    let Some((step, is_undo)) = subject(effect) else { return };
    let happened = Happened::of(event(step, is_undo, result), "", None, 0);
    span.set(names::BOWLINE_OUTCOME, happened.map_or("", |happened| happened.what.as_str()));
    match result {
        Ok(_) => span.succeed(),
        // A no is an answer.
        Err(StepError::Abort(_)) if !is_undo => {}
        Err(StepError::Abort(reason)) => span.fail(reason.clone()),
        Err(StepError::Retry(error)) => span.fail(error.to_string()),
    }
}

/// What a try comes to within its time, whatever it does.
async fn tried(limit: Duration, run: impl Future<Output = Result<String, StepError>>) -> Result<String, StepError> {
    match time::timeout(limit, AssertUnwindSafe(run).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(StepError::retry("it panicked")),
        Err(_) => Err(StepError::retry(format!("it took longer than {limit:?}"))),
    }
}
