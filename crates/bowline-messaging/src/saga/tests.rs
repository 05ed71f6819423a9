//! The table explored exhaustively: two who work on one saga, one of them perhaps without knowing that it has lost it;
//! crashes, answers and requests that are lost or late, services that say no, time that is over.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

/// The end of the explored time.
const NOW_MAX: i64 = 3;
const RETRY: Policy = Policy { attempts_max: 2, backoff_ms: 1, backoff_ms_max: 1 };

/// The steps, and how often the saga changes hands.
#[derive(Debug, Clone)]
struct Life {
    plan: Plan,
    deadline: i64,
    takeovers_max: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// What survives a crash, and how often it was changed.
    kept: Saga,
    version: u8,
    workers: [Option<Work>; 2],
    /// What holds of each step where it is done.
    there: Vec<There>,
    /// Requests of a step that were given up and may arrive yet.
    late: Vec<bool>,
    /// Whether a step was tried from which on there is only forward.
    is_forward: bool,
    now: i64,
    takeovers: u8,
    fault: Option<&'static str>,
}

/// Somebody's view of the saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Work {
    version: u8,
    saga: Saga,
    effect: Effect,
    is_kept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum There {
    Nothing,
    Acted,
    /// It will not act any more.
    Undone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    /// Somebody takes the saga, from another where there is one.
    Take(usize),
    Crash(usize),
    /// Somebody looks again.
    Look(usize),
    /// Somebody has the next effect brought about; what comes of it.
    Try(usize, Comes),
    /// Somebody keeps what came of it.
    Keep(usize),
    /// An operator has it tried at once.
    Retry,
    /// A request that was given up arrives.
    Arrive(usize),
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Comes {
    Good,
    No,
    /// It happened, and the answer is lost.
    Lost,
    /// It did not happen, and may yet.
    Late,
    /// It did not happen.
    Failed,
}

impl World {
    fn start(life: &Life) -> Self {
        let kept = Saga::begin(0, life.deadline);
        let mut world = Self {
            kept,
            version: 0,
            workers: [None, None],
            there: vec![There::Nothing; life.plan.steps.len()],
            late: vec![false; life.plan.steps.len()],
            is_forward: false,
            now: 0,
            takeovers: 0,
            fault: None,
        };
        // Who began it knows that nothing was tried.
        let work = Work { version: 0, saga: kept, effect: Effect::Stale, is_kept: true };
        world.workers[0] = Some(world.stepped(life, work, Event::Look));
        world
    }

    fn stepped(&self, life: &Life, work: Work, event: Event) -> Work {
        let (saga, effect) = work.saga.step(&life.plan, event, Moment { now: self.now, luck: u16::MAX });
        Work { saga, effect, is_kept: work.is_kept && saga == work.saga, ..work }
    }

    /// Compare and swap.
    fn keep(&mut self, worker: usize, work: Work) -> bool {
        if work.version != self.version {
            self.workers[worker] = None;
            return false;
        }
        if self.kept.phase.is_ended() {
            self.fault = Some("an end is not the end");
        }
        (self.kept, self.version) = (work.saga, self.version + 1);
        self.workers[worker] = Some(Work { version: self.version, is_kept: true, ..work });
        true
    }

    fn take(&mut self, life: &Life, worker: usize) -> bool {
        if self.workers[worker].is_some() || self.kept.phase.is_ended() || self.takeovers >= life.takeovers_max {
            return false;
        }
        self.takeovers += 1;
        self.version += 1;
        let work = Work { version: self.version, saga: self.kept, effect: Effect::Stale, is_kept: true };
        self.workers[worker] = Some(self.stepped(life, work, Event::Resume));
        true
    }

    /// By whoever it is, whatever anybody works on: what they keep after it is refused.
    fn retry(&mut self, life: &Life) -> bool {
        if self.kept.phase.is_ended() || self.takeovers >= life.takeovers_max {
            return false;
        }
        self.takeovers += 1;
        let (saga, _) = self.kept.step(&life.plan, Event::Retry, Moment { now: self.now, luck: u16::MAX });
        (self.kept, self.version) = (saga, self.version + 1);
        true
    }

    fn attempt(&mut self, life: &Life, worker: usize, comes: Comes) -> bool {
        let Some(work) = self.workers[worker] else { return false };
        let (step, is_undo) = match work.effect {
            Effect::Act { step } => (step, false),
            Effect::Undo { step } => (step, true),
            Effect::Wait { .. } | Effect::Ended | Effect::Stale => return false,
        };
        let is_tried = if life.plan.steps[step].is_local {
            self.attempt_local(life, worker, work, step, is_undo, comes)
        } else {
            // What was decided is kept before anything is begun elsewhere because of it.
            work.is_kept && self.attempt_remote(life, worker, work, step, is_undo, comes)
        };
        self.is_forward |= is_tried && life.plan.is_forward(step);
        is_tried
    }

    /// What comes of it and that it did are one commit.
    fn attempt_local(
        &mut self,
        life: &Life,
        worker: usize,
        work: Work,
        step: usize,
        is_undo: bool,
        comes: Comes,
    ) -> bool {
        let event = match (comes, is_undo) {
            (Comes::Good, false) => Event::Acted { step },
            (Comes::Good, true) => Event::Undone { step },
            (Comes::No, false) => Event::Refused { step },
            (Comes::Failed, false) => Event::Failed { step },
            (Comes::Failed, true) => Event::NotUndone { step },
            (Comes::No, true) | (Comes::Lost | Comes::Late, _) => return false,
        };
        let next = self.stepped(life, work, event);
        if self.keep(worker, next) && comes == Comes::Good {
            let expect = if is_undo { There::Acted } else { There::Nothing };
            if self.there[step] != expect {
                self.fault = Some("what is local happened twice, or was undone without having happened");
            }
            self.there[step] = if is_undo { There::Undone } else { There::Acted };
        }
        true
    }

    fn attempt_remote(
        &mut self,
        life: &Life,
        worker: usize,
        work: Work,
        step: usize,
        is_undo: bool,
        comes: Comes,
    ) -> bool {
        let there = &mut self.there[step];
        if is_undo && !matches!(comes, Comes::Failed | Comes::Late) {
            if self.kept.phase == Phase::Done {
                self.fault = Some("what is done was undone");
            }
            *there = There::Undone;
        }
        let event = match (comes, is_undo) {
            (Comes::Good, true) => Event::Undone { step },
            (Comes::Lost | Comes::Failed, true) => Event::NotUndone { step },
            (Comes::Late | Comes::No, true) => return false,
            // Who has undone it says no, whatever else would come of it; who has done it does not.
            (Comes::Good | Comes::No, false) if *there == There::Undone => Event::Refused { step },
            (Comes::No, false) if *there == There::Acted => return false,
            (Comes::No, false) => Event::Refused { step },
            (Comes::Good, false) => {
                *there = There::Acted;
                Event::Acted { step }
            }
            (Comes::Lost, false) => {
                *there = if *there == There::Undone { There::Undone } else { There::Acted };
                Event::Failed { step }
            }
            (Comes::Late, false) => {
                self.late[step] = true;
                Event::Failed { step }
            }
            (Comes::Failed, false) => Event::Failed { step },
        };
        self.workers[worker] = Some(self.stepped(life, work, event));
        true
    }

    fn act(&mut self, life: &Life, action: Action) -> bool {
        match action {
            Action::Take(worker) => self.take(life, worker),
            Action::Crash(worker) => self.workers[worker].take().is_some(),
            Action::Retry => self.retry(life),
            Action::Look(worker) => {
                let Some(work) = self.workers[worker] else { return false };
                self.workers[worker] = Some(self.stepped(life, work, Event::Look));
                true
            }
            Action::Try(worker, comes) => self.attempt(life, worker, comes),
            Action::Keep(worker) => {
                let Some(work) = self.workers[worker].filter(|work| !work.is_kept) else { return false };
                self.keep(worker, work);
                true
            }
            Action::Arrive(step) => {
                if !std::mem::take(&mut self.late[step]) {
                    return false;
                }
                if self.there[step] == There::Nothing {
                    self.there[step] = There::Acted;
                }
                true
            }
            Action::Tick => {
                self.now += 1;
                self.now <= NOW_MAX
            }
        }
    }
}

impl Model for Life {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::start(self)]
    }

    fn actions(&self, _: &World, actions: &mut Vec<Action>) {
        actions.extend([Action::Tick, Action::Retry]);
        actions.extend((0..self.plan.steps.len()).map(Action::Arrive));
        for worker in 0..2 {
            actions.extend([Action::Take, Action::Crash, Action::Look, Action::Keep].map(|action| action(worker)));
            let all = [Comes::Good, Comes::No, Comes::Lost, Comes::Late, Comes::Failed];
            actions.extend(all.map(|comes| Action::Try(worker, comes)));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        (next.act(self, action) && next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("a saga has one end", |_, world: &World| world.fault.is_none()),
            Property::always("it is done when each step is", |_, world: &World| {
                world.kept.phase != Phase::Done || world.there.iter().all(|there| *there == There::Acted)
            }),
            Property::always(
                "it is compensated when each step that acted is undone, and none acts any more",
                |_, world: &World| world.kept.phase != Phase::Compensated || !world.there.contains(&There::Acted),
            ),
            Property::always("whoever takes it up finds what is to be done", |life: &Self, world: &World| {
                let later = Moment { now: i64::MAX / 2, luck: 0 };
                let (saga, effect) = world.kept.step(&life.plan, Event::Resume, later);
                matches!(effect, Effect::Act { .. } | Effect::Undo { .. }) || saga.phase.is_ended()
            }),
            Property::sometimes("it is done after another has taken it over", |_, world: &World| {
                world.kept.phase == Phase::Done && world.takeovers > 0
            }),
        ];
        if self.is_undone_somewhere() {
            properties.extend([
                Property::sometimes("it is compensated though a step had acted", |_, world: &World| {
                    world.kept.phase == Phase::Compensated && world.there[0] == There::Undone
                }),
                Property::sometimes("it is stuck", |life: &Self, world: &World| world.kept.phase.is_stuck(&life.plan)),
            ]);
        }
        if self.plan.forward_from.is_some() {
            properties.extend([
                Property::always("once a step was tried that is forward, nothing is undone", |_, world: &World| {
                    let is_back = matches!(world.kept.phase, Phase::Undoing { .. } | Phase::Compensated);
                    !world.is_forward || !is_back && !world.there.contains(&There::Undone)
                }),
                Property::sometimes("it goes forward after its time is over", |life: &Self, world: &World| {
                    matches!(world.kept.phase, Phase::Acting { since, .. } if since >= life.deadline)
                }),
            ]);
        }
        properties
    }

    fn within_boundary(&self, world: &World) -> bool {
        let is_within = |saga: &Saga| match saga.phase {
            // Once more than what is given up elsewhere.
            Phase::Acting { attempts, .. } => attempts <= RETRY.attempts_max,
            Phase::Undoing { attempts, .. } => attempts <= 1,
            Phase::Done | Phase::Compensated => true,
        };
        is_within(&world.kept) && world.workers.iter().flatten().all(|work| is_within(&work.saga))
    }
}

fn plan(steps: &[bool]) -> Plan {
    let step = |is_local: &bool| StepPlan { is_local: *is_local, within_ms: 3, retry: RETRY };
    let undo = Policy { attempts_max: 1, backoff_ms: 1, backoff_ms_max: 1 };
    Plan { steps: steps.iter().map(step).collect(), forward_from: None, undo }
}

impl Life {
    /// Whether a step that did or may have acted can be given up.
    fn is_undone_somewhere(&self) -> bool {
        let mut steps = self.plan.steps.iter().enumerate();
        steps.any(|(step, plan)| !self.plan.is_forward(step) && (step > 0 || !plan.is_local))
    }
}

#[test]
fn proof() {
    let (local, remote) = (true, false);
    let forward_from = |step, plan| Plan { forward_from: Some(step), ..plan };
    let lives = [
        Life { plan: plan(&[local, remote, local]), deadline: i64::MAX, takeovers_max: 1 },
        Life { plan: plan(&[remote, remote]), deadline: 2, takeovers_max: 1 },
        Life { plan: plan(&[remote]), deadline: 2, takeovers_max: 2 },
        Life { plan: plan(&[local, local]), deadline: 2, takeovers_max: 2 },
        Life { plan: forward_from(1, plan(&[remote, remote, local])), deadline: 2, takeovers_max: 1 },
        Life { plan: forward_from(1, plan(&[local, remote])), deadline: 2, takeovers_max: 2 },
    ];
    let table = proof::Table {
        name: "Saga",
        file: "crates/bowline-messaging/src/saga.rs",
        formula: "saga(s₁…sₙ) = s₁ · … · sₙ, or s₁ · … · sₖ · undo(sₖ) · … · undo(s₁), where none up to sₖ is forward",
        diagram: &diagram(),
    };
    table.prove(500, lives);
}

/// The table drawn by running it on two steps elsewhere, the second of them forward at the end.
fn diagram() -> String {
    let plan = plan(&[false, false]);
    let whole = Plan { forward_from: Some(1), ..plan.clone() };
    let moment = |now| Moment { now, luck: u16::MAX };
    let after = |saga: Saga, event| saga.step(&plan, event, moment(0)).0;
    let first = Saga::begin(0, 50);
    let second = after(first, Event::Acted { step: 0 });
    let back = after(second, Event::Refused { step: 1 });
    let unsure = after(after(second, Event::Failed { step: 1 }), Event::Failed { step: 1 });
    let cases = [
        (first, Event::Acted { step: 0 }, 0, "done, the next"),
        (first, Event::Failed { step: 0 }, 0, "a try failed"),
        (first, Event::Refused { step: 0 }, 0, "the first step says no"),
        (second, Event::Acted { step: 1 }, 0, "the last step is done"),
        (second, Event::Refused { step: 1 }, 0, "a later step says no"),
        (second, Event::Look, 50, "the time is over"),
        (unsure, Event::Undone { step: 1 }, 0, "undone, the one before"),
        (back, Event::NotUndone { step: 0 }, 0, "a try to undo failed"),
        (back, Event::Undone { step: 0 }, 0, "the first step is undone"),
    ];
    let forward = [
        (second, Event::Refused { step: 1 }, 0, "a step that is forward says no"),
        (second, Event::Look, 50, "the time is over at a step that is forward"),
    ];
    let drawn = |plan: &Plan, (before, event, now, label): (Saga, Event, i64, &str)| {
        let to = before.step(plan, event, moment(now)).0;
        (name(before).to_owned(), name(to).to_owned(), label.to_owned())
    };
    let transitions = cases.map(|case| drawn(&plan, case)).into_iter();
    proof::diagram("acting", transitions.chain(forward.map(|case| drawn(&whole, case))))
}

fn name(saga: Saga) -> &'static str {
    match saga.phase {
        Phase::Acting { .. } => "acting",
        Phase::Undoing { .. } => "undoing",
        Phase::Done => "done",
        Phase::Compensated => "compensated",
    }
}

#[test]
fn a_step_that_says_no_after_a_try_of_unknown_outcome_is_undone_too() {
    let plan = plan(&[true, false]);
    let moment = Moment { now: 0, luck: 0 };
    let (saga, _) = Saga::begin(0, 100).step(&plan, Event::Acted { step: 0 }, moment);
    let (sure, effect) = saga.step(&plan, Event::Refused { step: 1 }, moment);
    assert_eq!(effect, Effect::Undo { step: 0 }, "{sure:?}");
    for unknown in [Event::Failed { step: 1 }, Event::Resume] {
        let (saga, _) = saga.step(&plan, unknown, moment);
        let (saga, effect) = saga.step(&plan, Event::Refused { step: 1 }, moment);
        assert_eq!(effect, Effect::Undo { step: 1 }, "{saga:?}");
    }
    let (same, effect) = saga.step(&plan, Event::Acted { step: 0 }, moment);
    assert_eq!((same, effect), (saga, Effect::Stale));
}

#[test]
fn from_a_step_on_there_is_only_forward() {
    let whole = Plan { forward_from: Some(1), ..plan(&[false, false, true]) };
    let moment = |now| Moment { now, luck: 0 };
    let begun = Saga::begin(0, 2);
    let (captured, _) = begun.step(&whole, Event::Acted { step: 0 }, moment(1));
    // Before it, its time and that of the saga count.
    assert_eq!(begun.step(&whole, Event::Look, moment(2)).0.phase, Phase::Compensated);
    assert_eq!(begun.gives_up_at(&whole), Some(2));
    let settling = captured.step(&whole, Event::Acted { step: 1 }, moment(1)).0;
    for (step, saga) in [(1, captured), (2, settling)] {
        // Everything that can happen but that it is done, at any time, twice over.
        let events = [Event::Look, Event::Resume, Event::Retry, Event::Failed { step }, Event::Refused { step }];
        let happens = || [1, 2, 60_000, i64::MAX / 2].into_iter().flat_map(|now| events.map(|event| (event, now)));
        for (first, then) in happens().flat_map(|first| happens().map(move |then| (first, then))) {
            let saga = saga.step(&whole, first.0, moment(first.1)).0;
            let (saga, effect) = saga.step(&whole, then.0, moment(then.1));
            assert!(matches!(saga.phase, Phase::Acting { step: at, .. } if at == step), "{first:?} {then:?}: {saga:?}");
            assert!(matches!(effect, Effect::Act { .. } | Effect::Wait { .. }), "{first:?} {then:?}: {effect:?}");
            assert_eq!(saga.gives_up_at(&whole), None);
        }
    }
    assert_eq!(settling.step(&whole, Event::Acted { step: 2 }, moment(i64::MAX / 2)).0.phase, Phase::Done);
}
