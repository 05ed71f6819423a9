//! The table explored exhaustively: several instances of one set, found in every order, while some leave.

use bowline_model::policy::Share;
use bowline_testkit::proof;
use proptest::prelude::*;
use stateright::{Model, Property};

use super::*;
use crate::outlier::out_max;

/// About a second, and a number of the units in which a word holds times.
const SECOND: Duration = Duration::from_nanos(1 << 30);

/// A set under a detector. Time goes in about seconds up to `now_max`.
#[derive(Debug, Clone)]
struct Set {
    instances: usize,
    ejected_max: Share,
    eject_for: OpenFor,
    now_max: u32,
    /// How often one leaves, or is recalled.
    changes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    standings: Vec<Standing>,
    /// How many the set holds for being out.
    out: u64,
    now: u32,
    changes: usize,
    /// What is known of the last ejection: whom, and how many were out before.
    last: Option<(usize, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Find(usize),
    Sweep,
    Recall(usize),
    Leave(usize),
    Tick,
}

impl World {
    fn at(&self) -> Duration {
        SECOND * self.now
    }

    fn ejected(&self) -> usize {
        self.standings.iter().filter(|standing| standing.is_ejected(self.at())).count()
    }

    fn present(&self) -> u64 {
        self.standings.iter().filter(|standing| standing.phase != Phase::Gone).count() as u64
    }

    fn step(&mut self, model: &Set, at: usize, event: Event) -> Effects {
        let (next, effects) = self.standings[at].step(model.eject_for, event, self.at());
        self.standings[at] = next;
        self.out -= u64::from(effects.is_back);
        effects
    }

    /// As [`Record::eject`](crate::outlier::Record) does it: the place first.
    fn find(&mut self, model: &Set, at: usize) {
        let before = self.out;
        if before < out_max(model.ejected_max, self.present()) {
            self.out += 1;
            if self.step(model, at, Event::Found(Why::Consecutive)).is_ejected {
                self.last = Some((at, before));
            } else {
                self.out -= 1;
            }
        }
    }
}

impl Model for Set {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World { standings: vec![Standing::START; self.instances], out: 0, now: 0, changes: 0, last: None }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for at in 0..self.instances {
            actions.push(Action::Find(at));
            if world.changes < self.changes_max {
                actions.extend([Action::Leave(at), Action::Recall(at)]);
            }
        }
        actions.extend([Action::Sweep, Action::Tick]);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let is_change = matches!(action, Action::Recall(_) | Action::Leave(_));
        let mut world = World { last: None, changes: before.changes + usize::from(is_change), ..before.clone() };
        match action {
            Action::Find(at) => world.find(self, at),
            Action::Sweep => (0..self.instances).for_each(|at| {
                world.step(self, at, Event::Swept);
            }),
            Action::Recall(at) => {
                world.step(self, at, Event::Recalled);
            }
            Action::Leave(at) => {
                world.step(self, at, Event::Left);
            }
            Action::Tick => world.now += 1,
        }
        Some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.now <= self.now_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no ejection makes more be out than may be, but one may always be",
                |model: &Self, world: &World| {
                    world.last.is_none_or(|(_, before)| before < out_max(model.ejected_max, world.present()))
                },
            ),
            Property::always("the set knows how many are out", |_, world: &World| {
                let is_out = |standing: &&Standing| matches!(standing.phase, Phase::Out { .. });
                world.out == world.standings.iter().filter(is_out).count() as u64
            }),
            Property::always("whoever is out comes back with time alone", |model: &Self, world: &World| {
                let late = world.at() + model.eject_for.max;
                world.standings.iter().all(|standing| !standing.is_ejected(late))
            }),
            Property::always("it is out as long as its ejections in a row say, within the bounds", times_are_as_said),
            Property::always("what has left stays so, whatever is still told of it", |model: &Self, world: &World| {
                let gone = world.standings.iter().filter(|standing| standing.phase == Phase::Gone);
                let events = [Event::Found(Why::FailureRate), Event::Swept, Event::Recalled, Event::Left];
                let is_inert = |standing: &Standing, event| {
                    standing.step(model.eject_for, event, world.at()) == (*standing, Effects::default())
                };
                gone.flat_map(|standing| events.map(|event| (standing, event))).all(|(s, event)| is_inert(s, event))
            }),
            Property::always("a word holds the whole standing", |_, world: &World| {
                world.standings.iter().all(|standing| {
                    let read = Standing::unpack(standing.pack());
                    let is_same_now = Standing::is_word_ejected(standing.pack(), nanos(world.at()));
                    read.ejections == standing.ejections && is_same_now == standing.is_ejected(world.at())
                })
            }),
            Property::sometimes("one is out for longer than at first", |model: &Self, world: &World| {
                let is_longer = |until| until > world.at() + model.eject_for.min;
                world.standings.iter().any(|s| matches!(s.phase, Phase::Out { until, .. } if is_longer(until)))
            }),
            Property::sometimes("as many are out as may be", |model: &Self, world: &World| {
                world.ejected() as u64 == out_max(model.ejected_max, world.present())
            }),
            Property::sometimes("one that was out is as if it never was", |_, world: &World| {
                world.now > 1 && world.standings.iter().all(|standing| *standing == Standing::START)
            }),
            Property::sometimes("one is found again before a sweep comes by", |_, world: &World| {
                world.last.is_some_and(|(at, _)| world.standings[at].ejections > 1)
            }),
        ]
    }
}

fn times_are_as_said(model: &Set, world: &World) -> bool {
    let Some((at, _)) = world.last else { return true };
    let Standing { phase: Phase::Out { until, .. }, ejections } = world.standings[at] else { return false };
    let OpenFor { min, max } = model.eject_for;
    until == world.at() + (min * u32::from(ejections)).min(max) && ejections > 0
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Outlier ejection",
        file: "crates/bowline-balance/src/outlier/standing.rs",
        formula: "LoadBalancing(R, S) = select(R, {s ∈ S | ¬ejected(s)})",
        diagram: &diagram(),
    };
    let of = |(instances, percent, now_max, changes_max)| Set {
        instances,
        ejected_max: Share::from_percent(percent),
        eject_for: OpenFor { min: SECOND, max: SECOND * 3 },
        now_max,
        changes_max,
    };
    table.prove(400, [(1, 10, 14, 0), (3, 10, 9, 0), (2, 100, 9, 2), (3, 67, 5, 1), (4, 50, 4, 1)].map(of));
}

proptest! {
    #[test]
    fn a_word_holds_what_was_packed(millis in 0u64..1 << 40, ejections: u16, why in 0usize..3, phase in 0..3) {
        let until = Duration::from_nanos(millis << 20);
        let phase = match phase {
            0 => Phase::In,
            1 => Phase::Gone,
            _ => Phase::Out { until, why: Why::ALL[why] },
        };
        let standing = Standing { phase, ejections };
        prop_assert_eq!(Standing::unpack(standing.pack()), standing);
    }

    #[test]
    fn ends_are_rounded_up_to_about_a_millisecond(nanos in 0u64..1 << 60) {
        let phase = Phase::Out { until: Duration::from_nanos(nanos), why: Why::FailureRate };
        let word = Standing { phase, ejections: 3 }.pack();
        let Phase::Out { until, .. } = Standing::unpack(word).phase else { panic!("it is out") };
        let until = u64::try_from(until.as_nanos()).unwrap();
        prop_assert!((nanos..nanos + (1 << 20)).contains(&until), "{} for {}", until, nanos);
    }
}

#[test]
fn the_diagram_in_the_documentation_is_the_table_s() {
    let page = include_str!("../../../docs/outlier.md");
    let drawn = format!("```mermaid\n{}```\n", diagram());
    assert!(page.contains(&drawn), "put this into docs/outlier.md:\n{drawn}");
}
