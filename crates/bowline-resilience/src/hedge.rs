//! Hedging: a call that is not answered yet is sent once more, and the first good answer counts.
//!
//! For requests that may be sent twice only. Further attempts are paid for by a budget of their own, so that a callee
//! that is slow to all is not asked twice by all. The transition table is drawn in `docs/hedge.md`.
//!
//! - A further attempt is sent each time that `after` has passed without a good answer, up to `attempts_max` at a time,
//!   as long as the budget grants it. Once it does not, no further one is sent of this call.
//! - An attempt that fails leaves the race; the others go on. When none is left the last failure counts: to try again is
//!   the matter of [`crate::retry`].
//! - Attempts that are not needed any more are dropped: what they were at is cancelled.
//!
//! Source: J. Dean, L. A. Barroso, "The Tail at Scale", CACM 56(2), 2013 (hedged requests, with a delay and a bound on the
//! additional load).

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bowline_model::policy::{HEDGED_MAX, HedgePolicy};
use bowline_runtime::time::{self, Duration, Instant, Sleep};

use crate::retry::Budget;

/// Sends calls once more where they are not answered in time. One for each callee, shared by all cores.
#[derive(Debug)]
pub struct Hedge {
    after: Duration,
    attempts_max: u32,
    budget: Budget,
}

/// One call's attempts: the transition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Race {
    attempts_max: u32,
    sent: u32,
    failed: u32,
    /// No further attempt is sent.
    is_closed: bool,
}

/// What happens in a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The time after which a further attempt is due has passed; whether the budget grants it.
    Due {
        /// Taken out of the budget.
        is_granted: bool,
    },
    /// An attempt was answered well.
    Good,
    /// An attempt failed.
    Bad,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// To wait for answers.
    Wait,
    /// To send a further attempt.
    Send,
    /// The answer counts, and the others are dropped.
    Won,
    /// The failure counts: it was the last.
    Lost,
}

impl Race {
    /// A race whose first attempt is sent.
    pub fn new(attempts_max: u32) -> Self {
        Self { attempts_max: attempts_max.clamp(1, HEDGED_MAX), sent: 1, failed: 0, is_closed: false }
    }

    /// Attempts that were sent.
    pub fn sent(self) -> u32 {
        self.sent
    }

    /// Whether a further attempt may become due, so that a timer is worth its while.
    #[inline]
    pub fn is_open(self) -> bool {
        !self.is_closed && self.sent < self.attempts_max
    }

    /// The transition table.
    #[must_use]
    pub fn step(self, event: Event) -> (Self, Step) {
        match event {
            Event::Due { is_granted: true } if self.is_open() => (Self { sent: self.sent + 1, ..self }, Step::Send),
            Event::Due { .. } => (Self { is_closed: true, ..self }, Step::Wait),
            Event::Good => (Self { is_closed: true, ..self }, Step::Won),
            Event::Bad => {
                let race = Self { failed: self.failed + 1, ..self };
                if race.failed < race.sent {
                    (race, Step::Wait)
                } else {
                    (Self { is_closed: true, ..race }, Step::Lost)
                }
            }
        }
    }
}

impl Hedge {
    /// Hedging by that policy, with a budget that nothing was taken from.
    pub fn new(policy: &HedgePolicy) -> Self {
        let HedgePolicy { after, attempts_max, budget } = policy;
        Self { after: *after, attempts_max: *attempts_max, budget: Budget::of(*budget) }
    }

    /// How long it is waited before each further attempt.
    pub fn after(&self) -> Duration {
        self.after
    }

    /// The race of a call whose first attempt is sent now; it is counted for the budget.
    #[inline]
    pub fn begin(&self, now: Instant) -> Race {
        self.deposit(now);
        Race::new(self.attempts_max)
    }

    /// Counts a call for the budget: once, however often it is tried.
    #[inline]
    pub(crate) fn deposit(&self, now: Instant) {
        self.budget.deposit(now);
    }

    /// A further attempt is due: takes it out of the budget where the race has room for one.
    pub fn due(&self, race: Race, now: Instant) -> (Race, Step) {
        let is_granted = race.is_open() && self.budget.try_withdraw(now);
        race.step(Event::Due { is_granted })
    }

    /// Makes the call and, where it is not answered in time, further ones; gives the first good answer, else the last.
    ///
    /// `make` gets the attempt's number, from 1. All attempts are polled in this one task and kept in the future itself,
    /// which has room for [`HEDGED_MAX`] of them: large ones are better boxed. Nothing is allocated, and the timer is armed
    /// only when the first attempt is not ready at once.
    ///
    /// # Cancel safety
    /// Dropping the future drops all attempts.
    pub async fn call<F: Future>(
        &self,
        now: Instant,
        make: impl FnMut(u32) -> F,
        is_good: impl FnMut(&F::Output) -> bool,
    ) -> F::Output {
        self.deposit(now);
        self.race(make, is_good).await
    }

    /// As [`Hedge::call`], of a try of a call that was counted before.
    pub(crate) async fn race<F: Future>(
        &self,
        mut make: impl FnMut(u32) -> F,
        mut is_good: impl FnMut(&F::Output) -> bool,
    ) -> F::Output {
        let mut race = Race::new(self.attempts_max);
        let (first, second, third) = (pin!(Some(make(1))), pin!(None), pin!(None));
        let (fourth, fifth) = (pin!(None), pin!(None));
        let mut attempts: Attempts<'_, F> = [first, second, third, fourth, fifth];
        let mut timer = pin!(None);
        poll_fn(|cx| {
            loop {
                if let Some(output) = poll_attempts(&mut attempts, &mut race, &mut is_good, cx) {
                    return Poll::Ready(output);
                }
                if !self.poll_due(&mut race, timer.as_mut(), cx) {
                    return Poll::Pending;
                }
                let sent = race.sent();
                attempts[sent as usize - 1].set(Some(make(sent)));
            }
        })
        .await
    }

    /// Whether a further attempt is to be sent now.
    fn poll_due(&self, race: &mut Race, mut timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> bool {
        while race.is_open() {
            match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                None => timer.set(Some(time::sleep(self.after))),
                Some(Poll::Pending) => return false,
                Some(Poll::Ready(())) => {
                    timer.set(None);
                    let (next, step) = self.due(*race, time::now());
                    *race = next;
                    if step == Step::Send {
                        return true;
                    }
                }
            }
        }
        false
    }
}

/// A place for each attempt there may be.
type Attempts<'a, F> = [Pin<&'a mut Option<F>>; HEDGED_MAX as usize];

/// What counts, once it is there.
fn poll_attempts<F: Future>(
    attempts: &mut Attempts<'_, F>,
    race: &mut Race,
    is_good: &mut impl FnMut(&F::Output) -> bool,
    cx: &mut Context<'_>,
) -> Option<F::Output> {
    for attempt in attempts {
        let Some(Poll::Ready(output)) = attempt.as_mut().as_pin_mut().map(|future| future.poll(cx)) else { continue };
        attempt.set(None);
        let (next, step) = race.step(if is_good(&output) { Event::Good } else { Event::Bad });
        *race = next;
        if matches!(step, Step::Won | Step::Lost) {
            return Some(output);
        }
    }
    None
}

#[cfg(test)]
mod tests;
