//! The table explored exhaustively: every order of progress, failures, verdicts, orders and crashes.

use std::collections::BTreeSet;

use bowline_model::{
    deploy::{Plan, Strategy},
    units::Share,
};
use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;
use crate::course::WEIGHT_ALL;

/// One rollout, its instances, and what its callers are steered by.
#[derive(Debug, Clone)]
struct Life {
    course: Course,
    old: u32,
    new: u32,
}

/// How the requests are split: the new release's weight, or that versions are not looked at.
type Split = Option<u32>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// What is kept; nothing else survives a crash but the splits.
    state: State,
    old: u32,
    new: u32,
    /// What callers may act by: what all acknowledged, and what was published since.
    splits: BTreeSet<Split>,
    /// The most that the new release may get by what was found good and by what was ordered.
    allowed: u32,
    /// An abort was taken.
    is_aborted: bool,
    /// An instance of the new release ended by itself, and it was not asked for since.
    has_dead: bool,
    /// What is declared is another release now, so that nothing is known of those that run.
    is_superseded: bool,
    fault: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    /// One instance starts or stops, a split reaches its first or its last caller.
    Work,
    Event(Event),
    /// An instance of the new release ends by itself.
    Die,
    /// The process begins anew; its instances run on.
    Restart,
    /// So it does, and all instances end with it.
    Crash,
    /// So it does, with another file.
    Change,
}

impl World {
    fn start(life: &Life) -> Self {
        let splits = BTreeSet::from([None]);
        let (state, allowed) = (State::START, life.course.step(1).weight);
        let (old, new) = (life.old, 0);
        Self { state, old, new, splits, allowed, is_aborted: false, has_dead: false, is_superseded: false, fault: None }
    }

    /// A part of what the state is to bring about, or its end; whether there is something to do.
    fn work(&mut self, life: &Life) -> bool {
        let toward = |count: u32, target: u32| if count < target { count + 1 } else { count - 1 };
        match self.state.effect(&life.course) {
            Effect::Scale(Side::Old, target) if self.old != target => self.old = toward(self.old, target),
            Effect::Scale(Side::New, _) if self.has_dead => self.has_dead = false,
            Effect::Scale(Side::New, target) if self.new != target => self.new = toward(self.new, target),
            Effect::Split(split) if !self.splits.contains(&split) => drop(self.splits.insert(split)),
            Effect::Split(split) => {
                self.splits = BTreeSet::from([split]);
                self.event(life, Event::Done);
            }
            Effect::Scale(..) => drop(self.event(life, Event::Done)),
            Effect::Watch | Effect::Finish => return false,
        }
        true
    }

    fn event(&mut self, life: &Life, event: Event) -> bool {
        let before = self.state;
        let Some((next, effect)) = before.step(&life.course, event) else { return false };
        assert_eq!(effect, next.effect(&life.course));
        self.state = next;
        let is_all = |state: State| state.weight(&life.course) == WEIGHT_ALL;
        let is_left_alone = |state: State| state.is_decided(&life.course);
        let gets_all = is_all(next) && !is_all(before) || is_left_alone(next) && !is_left_alone(before);
        if self.has_dead && gets_all {
            self.fault = Some(UNASKED);
        }
        if let (Event::Judged { .. }, State::Going(place)) = (event, before) {
            self.allowed = self.allowed.max(life.course.step(place.step + 1).weight);
        }
        if event == Event::Promote {
            self.allowed = WEIGHT_ALL;
        }
        if matches!(next, State::RollingBack { .. }) {
            // What it has it may keep until it is turned; more it must not get.
            self.allowed = self.most();
        }
        self.is_aborted |= event == Event::Abort;
        if self.is_aborted && matches!(next, State::Going(_) | State::Paused(_) | State::Promoted) {
            self.fault = Some(ABORTED);
        }
        true
    }

    /// The most that the new release may get by what callers act by.
    fn most(&self) -> u32 {
        self.splits.iter().flatten().copied().max().unwrap_or_default()
    }

    fn crash(&mut self, life: &Life) {
        let Running { old, new } = self.state.running(&life.course);
        (self.old, self.new, self.has_dead) = (old, new, false);
        self.event(life, Event::Restarted);
    }

    fn change(&mut self, life: &Life) {
        if self.event(life, Event::Superseded) {
            self.is_superseded = true;
            (self.old, self.new, self.has_dead) = (life.old, 0, false);
            // That is done before anything starts.
            self.splits = BTreeSet::from([None]);
        }
    }

    /// Whether enough runs for whatever callers may act by.
    fn has_capacity(&self, life: &Life) -> bool {
        let needed = life.old.min(life.new);
        self.splits.iter().all(|split| match split {
            None => self.old + self.new >= needed,
            Some(weight) => {
                let part = |weight: u32| (needed * weight / WEIGHT_ALL).max(u32::from(weight > 0));
                let serving = u32::from(*weight < WEIGHT_ALL) * self.old + u32::from(*weight > 0) * self.new;
                let needed = if self.is_yielding() { 1 } else { needed };
                serving >= needed && self.new >= part(*weight) && self.old >= part(WEIGHT_ALL - weight).min(needed)
            }
        })
    }

    /// Whether what was stopped of the old release does not start again.
    fn is_yielding(&self) -> bool {
        matches!(self.state, State::RollingBack { stage: Return::Yielding | Return::Recovering, .. })
    }

    /// Whether the new release gets no more than it may.
    fn is_within_share(&self, life: &Life) -> bool {
        let is_alone = self.old == 0 || self.new == 0;
        let may = self.allowed.min(self.state.weight(&life.course));
        self.most() <= may && (is_alone || !self.splits.contains(&None))
    }

    /// Whether it is as its end says, where it has one.
    fn is_complete(&self, life: &Life) -> bool {
        let is_unsteered = self.splits == BTreeSet::from([None]);
        match self.state {
            _ if self.is_superseded => !self.state.is_over() || is_unsteered,
            State::Promoted => is_unsteered && (self.old, self.new) == (0, life.new) && !self.is_aborted,
            State::RolledBack => is_unsteered && (self.old, self.new) == (life.old, 0),
            State::Going(_) | State::Paused(_) | State::RollingBack { .. } => true,
        }
    }

    /// Whether it ends when nothing goes wrong any more, and is not taken back but by what was decided before.
    fn settles(mut self, life: &Life) -> bool {
        let is_back = matches!(self.state, State::RollingBack { .. } | State::RolledBack);
        self.crash(life);
        self.event(life, Event::Resume);
        for _ in 0..WORK_MAX {
            if self.state.is_over() {
                break;
            }
            if !self.work(life) {
                self.event(life, GOOD);
            }
            if !self.has_capacity(life) || !self.is_within_share(life) {
                return false;
            }
        }
        self.state.is_over() && self.is_complete(life) && (self.state == State::RolledBack) == is_back
    }
}

const ABORTED: &str = "it goes on after an abort";
const UNASKED: &str = "everything is given to whom nobody asked for after an instance ended";

/// More than any rollout of these tests has to do.
const WORK_MAX: usize = 100;

const GOOD: Event = Event::Judged { verdict: Judgement::Good, is_over: true };

const EVENTS: [Event; 9] = [
    GOOD,
    Event::Judged { verdict: Judgement::Good, is_over: false },
    Event::Judged { verdict: Judgement::Unknown, is_over: true },
    Event::Judged { verdict: Judgement::Bad, is_over: false },
    Event::GaveUp,
    Event::Pause,
    Event::Resume,
    Event::Promote,
    Event::Abort,
];

impl Model for Life {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::start(self)]
    }

    fn actions(&self, _: &World, actions: &mut Vec<Action>) {
        actions.extend([Action::Work, Action::Die, Action::Restart, Action::Crash, Action::Change]);
        actions.extend(EVENTS.map(Action::Event));
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Work => drop(world.work(self)),
            Action::Event(event) => drop(world.event(self, event)),
            Action::Die => world.has_dead = world.new > 0,
            Action::Restart => drop(world.event(self, Event::Restarted)),
            Action::Crash if !world.is_superseded => world.crash(self),
            Action::Change => world.change(self),
            Action::Crash => {}
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("enough runs, whatever callers act by", |life: &Self, world: &World| {
                world.has_capacity(life)
            }),
            Property::always("the new release gets no more than its step's share", |life: &Self, world: &World| {
                world.is_within_share(life)
            }),
            Property::always("what is over is complete", |life: &Self, world: &World| world.is_complete(life)),
            Property::always("after an abort it goes back", |_, world: &World| world.fault != Some(ABORTED)),
            Property::always("who gets everything was asked for", |_, world: &World| world.fault != Some(UNASKED)),
            Property::always("it can be aborted until the old release goes", |life: &Self, world: &World| {
                let can_abort = world.state.step(&life.course, Event::Abort).is_some();
                can_abort == world.state.has_return(&life.course)
            }),
            Property::always("it ends where ports work", |life: &Self, world: &World| {
                world.is_superseded || world.clone().settles(life)
            }),
            Property::sometimes("it is promoted", |_, world: &World| world.state == State::Promoted),
            Property::sometimes("it goes back after an abort", |_, world: &World| {
                world.is_aborted && world.state == State::RolledBack
            }),
            Property::sometimes("it is paused", |_, world: &World| matches!(world.state, State::Paused(_))),
            Property::sometimes("another file ends it", |_, world: &World| {
                world.is_superseded && world.state.is_over()
            }),
        ]
    }
}

fn plan(strategy: Strategy, percents: &[u32]) -> Plan {
    let steps = percents.iter().map(|percent| Share::from_percent(*percent)).collect();
    Plan { strategy, steps, ..Plan::default() }
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Rollout",
        file: "crates/bowline-deploy/src/table.rs",
        formula: "Deployment(S)",
        diagram: &diagram(),
    };
    let plans = [plan(Strategy::Rolling, &[]), plan(Strategy::BlueGreen, &[]), plan(Strategy::Canary, &[5, 50])];
    let lives = [(1, 1), (2, 2), (3, 3), (3, 2), (2, 3), (1, 3), (3, 1)]
        .into_iter()
        .flat_map(|(old, new)| plans.iter().map(move |plan| Life { course: Course::new(plan, old, new), old, new }));
    table.prove(100, lives);
}

#[track_caller]
fn check_way(plan: &Plan, old: u32, new: u32, expect: &[(Phase, u32, Running)]) {
    let course = Course::new(plan, old, new);
    let (mut state, mut way) = (State::START, Vec::new());
    while !state.is_over() {
        let event = if state.effect(&course) == Effect::Watch { GOOD } else { Event::Done };
        state = state.step(&course, event).unwrap().0;
        if matches!(state.phase(&course), Phase::Baking | Phase::Promoting) {
            way.push((state.phase(&course), state.weight(&course), state.running(&course)));
        }
    }
    assert_eq!((state, way.as_slice()), (State::Promoted, expect));
}

#[test]
fn each_strategy_goes_its_own_way() {
    let baking = |weight, old, new| (Phase::Baking, weight, Running { old, new });
    let promoting = |old, new| (Phase::Promoting, WEIGHT_ALL, Running { old, new });
    check_way(
        &plan(Strategy::Canary, &[5, 25]),
        2,
        2,
        &[
            baking(50, 2, 2),
            baking(250, 2, 2),
            (Phase::Promoting, 250, Running { old: 2, new: 2 }),
            promoting(2, 2),
            promoting(2, 2),
            promoting(0, 2),
            promoting(0, 2),
        ],
    );
    check_way(
        &plan(Strategy::BlueGreen, &[]),
        2,
        3,
        &[baking(1000, 2, 3), promoting(2, 3), promoting(0, 3), promoting(0, 3)],
    );
    check_way(
        &plan(Strategy::Rolling, &[]),
        3,
        3,
        &[baking(333, 3, 1), baking(666, 2, 2), baking(1000, 1, 3), promoting(1, 3), promoting(0, 3), promoting(0, 3)],
    );
}

#[test]
fn the_diagram_in_the_documentation_is_the_table_s() {
    let page = include_str!("../../../../docs/deploy.md");
    let drawn = format!("```mermaid\n{}```\n", diagram());
    assert!(page.contains(&drawn), "put this into docs/deploy.md:\n{drawn}");
}
