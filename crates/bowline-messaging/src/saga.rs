//! A saga: steps that are done one after the other, or undone in reverse order. The transition table.
//!
//! A saga is *acting* on one of its steps until the last one is *done*. When a step says no, or its time or that of the
//! whole saga is over, the saga is *undoing*: every step that did or may have acted, the last one first, until it is
//! *compensated*. What it has done is never undone once it is done, and undoing is tried for ever.
//! From a step on that may be said to be final nothing is given up: there is only forward.
//!
//! The state is kept before what follows of it is brought about, with two exceptions that share one commit: what is
//! *local*, in the database that keeps the state. Whoever begins anew [resumes](Event::Resume) with the last state that
//! was kept. Times are milliseconds since 1970.

use crate::delivery::{Moment, Policy};

/// What a saga does, and how long it tries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Its steps, in their order; at least one.
    pub steps: Vec<StepPlan>,
    /// The first step from which on there is only forward: neither it nor one behind it is given up, whatever time it
    /// is, and a "no" is a try that failed. None where there is no such step.
    pub forward_from: Option<usize>,
    /// How undoing is tried: after `attempts_max` tries it is [stuck](Phase::is_stuck), and tried on.
    pub undo: Policy,
}

/// How long a step is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StepPlan {
    /// Whether a try that did not succeed left nothing behind, as a transaction does.
    pub is_local: bool,
    /// For how long it is tried, since its first try.
    pub within_ms: i64,
    /// How often, and when, it is tried.
    pub retry: Policy,
}

/// Where a saga is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Saga {
    /// When its steps have to be done; after that they are undone.
    pub deadline: i64,
    /// What it is at.
    pub phase: Phase,
}

/// What a saga is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A step is done; all before it are.
    Acting {
        /// Which.
        step: usize,
        /// Since when.
        since: i64,
        /// How many tries failed.
        attempts: u32,
        /// When it is tried next.
        due: i64,
        /// Whether a try before may have acted.
        is_unsure: bool,
    },
    /// A step is undone; all after it are, or never acted.
    Undoing {
        /// Which.
        step: usize,
        /// How many tries failed.
        attempts: u32,
        /// When it is tried next.
        due: i64,
    },
    /// Every step is done.
    Done,
    /// Every step that did or may have acted is undone.
    Compensated,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Somebody begins to work on the saga, and nobody did so since its state was kept; or time passed.
    Look,
    /// Somebody works on it who cannot know what was tried since its state was kept.
    Resume,
    /// The step is done.
    Acted {
        /// Which.
        step: usize,
    },
    /// A try of the step failed.
    Failed {
        /// Which.
        step: usize,
    },
    /// The step said no: it has not acted, and will not.
    Refused {
        /// Which.
        step: usize,
    },
    /// The step is undone.
    Undone {
        /// Which.
        step: usize,
    },
    /// A try to undo the step failed.
    NotUndone {
        /// Which.
        step: usize,
    },
    /// Somebody wants the next try at once.
    Retry,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Effect {
    /// The step is to be tried.
    Act {
        /// Which.
        step: usize,
    },
    /// The step is to be undone.
    Undo {
        /// Which.
        step: usize,
    },
    /// Nothing, until then.
    Wait {
        /// When to look again.
        until: i64,
    },
    /// Nothing any more.
    Ended,
    /// Whoever says this is behind; nothing changed.
    Stale,
}

impl Phase {
    /// Whether nothing will change any more.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Compensated)
    }

    /// Whether undoing has failed so often that somebody has to look at it.
    pub fn is_stuck(self, plan: &Plan) -> bool {
        matches!(self, Self::Undoing { attempts, .. } if attempts >= plan.undo.attempts_max)
    }
}

impl Plan {
    /// Whether a step is not given up any more.
    fn is_forward(&self, step: usize) -> bool {
        self.forward_from.is_some_and(|from| step >= from)
    }
}

impl Saga {
    /// A saga that begins.
    pub fn begin(now: i64, deadline: i64) -> Self {
        Self { deadline, phase: acting(0, now) }
    }

    /// When the step under way is given up, if ever.
    pub fn gives_up_at(&self, plan: &Plan) -> Option<i64> {
        let Phase::Acting { step, since, .. } = self.phase else { return None };
        if plan.is_forward(step) {
            return None;
        }
        let within = plan.steps.get(step).map_or(0, |step| step.within_ms);
        Some(since.saturating_add(within).min(self.deadline))
    }

    /// The table.
    pub fn step(self, plan: &Plan, event: Event, moment: Moment) -> (Self, Effect) {
        let Some(phase) = self.next(plan, event, moment) else { return (self, Effect::Stale) };
        Self { phase, ..self }.look(plan, moment.now)
    }

    fn next(self, plan: &Plan, event: Event, moment: Moment) -> Option<Phase> {
        let now = moment.now;
        let is_local = |step: usize| plan.steps.get(step).is_none_or(|step| step.is_local);
        Some(match (self.phase, event) {
            (Phase::Acting { step, since, attempts, due, is_unsure }, Event::Resume) => {
                Phase::Acting { step, since, attempts, due, is_unsure: is_unsure || !is_local(step) }
            }
            (Phase::Acting { step, .. }, Event::Acted { step: done }) if step == done => {
                if step + 1 < plan.steps.len() { acting(step + 1, now) } else { Phase::Done }
            }
            (Phase::Acting { step, is_unsure, .. }, Event::Refused { step: no })
                if step == no && !plan.is_forward(step) =>
            {
                given_up(step, is_unsure, now)
            }
            (
                Phase::Acting { step, since, attempts, is_unsure, .. },
                Event::Failed { step: failed } | Event::Refused { step: failed },
            ) if step == failed => {
                let attempts = attempts.saturating_add(1);
                let is_unsure = is_unsure || !is_local(step);
                let retry = plan.steps.get(step)?.retry;
                if attempts >= retry.attempts_max && !plan.is_forward(step) {
                    given_up(step, is_unsure, now)
                } else {
                    let due = now.saturating_add(retry.wait_ms(attempts, moment.luck));
                    Phase::Acting { step, since, attempts, due, is_unsure }
                }
            }
            (Phase::Undoing { step, .. }, Event::Undone { step: undone }) if step == undone => {
                undoing_before(step, now)
            }
            (Phase::Undoing { step, attempts, .. }, Event::NotUndone { step: failed }) if step == failed => {
                let attempts = attempts.saturating_add(1);
                let due = now.saturating_add(plan.undo.wait_ms(attempts, moment.luck));
                Phase::Undoing { step, attempts, due }
            }
            // Whoever tried it may be gone in the middle of it.
            (Phase::Acting { step, since, attempts, is_unsure, .. }, Event::Retry) => {
                let is_unsure = is_unsure || !is_local(step);
                Phase::Acting { step, since, attempts, due: now, is_unsure }
            }
            (Phase::Undoing { step, attempts, .. }, Event::Retry) => Phase::Undoing { step, attempts, due: now },
            (phase, Event::Look | Event::Resume | Event::Retry) => phase,
            (
                _,
                Event::Acted { .. }
                | Event::Failed { .. }
                | Event::Refused { .. }
                | Event::Undone { .. }
                | Event::NotUndone { .. },
            ) => return None,
        })
    }

    /// What is to be done now; gives up what is over its time.
    fn look(self, plan: &Plan, now: i64) -> (Self, Effect) {
        match self.phase {
            Phase::Acting { step, due, is_unsure, .. } => {
                let limit = self.gives_up_at(plan).unwrap_or(i64::MAX);
                if now >= limit {
                    return Self { phase: given_up(step, is_unsure, now), ..self }.look(plan, now);
                }
                (self, if due > now { Effect::Wait { until: due.min(limit) } } else { Effect::Act { step } })
            }
            Phase::Undoing { due, .. } if due > now => (self, Effect::Wait { until: due }),
            Phase::Undoing { step, .. } => (self, Effect::Undo { step }),
            Phase::Done | Phase::Compensated => (self, Effect::Ended),
        }
    }
}

fn acting(step: usize, now: i64) -> Phase {
    Phase::Acting { step, since: now, attempts: 0, due: now, is_unsure: false }
}

fn given_up(step: usize, is_unsure: bool, now: i64) -> Phase {
    if is_unsure { Phase::Undoing { step, attempts: 0, due: now } } else { undoing_before(step, now) }
}

fn undoing_before(step: usize, now: i64) -> Phase {
    match step.checked_sub(1) {
        Some(step) => Phase::Undoing { step, attempts: 0, due: now },
        None => Phase::Compensated,
    }
}

#[cfg(test)]
mod tests;
