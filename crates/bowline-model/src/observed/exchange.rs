//! One message between two services, as the spans of both ends tell it.

use std::time::Duration;

use crate::{
    observed::monitor::{Event, Monitor, Unexpected},
    system::CallMode,
};

/// How far apart the clocks of two processes may be: what differs by no more says nothing of an order.
pub const SKEW_MAX: Duration = Duration::from_millis(50);

/// A message: what its sender did with it, and when both ends had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// How it was sent.
    pub means: Means,
    /// The sender's span, by the sender's clock.
    pub caller: Interval,
    /// The receiver's span, by the receiver's clock.
    pub callee: Interval,
    /// Whether the sender took no answer: it failed, was cancelled, or another attempt was answered.
    pub is_given_up: bool,
}

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Means {
    /// As a request: who makes it waits for an answer, so long as its span lasts.
    Request,
    /// As a message to a service: its span ends when it is handed over.
    Message,
    /// As a message to a topic.
    Topic,
}

/// From when to when, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The first moment.
    pub start: u64,
    /// The last one, not before the first.
    pub end: u64,
}

impl Exchange {
    /// What it is by its spans, whatever is declared.
    ///
    /// A request whose span ended in good order, and clearly before the callee was through, was not waited for.
    pub fn mode(&self) -> CallMode {
        match self.means {
            Means::Request if self.went_on() => CallMode::Async,
            Means::Request => CallMode::Sync,
            Means::Message => CallMode::Async,
            Means::Topic => CallMode::Message,
        }
    }

    /// Whether the sender was seen to wait until the receiver was through, or until it gave up.
    ///
    /// Who sends a message waits when its span outlives a processing that took longer than clocks may differ.
    pub fn is_waited_for(&self) -> bool {
        match self.means {
            Means::Request => !self.went_on(),
            Means::Message | Means::Topic => {
                self.caller.end >= self.callee.end && self.callee.end.saturating_sub(self.callee.start) > skew_max()
            }
        }
    }

    /// Its events in their order; what contradicts the formula by no more than [`SKEW_MAX`] does not.
    pub fn events(&self) -> Vec<Event> {
        let mut events: Vec<(u64, Event)> = self.timed();
        // Stable: what has one time stays in the order of the formula.
        events.sort_by_key(|(at, _)| *at);
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// Holds it against the formula of its [mode](Self::mode); gives how far it came.
    ///
    /// # Errors
    /// [`Unexpected`]: the first event that the formula does not have there.
    pub fn judge(&self) -> Result<Monitor, Unexpected> {
        self.events().into_iter().try_fold(Monitor::new(self.mode()), Monitor::step)
    }

    fn went_on(&self) -> bool {
        !self.is_given_up && self.callee.end > self.caller.end.saturating_add(skew_max())
    }

    /// In the order of the formula, with the time of each.
    fn timed(&self) -> Vec<(u64, Event)> {
        let Self { means: _, caller, callee, is_given_up } = *self;
        let handed_over = |at: u64| settle(at, caller.start, u64::MAX);
        match self.mode() {
            CallMode::Sync => {
                let within = |at: u64| settle(at, caller.start, caller.end);
                let mut events = vec![
                    (caller.start, Event::Send),
                    (caller.start, Event::Wait),
                    (within(callee.start), Event::Receive),
                ];
                // Nobody is there to be answered where it was given up.
                if !is_given_up {
                    let answered = [(within(callee.end), Event::Respond), (caller.end, Event::ReceiveAnswer)];
                    events.extend(answered);
                }
                events
            }
            CallMode::Async => vec![
                (caller.start, Event::Send),
                (caller.start, if self.is_waited_for() { Event::Wait } else { Event::Continue }),
                (handed_over(callee.start), Event::Receive),
                (handed_over(callee.end), Event::Process),
            ],
            CallMode::Message => {
                let waited = self.is_waited_for().then_some((caller.start, Event::Wait));
                let delivered =
                    [(handed_over(callee.start), Event::Deliver), (handed_over(callee.end), Event::Process)];
                [(caller.start, Event::Queue)].into_iter().chain(waited).chain(delivered).collect()
            }
        }
    }
}

/// The time, moved to the bound that it is beyond by no more than clocks may differ.
fn settle(at: u64, min: u64, max: u64) -> u64 {
    if at < min && min - at <= skew_max() {
        min
    } else if at > max && at - max <= skew_max() {
        max
    } else {
        at
    }
}

fn skew_max() -> u64 {
    u64::try_from(SKEW_MAX.as_nanos()).expect("it is less than a second")
}
