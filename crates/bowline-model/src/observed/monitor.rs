//! `SyncComm`, `AsyncComm` and `MessagePassing` as monitors: one state a message, moved by the events of its spans.
//!
//! | the formula | the table |
//! |---|---|
//! | `SyncComm(s₁, s₂, m) = send(s₁, m) · wait(s₁) · receive(s₂, m) · respond(s₂, r) · receive(s₁, r)` | [`CallMode::Sync`] |
//! | `AsyncComm(s₁, s₂, m) = send(s₁, m) · continue(s₁) · receive(s₂, m) · process(s₂, m)` | [`CallMode::Async`] |
//! | `MessagePassing(s₁, s₂) = queue(m) · deliver(m) · process(m)` | [`CallMode::Message`] |
//!
//! A message that is under way, or that was given up, has come through a beginning of its formula: that is no
//! breach. What is, is an event where the formula has another, or none.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::system::CallMode;

/// What befalls a message, in the seed's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `send(s₁, m)`: the caller hands it over.
    Send,
    /// `wait(s₁)`: the caller does nothing else until there is an answer.
    Wait,
    /// `continue(s₁)`: the caller goes on without one.
    Continue,
    /// `receive(s₂, m)`: the callee has it.
    Receive,
    /// `respond(s₂, r)`: the callee answers.
    Respond,
    /// `receive(s₁, r)`: the caller has the answer.
    ReceiveAnswer,
    /// `queue(m)`: it is handed to a topic.
    Queue,
    /// `deliver(m)`: the topic hands it on.
    Deliver,
    /// `process(s₂, m)`: what it asks for is done.
    Process,
}

/// Where one message is in the formula of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Monitor {
    mode: CallMode,
    phase: Phase,
}

/// What befell a message where its formula has something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unexpected {
    /// What the formula has there; nothing where it is at its end.
    pub expected: Option<Event>,
    /// What was seen.
    pub got: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    New,
    Sent,
    Waiting,
    Continued,
    Received,
    Responded,
    Queued,
    Delivered,
    Done,
}

impl Event {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Send,
        Self::Wait,
        Self::Continue,
        Self::Receive,
        Self::Respond,
        Self::ReceiveAnswer,
        Self::Queue,
        Self::Deliver,
        Self::Process,
    ];

    /// As the seed's formulas have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send(s₁, m)",
            Self::Wait => "wait(s₁)",
            Self::Continue => "continue(s₁)",
            Self::Receive => "receive(s₂, m)",
            Self::Respond => "respond(s₂, r)",
            Self::ReceiveAnswer => "receive(s₁, r)",
            Self::Queue => "queue(m)",
            Self::Deliver => "deliver(m)",
            Self::Process => "process(m)",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Monitor {
    /// Of a message that nothing has befallen yet.
    pub fn new(mode: CallMode) -> Self {
        Self { mode, phase: Phase::New }
    }

    /// Moves by one event: pure.
    ///
    /// # Errors
    /// [`Unexpected`] where the formula has another event, or none.
    pub fn step(self, event: Event) -> Result<Self, Unexpected> {
        match next(self.mode, self.phase, event) {
            Some(phase) => Ok(Self { phase, ..self }),
            None => Err(Unexpected { expected: self.expected(), got: event }),
        }
    }

    /// Whether the formula is at its end.
    pub fn is_done(self) -> bool {
        self.phase == Phase::Done
    }

    /// The event that the formula has now; none at its end.
    pub fn expected(self) -> Option<Event> {
        Event::ALL.into_iter().find(|event| next(self.mode, self.phase, *event).is_some())
    }
}

/// The transition table: every pair that is not in it is a breach.
fn next(mode: CallMode, phase: Phase, event: Event) -> Option<Phase> {
    match (mode, phase, event) {
        (CallMode::Sync | CallMode::Async, Phase::New, Event::Send) => Some(Phase::Sent),
        (CallMode::Sync, Phase::Sent, Event::Wait) => Some(Phase::Waiting),
        (CallMode::Sync, Phase::Waiting, Event::Receive) | (CallMode::Async, Phase::Continued, Event::Receive) => {
            Some(Phase::Received)
        }
        (CallMode::Sync, Phase::Received, Event::Respond) => Some(Phase::Responded),
        (CallMode::Async, Phase::Sent, Event::Continue) => Some(Phase::Continued),
        (CallMode::Message, Phase::New, Event::Queue) => Some(Phase::Queued),
        (CallMode::Message, Phase::Queued, Event::Deliver) => Some(Phase::Delivered),
        (CallMode::Sync, Phase::Responded, Event::ReceiveAnswer)
        | (CallMode::Async, Phase::Received, Event::Process)
        | (CallMode::Message, Phase::Delivered, Event::Process) => Some(Phase::Done),
        _ => None,
    }
}

/// The three tables as one Mermaid state diagram, drawn by running them, for `docs/theory.md`.
#[cfg(test)]
pub(super) fn diagram() -> String {
    use std::fmt::Write as _;

    let mut text = "stateDiagram-v2\n".to_owned();
    for (name, mode) in CallMode::NAMES {
        let state = |phase: Phase| format!("{name}_{}", format!("{phase:?}").to_lowercase());
        let mut monitor = Monitor::new(mode);
        writeln!(text, "    [*] --> {}", state(monitor.phase)).expect("a String takes any text");
        while let Some(event) = monitor.expected() {
            let moved = monitor.step(event).expect("it is what the formula has");
            writeln!(text, "    {} --> {}: {event}", state(monitor.phase), state(moved.phase))
                .expect("a String takes any text");
            monitor = moved;
        }
        writeln!(text, "    {} --> [*]", state(monitor.phase)).expect("a String takes any text");
    }
    text
}
