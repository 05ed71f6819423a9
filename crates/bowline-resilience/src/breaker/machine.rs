//! The breaker's transition table: `step(state, event, now) -> (state, effects)`, and its diagram.
//!
//! Pure: no clock, no lock. [`Breaker`](super::Breaker) runs it behind a short mutex, the model
//! checker explores it exhaustively, and [`diagram`] draws it. What happens in the closed state
//! between two transitions (counting results) is the window's; its verdict arrives here as
//! [`Event::Tripped`]. Times are durations since the breaker was made.

use std::{fmt::Write as _, time::Duration};

use bowline_model::policy::OpenFor;

use super::{Forced, Order, State};

/// The most a caller is told to wait when only a free probe, not time, is lacking.
const PROBE_WAIT_MAX: Duration = Duration::from_secs(1);

/// The numbers of the policy that the table needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) open_for: OpenFor,
    /// What the jitter of open times is drawn from; each breaker has its own.
    pub(super) seed: u64,
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
    /// How often it has opened in a row: since it was last closed for at least as long as it was open before.
    pub(super) trips: u32,
    /// When a time of being closed counts as recovery.
    pub(super) recovers_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Closed,
    Open {
        until: Duration,
    },
    HalfOpen {
        successes: u32,
    },
    /// An operator's word, until the next.
    Forced(Forced),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Someone asks to make a call.
    Acquire,
    /// The calls of that epoch have reached a rate, or so many failures in a row.
    Tripped { epoch: u64 },
    /// A probe of that epoch came back.
    Returned { epoch: u64, result: ProbeResult },
    /// An operator says how it is to be; [`Order::Reset`] lets it judge for itself again, closed.
    Ordered(Order),
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
        self.open_for.min.min(PROBE_WAIT_MAX)
    }

    /// How long it stays open that time in a row, counted from 1: the first time as written, then twice as long each
    /// time, up to the longest, less up to a quarter, so that callers who opened together do not probe together.
    pub(super) fn open_time(&self, trips: u32, epoch: u64) -> Duration {
        let OpenFor { min, max } = self.open_for;
        let doublings = trips.saturating_sub(1);
        if doublings == 0 || min == max {
            return min;
        }
        let grown = 2u32.checked_pow(doublings).and_then(|factor| min.checked_mul(factor)).unwrap_or(max).min(max);
        let quarter = u64::try_from(grown.as_nanos() / 4).unwrap_or(u64::MAX);
        let share = scattered(self.seed ^ epoch);
        let less = u64::try_from((u128::from(share) * u128::from(quarter)) >> 64).expect("below a quarter");
        grown.saturating_sub(Duration::from_nanos(less)).max(min)
    }
}

/// `SplitMix64`'s last step: neighbouring numbers are far apart. Source: G. Steele, D. Lea, C. Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014.
fn scattered(number: u64) -> u64 {
    let number = (number.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

impl Effects {
    const NONE: Self = Self { answer: None, clears_window: false };

    fn answer(answer: Answer) -> Self {
        Self { answer: Some(answer), ..Self::NONE }
    }
}

impl Machine {
    pub(super) const START: Self = Self {
        epoch: 0,
        phase: Phase::Closed,
        in_flight: 0,
        valid_from: 0,
        lapses_at: Duration::ZERO,
        trips: 0,
        recovers_at: Duration::ZERO,
    };

    /// The transition table.
    pub(super) fn step(self, rules: &Rules, event: Event, now: Duration) -> (Self, Effects) {
        match event {
            Event::Acquire => self.elapse(rules, now).acquire(rules, now),
            Event::Tripped { epoch } if epoch == self.epoch && self.phase == Phase::Closed => {
                let trips = if now >= self.recovers_at { 0 } else { self.trips };
                (Self { trips, ..self }.open(rules, now), Effects::NONE)
            }
            Event::Tripped { .. } => (self, Effects::NONE),
            Event::Returned { epoch, result } => self.returned(rules, epoch, result, now),
            Event::Ordered(order) => self.ordered(order),
        }
    }

    /// What time alone has changed by `now`.
    pub(super) fn elapse(mut self, rules: &Rules, now: Duration) -> Self {
        if self.is_full(rules) && now >= self.lapses_at {
            // Every probe is out for too long: a failure, told by its silence, from when it was due.
            if matches!(self.phase, Phase::HalfOpen { .. }) {
                self = self.open(rules, self.lapses_at);
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
            (Phase::Forced(Forced::Open), _) => Duration::MAX,
            (Phase::Closed | Phase::Forced(_), _) | (Phase::HalfOpen { .. }, false) => Duration::ZERO,
            (Phase::Open { until }, false) => until,
            (Phase::Open { until }, true) => until.max(self.lapses_at),
            (Phase::HalfOpen { .. }, true) => {
                self.lapses_at.saturating_add(rules.open_time(self.trips.saturating_add(1), self.epoch + 1))
            }
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Forced(Forced::Open) => State::ForcedOpen,
            Phase::Forced(Forced::Closed) => State::ForcedClosed,
            Phase::Forced(Forced::Disabled) => State::Disabled,
        }
    }

    fn acquire(mut self, rules: &Rules, now: Duration) -> (Self, Effects) {
        match self.phase {
            Phase::Closed | Phase::Forced(Forced::Closed | Forced::Disabled) => {
                (self, Effects::answer(Answer::Granted))
            }
            Phase::HalfOpen { .. } if !self.is_full(rules) => {
                self.in_flight += 1;
                self.lapses_at = now.saturating_add(rules.probe_timeout);
                (self, Effects::answer(Answer::Granted))
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Forced(Forced::Open) => {
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
            ProbeResult::Failure => (self.open(rules, now), Effects::NONE),
            ProbeResult::Success if successes + 1 < rules.probes_max => {
                self.phase = Phase::HalfOpen { successes: successes + 1 };
                (self, Effects::NONE)
            }
            ProbeResult::Success => {
                let recovers_at = now.saturating_add(rules.open_time(self.trips, self.epoch));
                let closed = Self { recovers_at, ..self.enter(Phase::Closed) };
                (closed, Effects { clears_window: true, ..Effects::NONE })
            }
        }
    }

    /// An operator's word: what was counted before it counts no longer, and probes that are out keep their places.
    fn ordered(self, order: Order) -> (Self, Effects) {
        let phase = match order {
            Order::Force(forced) => Phase::Forced(forced),
            Order::Reset => Phase::Closed,
        };
        let machine = Self { trips: 0, recovers_at: Duration::ZERO, ..self.enter(phase) };
        (machine, Effects { clears_window: true, ..Effects::NONE })
    }

    /// How long a rejected caller is told to wait: until the open state ends, else a moment.
    fn retry_after(&self, rules: &Rules, now: Duration) -> Duration {
        match self.phase {
            Phase::Open { until } if now < until => until.saturating_sub(now),
            _ => rules.probe_wait(),
        }
    }

    /// Opens at that time, for longer where it did before.
    fn open(self, rules: &Rules, at: Duration) -> Self {
        let trips = self.trips.saturating_add(1);
        let until = at.saturating_add(rules.open_time(trips, self.epoch + 1));
        Self { trips, ..self }.enter(Phase::Open { until })
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
    let rules = Rules { open_for: OpenFor::exactly(SECOND), seed: 0, probes_max: 2, probe_timeout: SECOND * 60 };
    let at = |phase, in_flight| Machine { epoch: 9, phase, in_flight, lapses_at: SECOND * 60, ..Machine::START };
    let closed = at(Phase::Closed, 0);
    let open = at(Phase::Open { until: SECOND }, 0);
    let half_open = |successes, in_flight| at(Phase::HalfOpen { successes }, in_flight);
    let returned = |result| Event::Returned { epoch: 9, result };
    let stale = Event::Returned { epoch: 7, result: ProbeResult::Failure };
    let (early, late) = (Duration::ZERO, SECOND * 61);
    let cases = [
        (closed, Event::Acquire, early, "acquire"),
        (closed, Event::Tripped { epoch: 9 }, early, "a rate, or failures in a row, reached"),
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
        (closed, Event::Ordered(Order::Force(Forced::Open)), early, "an operator opens"),
        (at(Phase::Forced(Forced::Open), 0), Event::Acquire, late, "acquire"),
        (open, Event::Ordered(Order::Force(Forced::Closed)), early, "an operator closes"),
        (at(Phase::Forced(Forced::Closed), 0), Event::Acquire, early, "acquire"),
        (half_open(0, 0), Event::Ordered(Order::Force(Forced::Disabled)), early, "an operator disables"),
        (at(Phase::Forced(Forced::Disabled), 0), Event::Acquire, early, "acquire"),
        (at(Phase::Forced(Forced::Open), 0), Event::Ordered(Order::Reset), early, "an operator resets"),
        (at(Phase::Forced(Forced::Closed), 0), Event::Ordered(Order::Reset), early, "an operator resets"),
        (at(Phase::Forced(Forced::Disabled), 0), Event::Ordered(Order::Reset), early, "an operator resets"),
    ];
    let mut text = "stateDiagram-v2\n    [*] --> Closed\n".to_owned();
    for (machine, event, now, label) in cases {
        let (next, effects) = machine.step(&rules, event, now);
        let effect = match effects.answer {
            Some(Answer::Granted) => " / grant",
            Some(Answer::Rejected { .. }) => " / reject",
            None if effects.clears_window => " / clear the counts",
            None => "",
        };
        writeln!(text, "    {:?} --> {:?}: {label}{effect}", machine.state(), next.state())
            .expect("a String takes any text");
    }
    text
}

#[cfg(test)]
mod tests;
