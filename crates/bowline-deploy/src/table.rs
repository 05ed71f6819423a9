//! The transition table of a rollout, `step(state, event) -> (state, effect)`: rolling, blue-green and canary alike.
//!
//! What differs between them is their [`Course`]. A state says which effect is to be brought about, again after a
//! restart; so it is kept before its effect begins, and nothing else needs to be. The controller runs the table, the
//! model checker explores it with crashes and failures between any two steps, and [`diagram`] draws it.

mod diagram;

use serde::{Deserialize, Serialize};

use crate::course::Course;

pub use self::diagram::diagram;

/// How far a rollout is. The kept form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The new release gets more and more.
    Going(Place),
    /// It would, if it were not paused there.
    Paused(Place),
    /// The release before gets everything back.
    RollingBack {
        /// What is being done.
        stage: Return,
        /// The step of which the new release may still have its share.
        step: u32,
    },
    /// The new release runs alone.
    Promoted,
    /// The release before runs alone.
    RolledBack,
}

/// A place on the course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// What is being done.
    pub stage: Stage,
    /// The step of which the new release had its share before.
    pub from: u32,
    /// The step that is being made. The last one promotes: it has no bake.
    pub step: u32,
}

/// What is done to make a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// All requests are bound to the release before, so that the new one gets none when it starts.
    Preparing,
    /// The step's instances of the new release start.
    Starting,
    /// The step's share of requests goes to the new release.
    Shifting,
    /// The new release is watched.
    Baking,
    /// The new release has everything, and is asked for once more before there is no way back. Of the last step only.
    Confirming,
    /// Instances of the release before stop. In the last step there is no way back from here.
    Retiring,
    /// Versions are not looked at any more. Of the last step only.
    Clearing,
}

/// What is done to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Return {
    /// Instances of the release before that were stopped start again.
    Restoring,
    /// They do not: all requests go to those that run of the release before.
    Yielding,
    /// Then those that are missing are tried further.
    Recovering,
    /// All requests go to the release before.
    Turning,
    /// The instances of the new release stop.
    Retiring,
    /// Versions are not looked at any more.
    Clearing,
}

/// What happens to a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The state's effect was brought about.
    Done,
    /// It was not, as often as it is tried.
    GaveUp,
    /// The new release was measured, and whether the step's bake is over.
    Judged {
        /// What came of it.
        verdict: Judgement,
        /// Whether it was watched for long enough.
        is_over: bool,
    },
    /// An operator pauses it.
    Pause,
    /// An operator lets it go on.
    Resume,
    /// An operator gives everything to the new release.
    Promote,
    /// An operator wants the release before back.
    Abort,
    /// The process that runs it began anew.
    Restarted,
    /// The process began anew, and runs what the file says now, which is not what the rollout began with.
    Superseded,
}

/// What was measured, as far as the table asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// Good enough.
    Good,
    /// Not good enough.
    Bad,
    /// Nobody knows.
    Unknown,
}

/// Which of the two releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one before.
    Old,
    /// The one that is rolled out.
    New,
}

/// What a state is to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// So many instances of a release run.
    Scale(Side, u32),
    /// The new release gets that weight, of 1000, the other one the rest; none: versions are not looked at.
    Split(Option<u32>),
    /// The new release is measured, until the bake is over or for as long as it is paused.
    Watch,
    /// It is over.
    Finish,
}

/// What runs while a state is in force: where a process begins anew, it begins with this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Running {
    /// Instances of the release before.
    pub old: u32,
    /// Instances of the new one.
    pub new: u32,
}

/// What a rollout is doing, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// [`Stage::Preparing`].
    Preparing,
    /// [`Stage::Starting`].
    Starting,
    /// [`Stage::Shifting`].
    Shifting,
    /// [`Stage::Baking`].
    Baking,
    /// [`Stage::Retiring`].
    Retiring,
    /// [`State::Paused`].
    Paused,
    /// The last step is made.
    Promoting,
    /// [`State::RollingBack`].
    RollingBack,
    /// [`State::Promoted`].
    Promoted,
    /// [`State::RolledBack`].
    RolledBack,
}

impl State {
    /// Where every rollout begins.
    pub const START: Self = Self::Going(Place { stage: Stage::Preparing, from: 0, step: 1 });

    /// The table: the next state and what it is to bring about; none: the event means nothing here.
    pub fn step(self, course: &Course, event: Event) -> Option<(Self, Effect)> {
        let next = match (self, event) {
            (Self::Going(place), Event::Done) => place.done(course)?,
            (Self::Going(place), Event::Judged { verdict: Judgement::Good, is_over: true })
                if place.stage == Stage::Baking =>
            {
                place.baked(course)
            }
            (Self::Going(place) | Self::Paused(place), Event::Judged { verdict: Judgement::Bad, .. })
                if self.is_watched(course) =>
            {
                place.back(course)
            }
            (Self::Going(place) | Self::Paused(place), Event::GaveUp | Event::Abort) if place.has_return(course) => {
                place.back(course)
            }
            (Self::Going(place), Event::Pause) if place.step < course.last() => Self::Paused(place),
            (Self::Paused(place), Event::Resume) => Self::Going(place),
            (Self::Going(place) | Self::Paused(place), Event::Promote) if place.step < course.last() => {
                Self::Going(place.promoted(course))
            }
            // Who carries what is steered may have begun anew with it.
            (Self::Going(place), Event::Restarted) if place.stage == Stage::Baking => {
                Self::Going(Place { stage: Stage::Shifting, ..place })
            }
            (Self::Going(place) | Self::Paused(place), Event::Superseded) if !place.has_return(course) => {
                Self::Going(Place { stage: Stage::Clearing, ..place })
            }
            (Self::Going(_) | Self::Paused(_) | Self::RollingBack { .. }, Event::Superseded) => {
                Self::RollingBack { stage: Return::Clearing, step: 0 }
            }
            // Fewer instances of a good release are better than what is known to be bad.
            (Self::RollingBack { stage: Return::Restoring, step }, Event::GaveUp) => {
                Self::RollingBack { stage: Return::Yielding, step }
            }
            (Self::RollingBack { stage, step }, Event::Done) => stage.done(step),
            _ => return None,
        };
        Some((next, next.effect(course)))
    }

    /// What is to be brought about in this state; doing it again does nothing.
    pub fn effect(self, course: &Course) -> Effect {
        match self {
            Self::Going(Place { stage, step, .. }) => match stage {
                Stage::Preparing => Effect::Split(Some(0)),
                Stage::Starting | Stage::Confirming => Effect::Scale(Side::New, course.step(step).count),
                Stage::Shifting => Effect::Split(Some(course.step(step).weight)),
                Stage::Baking => Effect::Watch,
                Stage::Retiring => Effect::Scale(Side::Old, course.step(step).kept),
                Stage::Clearing => Effect::Split(None),
            },
            Self::Paused(_) => Effect::Watch,
            Self::RollingBack { stage, .. } => match stage {
                Return::Restoring | Return::Recovering => Effect::Scale(Side::Old, course.old()),
                Return::Yielding | Return::Turning => Effect::Split(Some(0)),
                Return::Retiring => Effect::Scale(Side::New, 0),
                Return::Clearing => Effect::Split(None),
            },
            Self::Promoted | Self::RolledBack => Effect::Finish,
        }
    }

    /// What has to run for whatever may be steered in this state.
    pub fn running(self, course: &Course) -> Running {
        let kept = |step: u32| course.step(step).kept;
        let count = |step: u32| course.step(step).count;
        match self {
            Self::Going(Place { stage, from, step }) | Self::Paused(Place { stage, from, step }) => match stage {
                Stage::Preparing => Running { old: course.old(), new: 0 },
                // A step that was promoted over may not have been shifted: those that carried it before are needed.
                Stage::Starting => Running { old: kept(from.saturating_sub(1)), new: count(from) },
                Stage::Shifting | Stage::Confirming => Running { old: kept(from.saturating_sub(1)), new: count(step) },
                Stage::Baking => Running { old: kept(from), new: count(step) },
                Stage::Retiring | Stage::Clearing => Running { old: kept(step), new: count(step) },
            },
            Self::RollingBack { stage: Return::Restoring | Return::Yielding | Return::Turning, step } => {
                Running { old: course.old(), new: count(step) }
            }
            Self::RollingBack { .. } | Self::RolledBack => Running { old: course.old(), new: 0 },
            Self::Promoted => Running { old: 0, new: count(course.last()) },
        }
    }

    /// The most that the new release gets in this state, of 1000.
    pub fn weight(self, course: &Course) -> u32 {
        match self {
            Self::Going(place) | Self::Paused(place) => course.step(place.reached()).weight,
            Self::RollingBack { stage: Return::Restoring | Return::Yielding | Return::Turning, step } => {
                course.step(step).weight
            }
            Self::RollingBack { .. } | Self::RolledBack => 0,
            Self::Promoted => course.step(course.last()).weight,
        }
    }

    /// The step that is being made, or of which it goes back; the one that promotes counts as the one before.
    pub fn number(self, course: &Course) -> u32 {
        let step = match self {
            Self::Going(place) | Self::Paused(place) => place.step,
            Self::RollingBack { step, .. } => step,
            Self::Promoted => course.last(),
            Self::RolledBack => 0,
        };
        step.min(course.last() - 1)
    }

    /// What it is doing.
    pub fn phase(self, course: &Course) -> Phase {
        match self {
            Self::Going(Place { stage: Stage::Preparing, .. }) => Phase::Preparing,
            Self::Going(place) if place.step == course.last() => Phase::Promoting,
            Self::Going(place) => match place.stage {
                Stage::Preparing => Phase::Preparing,
                Stage::Starting => Phase::Starting,
                Stage::Shifting => Phase::Shifting,
                // Of the last step only, which promotes.
                Stage::Confirming => Phase::Promoting,
                Stage::Baking => Phase::Baking,
                Stage::Retiring | Stage::Clearing => Phase::Retiring,
            },
            Self::Paused(_) => Phase::Paused,
            Self::RollingBack { .. } => Phase::RollingBack,
            Self::Promoted => Phase::Promoted,
            Self::RolledBack => Phase::RolledBack,
        }
    }

    /// Whether the new release has requests, and is taken back where it is found bad: from the step that promotes it,
    /// by hand too, nothing that is measured does.
    pub fn is_watched(self, course: &Course) -> bool {
        match self {
            Self::Going(place) | Self::Paused(place) => self.weight(course) > 0 && place.step < course.last(),
            Self::RollingBack { .. } | Self::Promoted | Self::RolledBack => false,
        }
    }

    /// Whether the release before can still be had back by an order.
    pub fn has_return(self, course: &Course) -> bool {
        matches!(self, Self::Going(place) | Self::Paused(place) if place.has_return(course))
    }

    /// Whether it is decided that the new release stays: the old one is on its way out.
    pub fn is_decided(self, course: &Course) -> bool {
        match self {
            Self::Going(place) | Self::Paused(place) => !place.has_return(course),
            Self::RollingBack { .. } | Self::RolledBack => false,
            Self::Promoted => true,
        }
    }

    /// Whether nothing happens any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Promoted | Self::RolledBack)
    }
}

impl Place {
    /// The step of which the new release may have its share by now.
    fn reached(self) -> u32 {
        match self.stage {
            Stage::Preparing => 0,
            Stage::Starting => self.from,
            Stage::Shifting | Stage::Baking | Stage::Confirming | Stage::Retiring | Stage::Clearing => self.step,
        }
    }

    /// The least that may run of the release before.
    fn kept(self, course: &Course) -> u32 {
        match self.stage {
            Stage::Preparing => course.old(),
            Stage::Starting | Stage::Shifting | Stage::Baking | Stage::Confirming => course.step(self.from).kept,
            Stage::Retiring | Stage::Clearing => course.step(self.step).kept,
        }
    }

    fn has_return(self, course: &Course) -> bool {
        self.step < course.last() || !matches!(self.stage, Stage::Retiring | Stage::Clearing)
    }

    fn done(self, course: &Course) -> Option<State> {
        let is_last = self.step == course.last();
        let stage = match self.stage {
            Stage::Preparing => Stage::Starting,
            Stage::Starting => Stage::Shifting,
            Stage::Shifting if is_last => Stage::Confirming,
            Stage::Shifting => Stage::Baking,
            Stage::Baking => return None,
            Stage::Confirming => Stage::Retiring,
            Stage::Retiring if is_last => Stage::Clearing,
            Stage::Retiring => return Some(State::Going(self.onward(course))),
            Stage::Clearing => return Some(State::Promoted),
        };
        Some(State::Going(Self { stage, ..self }))
    }

    /// The step was good: what it makes dispensable goes, then the next begins.
    fn baked(self, course: &Course) -> State {
        let is_dispensable = course.step(self.step).kept < self.kept(course);
        if is_dispensable && self.step + 1 < course.last() {
            return State::Going(Self { stage: Stage::Retiring, ..self });
        }
        State::Going(self.onward(course))
    }

    /// The next step. It asks for its instances also where they ran already: they may have ended since, which those
    /// who measure the requests of the others cannot tell.
    fn onward(self, course: &Course) -> Self {
        let step = self.step + 1;
        let has_all = step == course.last() && course.step(self.step).weight == course.step(step).weight;
        Self { stage: if has_all { Stage::Confirming } else { Stage::Starting }, from: self.step, step }
    }

    /// The last step in the place of all that are left.
    fn promoted(self, course: &Course) -> Self {
        let stage = if self.stage == Stage::Preparing { Stage::Preparing } else { Stage::Starting };
        Self { stage, from: self.reached(), step: course.last() }
    }

    /// The first thing to do to go back.
    fn back(self, course: &Course) -> State {
        let step = self.reached();
        let stage = match self.stage {
            Stage::Preparing => Return::Clearing,
            // It got nothing yet.
            _ if step == 0 => Return::Retiring,
            _ if self.kept(course) < course.old() => Return::Restoring,
            _ => Return::Turning,
        };
        State::RollingBack { stage, step }
    }
}

impl Return {
    fn done(self, step: u32) -> State {
        let stage = match self {
            Self::Restoring => Self::Turning,
            Self::Yielding => Self::Recovering,
            Self::Turning | Self::Recovering => Self::Retiring,
            Self::Retiring => Self::Clearing,
            Self::Clearing => return State::RolledBack,
        };
        State::RollingBack { stage, step }
    }
}

impl Phase {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Shifting => "shifting",
            Self::Baking => "baking",
            Self::Retiring => "retiring",
            Self::Paused => "paused",
            Self::Promoting => "promoting",
            Self::RollingBack => "rolling back",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled back",
        }
    }
}

#[cfg(test)]
mod tests;
