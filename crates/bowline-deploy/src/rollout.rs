//! What is known of one rollout, and what one begins with.

use bowline_model::{
    ServiceName,
    deploy::{Plan, Release},
};
use serde::{Deserialize, Serialize};

use crate::{
    course::Course,
    port::Verdict,
    table::{Event, Phase, State},
};

/// The most transitions that are kept of a rollout; the oldest go first.
pub const TRANSITIONS_MAX: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Whose release.
    pub service: ServiceName,
    /// The new one.
    pub release: Release,
    /// How it is rolled out; none: as `[deploy.X]` says, or [`Plan::default`].
    pub plan: Option<Plan>,
    /// How many instances of it, 1 to [`REPLICAS_MAX`](bowline_model::system::REPLICAS_MAX); none: as many as the
    /// release before has.
    pub replicas: Option<u32>,
}

/// What an operator orders of a rollout that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It stays where it is; a verdict that is bad still ends it.
    Pause,
    /// It goes on where it was paused, and bakes anew.
    Resume,
    /// The new release gets everything, whatever was measured.
    Promote,
    /// The release before gets everything back.
    Abort,
}

impl Action {
    /// The orders there are, by their names.
    pub const NAMES: [(&'static str, Self); 4] =
        [("pause", Self::Pause), ("resume", Self::Resume), ("promote", Self::Promote), ("abort", Self::Abort)];
}

/// A rollout: one release of a service on its way into the place of another. The kept form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Grows from each rollout of the service to the next.
    pub id: u64,
    /// Whose releases.
    pub service: ServiceName,
    /// The release before; one that says nothing but its version is the service's own.
    pub from: Release,
    /// How many instances it had.
    pub from_count: u32,
    /// The new release.
    pub to: Release,
    /// How many instances it is to have.
    pub to_count: u32,
    /// How it is done.
    pub plan: Plan,
    /// How far it is.
    pub state: State,
    /// Why it goes back, or went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub begun_unix_ms: u64,
    /// The last [`TRANSITIONS_MAX`] transitions, the oldest first; there is at least one.
    pub transitions: Vec<Transition>,
    /// Whether the number of instances was asked for, and outlives what the file says of it.
    pub is_count_given: bool,
    /// What the file said of the service when it began.
    pub declared: String,
}

/// One step of a rollout's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// Counts from 1.
    pub number: u32,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What it came to.
    pub phase: Phase,
    /// The step that is made, from 1 to [`Rollout::step_count`], or of which it goes back; 0: of none.
    pub step: u32,
    /// The most that the new release gets from now on, of 1000.
    pub weight: u32,
    /// What made it so, where that is not plain: `error_rate 20% > 1%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A rollout, and what is known of it now. What is only known now is lost in a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The rollout.
    pub rollout: Rollout,
    /// What it waits for, where that is not plain: the last failure, or why nothing can be said of the release.
    pub waits_for: Option<String>,
    /// What was measured last.
    pub verdict: Option<Verdict>,
}

impl Status {
    /// A rollout of which nothing else is known.
    pub(crate) fn new(rollout: Rollout) -> Self {
        Self { rollout, waits_for: None, verdict: None }
    }
}

impl Rollout {
    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.state.phase(&self.course())
    }

    /// Whether it is still under way.
    pub fn is_live(&self) -> bool {
        !self.state.is_over()
    }

    /// The most that the new release gets, of 1000.
    pub fn weight(&self) -> u32 {
        self.state.weight(&self.course())
    }

    /// How many steps it has, without the one that promotes.
    pub fn step_count(&self) -> u32 {
        self.course().last() - 1
    }

    /// Its steps in numbers.
    pub fn course(&self) -> Course {
        Course::new(&self.plan, self.from_count, self.to_count)
    }

    /// How many transitions it has made; the first one is its beginning.
    pub fn number(&self) -> u32 {
        self.transitions.last().map(|last| last.number).unwrap_or_default()
    }

    /// Whether it is the same rollout, and as far.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (self.id, self.number()) == (other.id, other.number())
    }

    /// The same with its beginning as its first transition.
    pub(crate) fn begun(mut self, at_unix_ms: u64) -> Self {
        self.begun_unix_ms = at_unix_ms;
        self.note(None, at_unix_ms);
        self
    }

    /// The rollout after what happened; none: that means nothing to it.
    pub(crate) fn after(&self, event: Event, why: Option<String>, at_unix_ms: u64) -> Option<Self> {
        let (state, _) = self.state.step(&self.course(), event)?;
        let mut next = Self { state, ..self.clone() };
        let why = why.map(|why| shortened(&why));
        if matches!(state, State::RollingBack { .. }) {
            next.why = next.why.or_else(|| why.clone());
        }
        next.note(why, at_unix_ms);
        Some(next)
    }

    /// Tells the log what it came to.
    pub(crate) fn log(&self) {
        let Self { service, id, from, to, .. } = self;
        let (phase, step, weight) = (self.phase().name(), self.state.number(&self.course()), self.weight());
        let why = self.transitions.last().and_then(|last| last.why.as_deref());
        let (service, from, to) = (service.as_str(), from.version.as_str(), to.version.as_str());
        tracing::info!(service, id, from, to, phase, step, weight, why, "a rollout went on");
    }

    fn note(&mut self, why: Option<String>, at_unix_ms: u64) {
        let (number, course) = (self.number() + 1, self.course());
        let (phase, step, weight) = (self.state.phase(&course), self.state.number(&course), self.state.weight(&course));
        self.transitions.push(Transition { number, at_unix_ms, phase, step, weight, why });
        let surplus = self.transitions.len().saturating_sub(TRANSITIONS_MAX);
        self.transitions.drain(..surplus);
    }
}

/// The longest reason that is kept, in characters.
const WHY_MAX: usize = 2000;

fn shortened(why: &str) -> String {
    let end = why.char_indices().nth(WHY_MAX).map(|(at, _)| at);
    end.map_or_else(|| why.to_owned(), |end| format!("{}…", &why[..end]))
}
