//! The two transition tables of an alert, `step(state, event) -> (state, effects)`, and their diagram.
//!
//! [`State`] is what the rule says of one series: inactive, pending, firing, resolved. [`Delivery`] is what the
//! receiver was told of it. Both are pure; the evaluator and the notifier run them, the model checker explores them
//! together, with crashes between any two steps, and [`diagram`] draws them. Times are milliseconds since 1970.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What a rule demands of an alert, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demands {
    /// For how long the series has to be there.
    pub(crate) hold_ms: i64,
    /// For how long it fires on when the series is gone.
    pub(crate) keep_ms: i64,
}

/// What the rule says of one series. The kept form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Its series is not there. Nothing is kept of it.
    Inactive,
    /// Its series is there since then, and not yet for long enough.
    Pending { since: i64 },
    /// It fires since then; of a series that is gone it is kept since when.
    Firing { since: i64, fired: i64, gone: Option<i64> },
    /// It has fired, and the manager does not know yet that it no longer does.
    Resolved { since: i64, fired: i64, at: i64 },
}

/// What happens to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The rule was evaluated, and the series was there, or not.
    Evaluated { is_there: bool, at: i64 },
    /// The rule is gone.
    Removed { at: i64 },
    /// The manager has taken, for good, what it was told last.
    Taken,
}

/// What is told to the manager: at each evaluation anew, it knows what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Firing,
    Resolved,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

impl State {
    /// The table; the status is told, and the state is kept where it is another one than before.
    pub(crate) fn step(self, demands: Demands, event: Event) -> (Self, Option<Status>) {
        let next = match event {
            Event::Evaluated { is_there: true, at } => self.there(demands, at),
            Event::Evaluated { is_there: false, at } => self.gone(demands, at),
            Event::Removed { at } => self.gone(Demands { keep_ms: 0, ..demands }, at),
            Event::Taken => {
                let is_done = matches!(self, Self::Resolved { .. });
                return (if is_done { Self::Inactive } else { self }, None);
            }
        };
        (next, next.status())
    }

    fn there(self, demands: Demands, at: i64) -> Self {
        let since = match self {
            Self::Firing { since, fired, .. } => return Self::Firing { since, fired, gone: None },
            // A clock that went back cannot tell for how long: it begins anew, so that nothing waits for ever.
            Self::Pending { since } => since.min(at),
            // It resolved, and is back before anybody was told.
            Self::Inactive | Self::Resolved { .. } => at,
        };
        if at - since >= demands.hold_ms {
            return Self::Firing { since, fired: at, gone: None };
        }
        match self {
            // Who was told that it fires has to be told first that it does not.
            Self::Resolved { .. } => self,
            _ => Self::Pending { since },
        }
    }

    fn gone(self, demands: Demands, at: i64) -> Self {
        match self {
            Self::Inactive | Self::Pending { .. } => Self::Inactive,
            Self::Firing { since, fired, gone } => {
                let gone = gone.unwrap_or(at).min(at);
                if at - gone >= demands.keep_ms {
                    Self::Resolved { since, fired, at }
                } else {
                    Self::Firing { since, fired, gone: Some(gone) }
                }
            }
            Self::Resolved { .. } => self,
        }
    }

    /// What the manager has to know.
    pub(crate) fn status(self) -> Option<Status> {
        match self {
            Self::Inactive | Self::Pending { .. } => None,
            Self::Firing { .. } => Some(Status::Firing),
            Self::Resolved { .. } => Some(Status::Resolved),
        }
    }

    /// Since when its series is there.
    pub(crate) fn since(self) -> Option<i64> {
        match self {
            Self::Inactive => None,
            Self::Pending { since } | Self::Firing { since, .. } | Self::Resolved { since, .. } => Some(since),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
            Self::Resolved { .. } => "resolved",
        }
    }
}

/// What is to be told to the receiver of one alert, and what it was told. The kept form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// What holds now.
    pub(crate) status: Status,
    /// What the receiver knows.
    pub(crate) told: Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// Nothing since it was last inactive.
    Nothing,
    /// It is being told: kept before the first byte is sent, with what was known before.
    Sending { before: Before },
    /// It may have been told: whether what was sent arrived is not known.
    Maybe,
    /// That it fires, at that time.
    Firing { at: i64 },
}

/// What the receiver knew before something was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Before {
    Nothing,
    Maybe,
    Firing { at: i64 },
}

/// What happens to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Post {
    /// The alert is told by the evaluator.
    Heard(Status),
    /// Its group begins to send.
    Begun,
    /// The receiver has taken it, with that status.
    Sent { status: Status, at: i64 },
    /// The receiver has not; whether that is certain.
    Failed { is_certain: bool },
    /// The process began anew, or the alert goes to another receiver.
    Restarted,
}

/// Why a delivery is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Due {
    /// There is news.
    News,
    /// It was sent, and nobody knows whether it arrived.
    Again,
    /// Nothing changed for as long as people are not reminded.
    Repeat,
}

impl Delivery {
    /// A delivery of an alert that nobody was told of.
    pub(crate) const NEW: Self = Self { status: Status::Firing, told: Told::Nothing };

    /// The table; none: there is nothing left to tell.
    pub(crate) fn step(self, post: Post) -> Option<Self> {
        let (status, told) = match post {
            Post::Heard(status) => (status, self.told),
            Post::Begun => (self.status, Told::Sending { before: self.told.before() }),
            Post::Sent { status: Status::Firing, at } => (self.status, Told::Firing { at }),
            Post::Sent { status: Status::Resolved, .. } => (self.status, Told::Nothing),
            Post::Failed { is_certain } => match self.told {
                Told::Sending { before: Before::Nothing } if is_certain => (self.status, Told::Nothing),
                Told::Sending { before: Before::Firing { at } } if is_certain => (self.status, Told::Firing { at }),
                Told::Sending { .. } => (self.status, Told::Maybe),
                told => (self.status, told),
            },
            Post::Restarted => match self.told {
                Told::Sending { .. } => (self.status, Told::Maybe),
                told => (self.status, told),
            },
        };
        // What nobody was told of needs no end.
        let is_over = status == Status::Resolved && told == Told::Nothing;
        (!is_over).then_some(Self { status, told })
    }

    /// Whether its group has to send, and why.
    pub(crate) fn due(self, now: i64, repeat_ms: i64) -> Option<Due> {
        match (self.status, self.told) {
            (_, Told::Sending { .. }) | (Status::Resolved, Told::Nothing) => None,
            (_, Told::Maybe) => Some(Due::Again),
            (Status::Firing, Told::Nothing) | (Status::Resolved, Told::Firing { .. }) => Some(Due::News),
            // A clock that went back does not put the reminder off by more than its interval.
            (Status::Firing, Told::Firing { at }) => {
                (now - at >= repeat_ms || now < at - repeat_ms).then_some(Due::Repeat)
            }
        }
    }

    /// When people are reminded if nothing changes.
    pub(crate) fn repeats_at(self, repeat_ms: i64) -> Option<i64> {
        match (self.status, self.told) {
            (Status::Firing, Told::Firing { at }) => Some(at.saturating_add(repeat_ms)),
            _ => None,
        }
    }
}

impl Told {
    fn before(self) -> Before {
        match self {
            Self::Nothing => Before::Nothing,
            Self::Sending { before } => before,
            Self::Maybe => Before::Maybe,
            Self::Firing { at } => Before::Firing { at },
        }
    }
}

/// The table of alerts as a Mermaid state diagram, drawn by running it; `docs/alerts.md` holds the same text.
pub fn diagram() -> String {
    let demands = Demands { hold_ms: 10, keep_ms: 10 };
    let there = |at| Event::Evaluated { is_there: true, at };
    let gone = |at| Event::Evaluated { is_there: false, at };
    let pending = State::Pending { since: 0 };
    let firing = State::Firing { since: 0, fired: 10, gone: None };
    let kept = State::Firing { since: 0, fired: 10, gone: Some(20) };
    let resolved = State::Resolved { since: 0, fired: 10, at: 30 };
    let cases = [
        (State::Inactive, there(0), "series is there"),
        (pending, there(5), "there, not yet for `for`"),
        (pending, there(10), "there for `for`"),
        (pending, gone(5), "gone"),
        (firing, there(20), "there"),
        (firing, gone(20), "gone, not yet for `keep_firing_for`"),
        (kept, gone(30), "gone for `keep_firing_for`"),
        (firing, Event::Removed { at: 20 }, "rule removed"),
        (resolved, gone(40), "gone"),
        (resolved, there(40), "there, before the resolve was taken"),
        (resolved, Event::Taken, "resolve was taken"),
    ];
    let mut text = "stateDiagram-v2\n    [*] --> inactive\n".to_owned();
    for (alert, event, label) in cases {
        let (next, told) = alert.step(demands, event);
        let effect = match told {
            Some(Status::Firing) => " / tell firing",
            Some(Status::Resolved) => " / tell resolved",
            None => "",
        };
        writeln!(text, "    {} --> {}: {label}{effect}", alert.name(), next.name()).expect("a String takes any text");
    }
    text
}

#[cfg(test)]
mod tests;
