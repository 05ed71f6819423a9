//! What a breaker has done of late, and who is told of it.

use std::{collections::VecDeque, fmt};

use bowline_runtime::time::Instant;

use super::{Figures, State, machine::Machine};

/// How many transitions a breaker remembers.
pub const TRANSITIONS_MAX: usize = 16;

/// Why a breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Too many of the calls in the window failed.
    FailureRate,
    /// Too many of the calls in the window were slow.
    SlowRate,
    /// Too many failed in a row.
    Consecutive,
    /// Its time was over: that of being open, or that of its probes.
    Elapsed,
    /// Probes told.
    Probed,
    /// An operator said so.
    Ordered,
}

impl Why {
    /// Its name on the wire: `failure_rate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::Consecutive => "consecutive",
            Self::Elapsed => "elapsed",
            Self::Probed => "probed",
            Self::Ordered => "ordered",
        }
    }
}

/// One change of a breaker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: Instant,
    /// What it was before.
    pub from: State,
    /// What it is then.
    pub to: State,
    /// What made it change.
    pub why: Why,
    /// What was in the window then.
    pub figures: Figures,
}

/// Somebody who is told of transitions.
pub type Listener = Box<dyn Fn(&Transition) + Send + Sync>;

#[derive(Default)]
pub(super) struct History {
    last: VecDeque<Transition>,
    pub(super) listener: Option<Listener>,
}

impl History {
    /// Notes what lies between two states of the machine: one that went through being open in one step, as when all
    /// probes were overdue and the time of being open was over, too, has made two.
    pub(super) fn note_all(&mut self, before: Machine, next: Machine, of: impl Fn(State, State) -> Transition) {
        let (from, to) = (before.state(), next.state());
        if next.epoch - before.epoch > 1 {
            self.note(of(from, State::Open));
            self.note(of(State::Open, to));
        } else {
            self.note(of(from, to));
        }
    }

    fn note(&mut self, transition: Transition) {
        if self.last.len() == TRANSITIONS_MAX {
            self.last.pop_front();
        }
        self.last.push_back(transition);
        if let Some(listener) = &self.listener {
            listener(&transition);
        }
    }

    pub(super) fn list(&self) -> Vec<Transition> {
        self.last.iter().copied().collect()
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("last", &self.last).finish_non_exhaustive()
    }
}
