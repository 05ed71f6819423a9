//! The circuit breaker: leaves a callee alone while it mostly fails.
//!
//! Closed, it counts results in a sliding window and opens when enough of at least `calls_min`
//! failed (slow answers count as failures where the policy says so). Open, it rejects for
//! `open_for`. Half open, it lets at most `probes_max` probes out at a time: that many successes
//! close it, one failure opens it again. The transition table is drawn in `docs/breaker.md`.
//!
//! - **Probes are exact**: never more than `probes_max` are out, over all threads and over
//!   successive half-open phases. One that is cancelled gives its place back. When all places are
//!   taken by probes that never came back (a permit was leaked), they are taken for lost after the
//!   probe timeout, which counts as a failure: the breaker cannot wedge.
//! - **Results count in the state that granted the call** or not at all: each permit carries an
//!   epoch that every transition ends.
//! - **Cost**: in the closed state a permit is one load, a result one compare-and-exchange and ten
//!   loads; a rejection is two loads. No lock, no allocation. Transitions and probes take a mutex
//!   for a few dozen instructions, never across a wait.
//!
//! Sources: M. Nygard, "Release It!", 2007 (the pattern); resilience4j (window, slow calls,
//! bounded probes); tower-resilience issue 382 (why a probe's place is taken when it is granted and
//! not when it ends).

mod machine;
mod window;

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

use bowline_model::{Code, policy::BreakerPolicy, units::Share};
use bowline_runtime::{
    metric::Padded,
    time::{self, Duration, Instant},
};

pub use self::machine::diagram;
use self::{
    machine::{Answer, Event, Machine, ProbeResult, Rules},
    window::{BUCKETS, Window},
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
    machine: Padded<Mutex<Machine>>,
}

#[derive(Debug)]
struct Gate {
    /// The machine's epoch and state: `epoch << 2 | state`.
    word: AtomicU64,
    /// When a permit may be had again, in nanoseconds since `born`; of no meaning when closed.
    ready_at: AtomicU64,
    born: Instant,
    bucket_nanos: u64,
    calls_min: u64,
    failure_rate: Share,
    slow_call: Option<Duration>,
    rules: Rules,
}

/// The three states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Lets every call through and counts.
    Closed,
    /// Lets none through.
    Open,
    /// Lets a few probes through, to find out.
    HalfOpen,
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

/// The right to make one call.
///
/// Dropped without [`Permit::record`], the call counts as cancelled: it tells nothing about the
/// callee. A call that the caller gave up because it took too long is a failure to be recorded.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    ticket: Ticket,
}

/// A [`Permit`] that owns its breaker, for what outlives a borrow.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct OwnedPermit {
    breaker: Arc<Breaker>,
    ticket: Ticket,
}

/// What a permit remembers.
#[derive(Debug, Clone, Copy)]
struct Ticket {
    epoch: u64,
    /// Holds a probe's place, which must be given back.
    is_probe: bool,
    started: Instant,
}

impl Breaker {
    /// A closed breaker that has seen nothing.
    ///
    /// Numbers a policy must not hold (`calls_min` or `probes_max` of 0) are taken for 1.
    pub fn new(policy: &BreakerPolicy) -> Self {
        let BreakerPolicy { failure_rate, slow_call, window, calls_min, open_for, probes_max } = policy;
        let rules = Rules { open_for: *open_for, probes_max: (*probes_max).max(1), probe_timeout: PROBE_TIMEOUT };
        let gate = Gate {
            word: AtomicU64::new(gate_word(&Machine::START)),
            ready_at: AtomicU64::new(0),
            born: time::now(),
            bucket_nanos: (nanos(*window) / BUCKETS).max(1),
            calls_min: u64::from((*calls_min).max(1)),
            failure_rate: *failure_rate,
            slow_call: *slow_call,
            rules,
        };
        let machine = Padded(Mutex::new(Machine::START));
        Self { gate: Padded(gate), window: Padded::default(), machine }
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
        self.ticket(now).map(|ticket| Permit { breaker: self, ticket })
    }

    /// As [`Breaker::acquire`], for a permit that outlives the borrow.
    ///
    /// # Errors
    /// As [`Breaker::acquire`].
    #[inline]
    pub fn acquire_owned(self: &Arc<Self>, now: Instant) -> Result<OwnedPermit, Rejected> {
        self.ticket(now).map(|ticket| OwnedPermit { breaker: Arc::clone(self), ticket })
    }

    /// Whether [`Breaker::acquire`] would grant a permit, others aside. Takes nothing; lock-free.
    #[inline]
    pub fn is_ready(&self, now: Instant) -> bool {
        state_of(self.gate.0.word.load(Acquire)) == State::Closed || self.is_due(now)
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

    #[inline]
    fn ticket(&self, now: Instant) -> Result<Ticket, Rejected> {
        let word = self.gate.0.word.load(Acquire);
        if state_of(word) == State::Closed {
            return Ok(Ticket { epoch: epoch_of(word), is_probe: false, started: now });
        }
        self.ticket_unclosed(word, now)
    }

    #[cold]
    fn ticket_unclosed(&self, word: u64, now: Instant) -> Result<Ticket, Rejected> {
        if !self.is_due(now) {
            return Err(self.rejected(word, now));
        }
        let (machine, answer) = self.step(Event::Acquire, now);
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
        let bound = if state_of(word) == State::Open { rules.open_for } else { rules.probe_wait() };
        Rejected { retry_after: Duration::from_nanos(left).min(bound) }
    }

    #[inline]
    fn settle(&self, ticket: &Ticket, outcome: Outcome, now: Instant) {
        let elapsed = now.saturating_duration_since(ticket.started);
        let is_slow = self.gate.0.slow_call.is_some_and(|slow| elapsed >= slow);
        let is_failure = outcome == Outcome::Failure || is_slow;
        if ticket.is_probe {
            let result = if is_failure { ProbeResult::Failure } else { ProbeResult::Success };
            self.step(Event::Returned { epoch: ticket.epoch, result }, now);
        } else {
            self.count(ticket.epoch, is_failure, now);
        }
    }

    #[inline]
    fn count(&self, epoch: u64, is_failure: bool, now: Instant) {
        let gate = &self.gate.0;
        let is_current = || epoch_of(gate.word.load(Acquire)) == epoch;
        let Some(counts) = self.window.0.record(epoch, self.tick(now), is_failure, is_current) else { return };
        let is_reached = counts.failures > 0 && gate.failure_rate.is_reached_by(counts.failures, counts.calls);
        if is_reached && counts.calls >= gate.calls_min {
            self.step(Event::Tripped { epoch }, now);
        }
    }

    /// A probe's permit was dropped.
    #[cold]
    fn cancel(&self, ticket: &Ticket) {
        // The table does not look at the time of a cancellation.
        self.step(Event::Returned { epoch: ticket.epoch, result: ProbeResult::Cancelled }, ticket.started);
    }

    /// Runs the transition table and publishes what came out.
    #[cold]
    fn step(&self, event: Event, now: Instant) -> (Machine, Option<Answer>) {
        let gate = &self.gate.0;
        let mut machine = self.lock();
        let (next, effects) = machine.step(&gate.rules, event, self.since_born(now));
        *machine = next;
        if effects.clears_window {
            self.window.0.clear(next.epoch, self.tick(now));
        }
        gate.ready_at.store(nanos(next.ready_at(&gate.rules)), Release);
        gate.word.store(gate_word(&next), Release);
        (next, effects.answer)
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, now: Instant) -> bool {
        nanos(self.since_born(now)) >= self.gate.0.ready_at.load(Acquire)
    }

    fn tick(&self, now: Instant) -> u64 {
        nanos(self.since_born(now)) / self.gate.0.bucket_nanos
    }

    fn since_born(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.gate.0.born)
    }
}

impl Permit<'_> {
    /// Gives the permit back with the call's outcome, and its duration up to `now`.
    #[inline]
    pub fn record(mut self, outcome: Outcome, now: Instant) {
        self.breaker.settle(&self.ticket, outcome, now);
        self.ticket.is_probe = false;
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if mem::take(&mut self.ticket.is_probe) {
            self.breaker.cancel(&self.ticket);
        }
    }
}

impl OwnedPermit {
    /// Gives the permit back with the call's outcome, and its duration up to `now`.
    #[inline]
    pub fn record(mut self, outcome: Outcome, now: Instant) {
        self.breaker.settle(&self.ticket, outcome, now);
        self.ticket.is_probe = false;
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        if mem::take(&mut self.ticket.is_probe) {
            self.breaker.cancel(&self.ticket);
        }
    }
}

#[inline]
fn gate_word(machine: &Machine) -> u64 {
    machine.epoch << 2 | machine.state() as u64
}

#[inline]
fn epoch_of(word: u64) -> u64 {
    word >> 2
}

#[inline]
fn state_of(word: u64) -> State {
    match word & 3 {
        0 => State::Closed,
        1 => State::Open,
        _ => State::HalfOpen,
    }
}

#[inline]
fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
