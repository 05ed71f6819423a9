//! The breaker's transition table: `step(state, event, now) -> (state, effects)`, and its diagram.
//!
//! Pure: no clock, no lock. [`Breaker`](super::Breaker) runs it behind a short mutex, the model
//! checker explores it exhaustively, and [`diagram`] draws it. What happens in the closed state
//! between two transitions (counting results) is the window's; its verdict arrives here as
//! [`Event::Tripped`]. Times are durations since the breaker was made.

use std::{fmt::Write as _, time::Duration};

use super::State;

/// The most a caller is told to wait when only a free probe, not time, is lacking.
const PROBE_WAIT_MAX: Duration = Duration::from_secs(1);

/// The numbers of the policy that the table needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) open_for: Duration,
    /// At least 1.
    pub(super) probes_max: u32,
    /// A probe that is out for longer is taken for lost once it stands in the way.
    pub(super) probe_timeout: Duration,
}

/// The breaker's whole state but for the window's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    /// Grows with each transition; a permit carries the epoch it was granted in.
    pub(super) epoch: u64,
    pub(super) phase: Phase,
    /// Probes out, those of earlier half-open phases included.
    pub(super) in_flight: u32,
    /// Probes of earlier epochs were taken for lost: they no longer hold a place.
    pub(super) valid_from: u64,
    /// When the newest probe, and so every one, has been out too long.
    pub(super) lapses_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Closed,
    Open { until: Duration },
    HalfOpen { successes: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Someone asks to make a call.
    Acquire,
    /// The window of that epoch has reached the failure rate.
    Tripped { epoch: u64 },
    /// A probe of that epoch came back.
    Returned { epoch: u64, result: ProbeResult },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ProbeResult {
    Success,
    Failure,
    Cancelled,
}

/// What the world is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effects {
    /// The answer to [`Event::Acquire`]; nothing else is answered.
    pub(super) answer: Option<Answer>,
    /// The closed state begins anew, and with it the window.
    pub(super) clears_window: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The permit is of the machine's epoch, and a probe if it is half open.
    Granted,
    Rejected {
        retry_after: Duration,
    },
}

impl Rules {
    /// What a caller is told to wait when a free probe, not time, is lacking.
    pub(super) fn probe_wait(&self) -> Duration {
        self.open_for.min(PROBE_WAIT_MAX)
    }
}

impl Effects {
    const NONE: Self = Self { answer: None, clears_window: false };

    fn answer(answer: Answer) -> Self {
        Self { answer: Some(answer), ..Self::NONE }
    }
}

impl Machine {
    pub(super) const START: Self =
        Self { epoch: 0, phase: Phase::Closed, in_flight: 0, valid_from: 0, lapses_at: Duration::ZERO };

    /// The transition table.
    pub(super) fn step(self, rules: &Rules, event: Event, now: Duration) -> (Self, Effects) {
        match event {
            Event::Acquire => self.elapse(rules, now).acquire(rules, now),
            Event::Tripped { epoch } if epoch == self.epoch && self.phase == Phase::Closed => {
                (self.open(now.saturating_add(rules.open_for)), Effects::NONE)
            }
            Event::Tripped { .. } => (self, Effects::NONE),
            Event::Returned { epoch, result } => self.returned(rules, epoch, result, now),
        }
    }

    /// What time alone has changed by `now`.
    pub(super) fn elapse(mut self, rules: &Rules, now: Duration) -> Self {
        if self.is_full(rules) && now >= self.lapses_at {
            // Every probe is out for too long: a failure, told by its silence, from when it was due.
            if matches!(self.phase, Phase::HalfOpen { .. }) {
                self = self.open(self.lapses_at.saturating_add(rules.open_for));
            }
            self.in_flight = 0;
            self.valid_from = self.epoch;
        }
        match self.phase {
            Phase::Open { until } if now >= until && !self.is_full(rules) => {
                self.enter(Phase::HalfOpen { successes: 0 })
            }
            _ => self,
        }
    }

    /// The first moment at which [`Event::Acquire`] is granted if nothing else happens before.
    pub(super) fn ready_at(&self, rules: &Rules) -> Duration {
        match (self.phase, self.is_full(rules)) {
            (Phase::Closed, _) | (Phase::HalfOpen { .. }, false) => Duration::ZERO,
            (Phase::Open { until }, false) => until,
            (Phase::Open { until }, true) => until.max(self.lapses_at),
            (Phase::HalfOpen { .. }, true) => self.lapses_at.saturating_add(rules.open_for),
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn acquire(mut self, rules: &Rules, now: Duration) -> (Self, Effects) {
        match self.phase {
            Phase::Closed => (self, Effects::answer(Answer::Granted)),
            Phase::HalfOpen { .. } if !self.is_full(rules) => {
                self.in_flight += 1;
                self.lapses_at = now.saturating_add(rules.probe_timeout);
                (self, Effects::answer(Answer::Granted))
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => {
                let retry_after = self.retry_after(rules, now);
                (self, Effects::answer(Answer::Rejected { retry_after }))
            }
        }
    }

    fn returned(mut self, rules: &Rules, epoch: u64, result: ProbeResult, now: Duration) -> (Self, Effects) {
        if epoch >= self.valid_from {
            assert!(self.in_flight > 0, "a probe came back that was not out");
            self.in_flight -= 1;
        }
        let successes = match self.phase {
            Phase::HalfOpen { successes } if epoch == self.epoch => successes,
            // The result of an earlier state only frees its place.
            _ => return (self, Effects::NONE),
        };
        match result {
            ProbeResult::Cancelled => (self, Effects::NONE),
            ProbeResult::Failure => (self.open(now.saturating_add(rules.open_for)), Effects::NONE),
            ProbeResult::Success if successes + 1 < rules.probes_max => {
                self.phase = Phase::HalfOpen { successes: successes + 1 };
                (self, Effects::NONE)
            }
            ProbeResult::Success => (self.enter(Phase::Closed), Effects { clears_window: true, ..Effects::NONE }),
        }
    }

    /// How long a rejected caller is told to wait: until the open state ends, else a moment.
    fn retry_after(&self, rules: &Rules, now: Duration) -> Duration {
        match self.phase {
            Phase::Open { until } if now < until => until.saturating_sub(now),
            _ => rules.probe_wait(),
        }
    }

    fn open(self, until: Duration) -> Self {
        self.enter(Phase::Open { until })
    }

    fn enter(self, phase: Phase) -> Self {
        Self { epoch: self.epoch + 1, phase, ..self }
    }

    fn is_full(&self, rules: &Rules) -> bool {
        self.in_flight >= rules.probes_max
    }
}

/// The transition table as a Mermaid state diagram, drawn by running it.
///
/// `docs/breaker.md` holds the same text.
pub fn diagram() -> String {
    const SECOND: Duration = Duration::from_secs(1);
    let rules = Rules { open_for: SECOND, probes_max: 2, probe_timeout: SECOND * 60 };
    let at = |phase, in_flight| Machine { epoch: 9, phase, in_flight, valid_from: 0, lapses_at: SECOND * 60 };
    let closed = at(Phase::Closed, 0);
    let open = at(Phase::Open { until: SECOND }, 0);
    let half_open = |successes, in_flight| at(Phase::HalfOpen { successes }, in_flight);
    let returned = |result| Event::Returned { epoch: 9, result };
    let stale = Event::Returned { epoch: 7, result: ProbeResult::Failure };
    let (early, late) = (Duration::ZERO, SECOND * 61);
    let cases = [
        (closed, Event::Acquire, early, "acquire"),
        (closed, Event::Tripped { epoch: 9 }, early, "failure rate reached"),
        (open, Event::Acquire, early, "acquire before open_for is over"),
        (open, Event::Acquire, SECOND, "acquire after open_for"),
        (half_open(0, 1), Event::Acquire, early, "acquire while a probe is free"),
        (half_open(0, 2), Event::Acquire, early, "acquire while probes_max are out"),
        (half_open(0, 2), Event::Acquire, SECOND * 60, "acquire when all probes are overdue"),
        (half_open(0, 2), Event::Acquire, late, "acquire open_for after all probes were overdue"),
        (half_open(0, 2), returned(ProbeResult::Success), early, "probe succeeded"),
        (half_open(1, 2), returned(ProbeResult::Success), early, "probe succeeded as number probes_max"),
        (half_open(0, 2), returned(ProbeResult::Failure), early, "probe failed"),
        (half_open(0, 2), returned(ProbeResult::Cancelled), early, "probe cancelled"),
        (half_open(0, 2), stale, early, "result of an earlier state"),
    ];
    let mut text = "stateDiagram-v2\n    [*] --> Closed\n".to_owned();
    for (machine, event, now, label) in cases {
        let (next, effects) = machine.step(&rules, event, now);
        let effect = match effects.answer {
            Some(Answer::Granted) => " / grant",
            Some(Answer::Rejected { .. }) => " / reject",
            None if effects.clears_window => " / clear the window",
            None => "",
        };
        writeln!(text, "    {:?} --> {:?}: {label}{effect}", machine.state(), next.state())
            .expect("a String takes any text");
    }
    text
}

#[cfg(test)]
mod tests;
