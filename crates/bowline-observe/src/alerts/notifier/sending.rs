//! One notification: kept that it is sent, tried until it arrives or the next one is due, kept what came of it.

use std::time::Duration;

use bowline_model::error::chain;
use bowline_runtime::{drain::Drain, rand, time};

use super::{
    ATTEMPT_MAX, Notifier, Outcome, deadline,
    state::{GroupId, Plan},
};
use crate::alerts::webhook::{Answer, PostError};

/// The first wait between two attempts; each is twice the one before, up to the longest, less up to a half of it.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_mins(1);

impl Notifier {
    /// Tells a group's receiver what there is to tell.
    pub(super) async fn flush(&self, group: &GroupId, drain: Drain) {
        let began = time::now();
        if let Some(plan) = self.plan(group).await {
            self.keep("before a notification").await;
            let outcome = self.send_until(&plan, deadline(began, plan.interval), drain).await;
            self.say(&group.0, &outcome);
            self.state().conclude(&plan, &outcome, self.now_ms());
        }
        self.state().rest(group, began);
        self.keep("after a notification").await;
    }

    /// What there is to tell; none: nothing, or it is not known where to.
    async fn plan(&self, group: &GroupId) -> Option<Plan> {
        let target = self.state().target(group)?;
        let Err(error) = target.find().await else {
            return self.state().plan(group, &self.0.parts.external_url, self.now_ms());
        };
        let mut state = self.state();
        if state.note_unset(group, &error, self.now_ms()) && state.changes(&group.0, Some(&error)) {
            tracing::warn!(receiver = group.0, error, "nobody is told: it is not known where the receiver is");
        }
        None
    }

    /// Says once that a receiver is not reached, and why, until that changes: each notification is in the ledger.
    fn say(&self, receiver: &str, outcome: &Outcome) {
        let error = outcome.failed.as_ref().map(|(error, _)| error.as_str());
        if !self.state().changes(receiver, error) {
            return;
        }
        if let Some(error) = error {
            tracing::warn!(receiver, attempts = outcome.attempts, error, "notification failed");
        } else {
            tracing::info!(receiver, "notifications arrive again");
        }
    }

    /// People are told also where it cannot be kept that they were: they may be told twice then.
    async fn keep(&self, when: &'static str) {
        if let Err(error) = self.0.parts.journal.commit().await {
            tracing::warn!(when, error = %chain(&error), "the state of alerts was not kept");
        }
    }

    async fn send_until(&self, plan: &Plan, until: time::Instant, mut drain: Drain) -> Outcome {
        let mut is_certain = true;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let left = until.saturating_duration_since(time::now()).max(Duration::from_secs(1));
            let timeout = left.min(ATTEMPT_MAX);
            let posted = self.0.parts.post.post(&plan.target, plan.body.clone(), timeout);
            let answer = time::timeout(timeout, posted).await.unwrap_or_else(|_| {
                Err(PostError { reason: format!("there was no answer in {timeout:?}"), is_certain: false })
            });
            let (reason, retry_after, is_final) = match judge(answer) {
                Verdict::Taken => return Outcome { attempts, failed: None },
                Verdict::Failed { reason, is_certain: certain, retry_after, is_final } => {
                    is_certain &= certain;
                    (reason, retry_after, is_final)
                }
            };
            let wait = retry_after.unwrap_or_else(|| backoff(attempts));
            let is_over = is_final || time::now() + wait >= until || drain.is_draining();
            if is_over || drain.or_drain(time::sleep(wait)).await.is_none() {
                return Outcome { attempts, failed: Some((reason, is_certain)) };
            }
        }
    }
}

enum Verdict {
    Taken,
    Failed { reason: String, is_certain: bool, retry_after: Option<Duration>, is_final: bool },
}

fn judge(answer: Result<Answer, PostError>) -> Verdict {
    match answer {
        Ok(Answer { status: 200..=299, .. }) => Verdict::Taken,
        Ok(Answer { status, retry_after, text }) => {
            let said = if text.is_empty() { String::new() } else { format!(": {text}") };
            let is_final = !matches!(status, 408 | 425 | 429 | 500..);
            // Who failed while it worked, or a proxy that lost the answer, may have told people.
            let is_certain = status < 500 || status == 503;
            Verdict::Failed { reason: format!("it answered {status}{said}"), is_certain, retry_after, is_final }
        }
        Err(PostError { reason, is_certain }) => {
            Verdict::Failed { reason, is_certain, retry_after: None, is_final: false }
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    let full = WAIT_MIN.saturating_mul(1 << (attempts - 1).min(10)).min(WAIT_MAX);
    full.mul_f64(1.0 - rand::unit() / 2.0)
}
