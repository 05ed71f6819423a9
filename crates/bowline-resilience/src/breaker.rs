//! The circuit breaker: leaves a callee alone while it mostly fails.
//!
//! Closed, it counts results in a sliding window, of time or of calls, and opens when enough of at
//! least `calls_min` failed or were slow, or so many failed in a row. Open, it rejects for
//! `open_for`, longer each time that it opens in a row. Half open, it lets at most `probes_max`
//! probes out at a time: that many successes close it, one failure opens it again. An operator can
//! hold it open or closed, or switch it off ([`Order`]). The transition table is drawn in
//! `docs/breaker.md`.
//!
//! - **Probes are exact**: never more than `probes_max` are out, over all threads and over
//!   successive half-open phases. One that is cancelled gives its place back. When all places are
//!   taken by probes that never came back (a permit was leaked), they are taken for lost after the
//!   probe timeout, which counts as a failure: the breaker cannot wedge.
//! - **Results count in the state that granted the call** or not at all: each permit carries an
//!   epoch that every transition ends.
//! - **Cost**: in the closed state a permit is one load, a result one compare-and-exchange of what a quarter of the
//!   threads write to, and, while a failure is in the window, ten loads for each of up to four rings; a rejection is two loads.
//!   A rate of slow calls costs as much once more, a window of calls an addition that all cores share, failures in a row
//!   an exchange where their number changes. No lock, no allocation. Transitions and probes take a mutex for a few dozen
//!   instructions, never across a wait.
//!
//! Sources: M. Nygard, "Release It!", 2007 (the pattern); resilience4j (windows, slow calls,
//! bounded probes, forced states); tower-resilience issue 382 (why a probe's place is taken when it is granted and
//! not when it ends).

mod history;
pub mod keyed;
mod machine;
mod permit;
#[cfg(all(test, bowline_shuttle))]
mod schedules;
mod streak;
mod window;

use std::sync::{Arc, PoisonError};

use bowline_model::{Code, policy::BreakerPolicy, units::Share};
use bowline_runtime::{
    metric::Padded,
    rand,
    time::{self, Duration, Instant},
};

use self::{
    history::History,
    machine::{Answer, Event, Machine, ProbeResult, Rules},
    permit::Ticket,
    streak::Streak,
    window::{Counts, Window},
};
pub use self::{
    history::{Listener, TRANSITIONS_MAX, Transition, Why},
    machine::diagram,
    permit::{OwnedPermit, Permit, PermitOf},
};
use crate::{
    nanos::nanos,
    sync::{
        AtomicU64, Mutex, MutexGuard,
        Ordering::{Acquire, Release},
        lock,
    },
};

/// How long a probe may be out before it can be taken for lost, unless told otherwise.
pub const PROBE_TIMEOUT: Duration = Duration::from_mins(1);

/// Lets calls through while they mostly succeed, and leaves the callee alone when they do not.
///
/// One for each instance (and route), shared by all cores.
#[derive(Debug)]
pub struct Breaker {
    /// Read by every call, written by transitions only.
    gate: Padded<Gate>,
    /// Written by every result in the closed state.
    window: Padded<Window>,
    /// The same of slow calls, where they have a rate of their own.
    slow: Option<Box<Padded<Window>>>,
    streak: Padded<Streak>,
    machine: Padded<Mutex<Kept>>,
}

/// What the mutex guards.
#[derive(Debug)]
struct Kept {
    machine: Machine,
    history: History,
}

#[derive(Debug)]
struct Gate {
    /// The machine's epoch and state: `epoch << 3 | state`.
    word: AtomicU64,
    /// When a permit may be had again, in nanoseconds since `born`; of no meaning when closed.
    ready_at: AtomicU64,
    born: Instant,
    calls_min: u64,
    failure_rate: Share,
    slow_call: Option<Duration>,
    slow_rate: Option<Share>,
    consecutive: Option<u32>,
    rules: Rules,
}

/// The states: three that it finds by itself, and three that an [`Order`] holds it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Lets every call through and counts.
    Closed,
    /// Lets none through.
    Open,
    /// Lets a few probes through, to find out.
    HalfOpen,
    /// Lets none through, until told otherwise.
    ForcedOpen,
    /// Lets every call through and counts, but never opens.
    ForcedClosed,
    /// Lets every call through and counts none.
    Disabled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::ForcedClosed, Self::Disabled];

    /// Its name on the wire: `half_open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::Disabled => "disabled",
        }
    }

    /// Whether it lets every call through.
    #[inline]
    pub fn is_granting(self) -> bool {
        matches!(self, Self::Closed | Self::ForcedClosed | Self::Disabled)
    }
}

/// An operator's word to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// It is held in a state, until the next order.
    Force(Forced),
    /// It judges for itself again: closed, with nothing counted.
    Reset,
}

/// In which state an operator holds a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forced {
    /// Nobody is let through.
    Open,
    /// Everybody is let through, and it goes on counting.
    Closed,
    /// Everybody is let through, and nothing is counted.
    Disabled,
}

/// What it has counted, for listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Calls in the window.
    pub calls: u64,
    /// Of them, those that failed.
    pub failures: u64,
    /// Of them, those that were slow; 0 where slow calls have no rate of their own.
    pub slow: u64,
}

/// How a call went, as its caller classifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered; it still counts as a failure when it was slow.
    Success,
    /// It was not, or badly.
    Failure,
}

/// The breaker refused: the call must not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open")]
pub struct Rejected {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl Rejected {
    /// Always [`Code::Unavailable`].
    pub fn code(self) -> Code {
        Code::Unavailable
    }

    /// Yes: at another instance now, or at this one later.
    pub fn retryable(self) -> bool {
        true
    }
}

impl Breaker {
    /// A closed breaker that has seen nothing.
    ///
    /// Numbers a policy must not hold (`calls_min` or `probes_max` of 0) are taken for 1.
    pub fn new(policy: &BreakerPolicy) -> Self {
        let BreakerPolicy {
            failure_rate,
            slow_call,
            slow_rate,
            consecutive,
            window,
            calls_min,
            open_for,
            probes_max,
            per: _,
        } = policy;
        let rules = Rules {
            open_for: *open_for,
            seed: rand::u64(),
            probes_max: (*probes_max).max(1),
            probe_timeout: PROBE_TIMEOUT,
        };
        let gate = Gate {
            word: AtomicU64::new(gate_word(&Machine::START)),
            ready_at: AtomicU64::new(0),
            born: time::now(),
            calls_min: u64::from((*calls_min).max(1)),
            failure_rate: *failure_rate,
            slow_call: *slow_call,
            slow_rate: slow_call.and(*slow_rate),
            consecutive: *consecutive,
            rules,
        };
        let slow = gate.slow_rate.map(|_| Box::new(Padded(Window::new(*window))));
        let machine = Padded(Mutex::new(Kept { machine: Machine::START, history: History::default() }));
        Self { gate: Padded(gate), window: Padded(Window::new(*window)), slow, streak: Padded::default(), machine }
    }

    /// The same with somebody who is told of each transition, in their order, within a short mutex: it must not wait, nor
    /// ask this breaker.
    pub fn listener(mut self, listener: Listener) -> Self {
        let kept = self.machine.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        kept.history.listener = Some(listener);
        self
    }

    /// The same with another bound than [`PROBE_TIMEOUT`] on how long a probe may be out.
    ///
    /// Above the longest time a call can take, or slow callees are never let in again.
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.gate.0.rules.probe_timeout = timeout;
        self
    }

    /// Asks to make a call that begins now.
    ///
    /// # Errors
    /// [`Rejected`] while open, and while half open with all probes out.
    #[inline]
    pub fn acquire(&self, now: Instant) -> Result<Permit<'_>, Rejected> {
        self.ticket(now).map(|ticket| PermitOf::new(self, ticket))
    }

    /// As [`Breaker::acquire`], for a permit that outlives the borrow.
    ///
    /// # Errors
    /// As [`Breaker::acquire`].
    #[inline]
    pub fn acquire_owned(self: &Arc<Self>, now: Instant) -> Result<OwnedPermit, Rejected> {
        self.ticket(now).map(|ticket| PermitOf::new(Arc::clone(self), ticket))
    }

    /// Whether [`Breaker::acquire`] would grant a permit, others aside. Takes nothing; lock-free.
    #[inline]
    pub fn is_ready(&self, now: Instant) -> bool {
        match state_of(self.gate.0.word.load(Acquire)) {
            State::ForcedOpen => false,
            state => state.is_granting() || self.is_due(now),
        }
    }

    /// The state now: half open from the moment an open breaker's time has come. Lock-free.
    ///
    /// While all probes are overdue and nobody is granted a new one yet, it still shows half open.
    #[inline]
    pub fn state(&self, now: Instant) -> State {
        match state_of(self.gate.0.word.load(Acquire)) {
            State::Open if self.is_due(now) => State::HalfOpen,
            state => state,
        }
    }

    /// Obeys an operator. Results of calls that were granted before count no more.
    pub fn order(&self, order: Order, now: Instant) {
        self.step(Event::Ordered(order), now, Why::Ordered);
    }

    /// What is in the window now.
    pub fn figures(&self, now: Instant) -> Figures {
        let (epoch, tick) = (epoch_of(self.gate.0.word.load(Acquire)), self.tick(now));
        let Counts { calls, failures } = self.window.0.counts(epoch, tick);
        let slow = self.slow.as_ref().map_or(0, |slow| slow.0.counts(epoch, tick).failures);
        Figures { calls, failures, slow }
    }

    /// In how long an open breaker lets a probe out; none in every other state, and once it does. Lock-free.
    pub fn retry_after(&self, now: Instant) -> Option<Duration> {
        let word = self.gate.0.word.load(Acquire);
        let is_waiting = state_of(word) == State::Open && !self.is_due(now);
        is_waiting.then(|| self.rejected(word, now).retry_after)
    }

    /// The last transitions, oldest first: at most [`TRANSITIONS_MAX`].
    pub fn transitions(&self) -> Vec<Transition> {
        self.lock().history.list()
    }

    #[inline]
    fn ticket(&self, now: Instant) -> Result<Ticket, Rejected> {
        let word = self.gate.0.word.load(Acquire);
        if state_of(word).is_granting() {
            return Ok(Ticket { epoch: epoch_of(word), is_probe: false, started: now });
        }
        self.ticket_unclosed(word, now)
    }

    #[cold]
    fn ticket_unclosed(&self, word: u64, now: Instant) -> Result<Ticket, Rejected> {
        if state_of(word) == State::ForcedOpen || !self.is_due(now) {
            return Err(self.rejected(word, now));
        }
        let (machine, answer) = self.step(Event::Acquire, now, Why::Elapsed);
        match answer {
            Some(Answer::Granted) => {
                let is_probe = machine.state() == State::HalfOpen;
                Ok(Ticket { epoch: machine.epoch, is_probe, started: now })
            }
            Some(Answer::Rejected { retry_after }) => Err(Rejected { retry_after }),
            None => unreachable!("the table answers every acquire"),
        }
    }

    /// The rejection that needs no lock, by the time that is published.
    fn rejected(&self, word: u64, now: Instant) -> Rejected {
        let rules = &self.gate.0.rules;
        let left = self.gate.0.ready_at.load(Acquire).saturating_sub(nanos(self.since_born(now)));
        let bound = match state_of(word) {
            State::Open => rules.open_for.max,
            State::ForcedOpen => rules.open_for.min,
            _ => rules.probe_wait(),
        };
        Rejected { retry_after: Duration::from_nanos(left).min(bound) }
    }

    #[inline]
    fn settle(&self, ticket: &Ticket, outcome: Outcome, now: Instant) {
        let is_longer = |slow| now.saturating_duration_since(ticket.started) >= slow;
        let is_slow = self.gate.0.slow_call.is_some_and(is_longer);
        let is_failure = outcome == Outcome::Failure;
        if ticket.is_probe {
            let result = if is_failure || is_slow { ProbeResult::Failure } else { ProbeResult::Success };
            self.step(Event::Returned { epoch: ticket.epoch, result }, now, Why::Probed);
        } else {
            self.count(ticket.epoch, is_failure, is_slow, now);
        }
    }

    #[inline]
    fn count(&self, epoch: u64, is_failure: bool, is_slow: bool, now: Instant) {
        let gate = &self.gate.0;
        let is_current = || epoch_of(gate.word.load(Acquire)) == epoch;
        let word = gate.word.load(Acquire);
        let state = state_of(word);
        // A result of before takes no place in a window of calls.
        if state == State::Disabled || epoch_of(word) != epoch {
            return;
        }
        let tick = self.window.0.next_tick(|| self.since_born(now));
        let counts_as_failure = is_failure || (is_slow && self.slow.is_none());
        let Some(counts) = self.window.0.record(epoch, tick, counts_as_failure, is_current) else { return };
        let has_too_slow = self.is_too_slow(epoch, tick, is_slow, is_current);
        let is_in_a_row = |max| self.streak.0.record(epoch, counts_as_failure, is_current) >= max;
        let has_row = gate.consecutive.is_some_and(is_in_a_row);
        // Held closed, it counts and goes no further.
        if state != State::Closed {
            return;
        }
        let why = match () {
            () if is_reached(counts, gate.failure_rate, gate.calls_min) => Why::FailureRate,
            () if has_too_slow => Why::SlowRate,
            () if has_row => Why::Consecutive,
            () => return,
        };
        self.step(Event::Tripped { epoch }, now, why);
    }

    #[inline]
    fn is_too_slow(&self, epoch: u64, tick: u64, is_slow: bool, is_current: impl Fn() -> bool) -> bool {
        let (Some(slow), Some(rate)) = (&self.slow, self.gate.0.slow_rate) else { return false };
        let counts = slow.0.record(epoch, tick, is_slow, is_current);
        counts.is_some_and(|counts| is_reached(counts, rate, self.gate.0.calls_min))
    }

    /// A probe's permit was dropped.
    #[cold]
    fn cancel(&self, ticket: &Ticket) {
        // The table does not look at the time of a cancellation.
        let event = Event::Returned { epoch: ticket.epoch, result: ProbeResult::Cancelled };
        self.step(event, ticket.started, Why::Probed);
    }

    /// Runs the transition table and publishes what came out. `why` is what it is told of a change with.
    #[cold]
    fn step(&self, event: Event, now: Instant, why: Why) -> (Machine, Option<Answer>) {
        let gate = &self.gate.0;
        let mut kept = self.lock();
        let before = kept.machine;
        let (next, effects) = before.step(&gate.rules, event, self.since_born(now));
        if next == before {
            return (next, effects.answer);
        }
        let figures = self.figures(now);
        kept.machine = next;
        if effects.clears_window {
            self.clear(next.epoch, self.tick(now));
        }
        gate.ready_at.store(nanos(next.ready_at(&gate.rules)), Release);
        gate.word.store(gate_word(&next), Release);
        if next.epoch != before.epoch {
            kept.history.note_all(before, next, |from, to| Transition { at: now, from, to, why, figures });
        }
        (next, effects.answer)
    }

    /// Begins to count anew for that epoch.
    fn clear(&self, epoch: u64, tick: u64) {
        self.window.0.clear(epoch, tick);
        if let Some(slow) = &self.slow {
            slow.0.clear(epoch, tick);
        }
        self.streak.0.clear(epoch);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        lock(&self.machine.0)
    }

    fn is_due(&self, now: Instant) -> bool {
        nanos(self.since_born(now)) >= self.gate.0.ready_at.load(Acquire)
    }

    fn tick(&self, now: Instant) -> u64 {
        self.window.0.tick(|| self.since_born(now))
    }

    fn since_born(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.gate.0.born)
    }
}

#[inline]
fn is_reached(counts: Counts, rate: Share, calls_min: u64) -> bool {
    counts.failures > 0 && counts.calls >= calls_min && rate.is_reached_by(counts.failures, counts.calls)
}

/// Of the gate's word, those that hold the state.
const STATE_BITS: u32 = 3;

#[inline]
fn gate_word(machine: &Machine) -> u64 {
    machine.epoch << STATE_BITS | machine.state() as u64
}

#[inline]
fn epoch_of(word: u64) -> u64 {
    word >> STATE_BITS
}

#[inline]
fn state_of(word: u64) -> State {
    match word & ((1 << STATE_BITS) - 1) {
        0 => State::Closed,
        1 => State::Open,
        2 => State::HalfOpen,
        3 => State::ForcedOpen,
        4 => State::ForcedClosed,
        _ => State::Disabled,
    }
}
