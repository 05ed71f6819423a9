//! Every sequence of probes, up to a bound, against thresholds that differ.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

/// Probes in a sequence: twice every threshold there is, and some more.
const PROBES_MAX: usize = 12;

/// An instance that is probed, under these thresholds.
struct Probed(Thresholds);

/// The table's state, and what an observer of the probes alone remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    state: State,
    probes: Vec<Event>,
    /// The verdict by the observer's own count; none before the first.
    verdict: Option<bool>,
    last: Effect,
}

/// Probes of that outcome at the end of the sequence.
fn in_a_row(probes: &[Event], event: Event) -> usize {
    probes.iter().rev().take_while(|probe| **probe == event).count()
}

fn verdict_of(state: State) -> Option<bool> {
    match state {
        State::Unknown { .. } => None,
        State::Healthy { .. } => Some(true),
        State::Unhealthy { .. } => Some(false),
    }
}

impl Model for Probed {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World { state: State::START, probes: vec![], verdict: None, last: Effect::None }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Event>) {
        if world.probes.len() < PROBES_MAX {
            actions.extend([Event::Succeeded, Event::Failed]);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let (state, last) = world.state.step(event, self.0);
        let mut probes = world.probes.clone();
        probes.push(event);
        let reaches = |event, threshold: u32| in_a_row(&probes, event) >= threshold as usize;
        let verdict = match world.verdict {
            Some(true) if reaches(Event::Failed, self.0.unhealthy_after) => Some(false),
            None | Some(false) if reaches(Event::Succeeded, self.0.healthy_after) => Some(true),
            same => same,
        };
        Some(World { state, probes, verdict, last })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the verdict changes exactly at its threshold", |_, world: &World| {
                verdict_of(world.state) == world.verdict
            }),
            Property::always("no flap below a threshold", |model: &Self, world: &World| match world.last {
                Effect::BecameHealthy => in_a_row(&world.probes, Event::Succeeded) >= model.0.healthy_after as usize,
                Effect::BecameUnhealthy => in_a_row(&world.probes, Event::Failed) >= model.0.unhealthy_after as usize,
                Effect::None | Effect::NotYet => true,
            }),
            Property::always("counters stay below their thresholds", |model: &Self, world: &World| match world.state {
                State::Unknown { successes } | State::Unhealthy { successes } => successes < model.0.healthy_after,
                State::Healthy { failures } => failures < model.0.unhealthy_after,
            }),
            Property::always("what was never healthy is never unhealthy", |_, world: &World| {
                world.verdict.is_some() || world.last != Effect::BecameUnhealthy
            }),
            Property::always("each failure before the first verdict is told", |_, world: &World| {
                let is_failed = world.probes.last() == Some(&Event::Failed);
                world.verdict.is_some() || (world.last == Effect::NotYet) == is_failed
            }),
            Property::sometimes("it recovers", |_, world: &World| {
                world.last == Effect::BecameHealthy && world.probes.contains(&Event::Failed)
            }),
            Property::sometimes("it becomes unhealthy", |_, world: &World| world.last == Effect::BecameUnhealthy),
        ]
    }
}

/// The table as a Mermaid state diagram, drawn by running it with thresholds of two.
fn drawn() -> String {
    let thresholds = Thresholds { healthy_after: 2, unhealthy_after: 2 };
    let cases = [
        (State::START, Event::Succeeded, "succeeded"),
        (State::Unknown { successes: 1 }, Event::Succeeded, "succeeded healthy_after times in a row"),
        (State::Unknown { successes: 1 }, Event::Failed, "failed"),
        (State::Healthy { failures: 1 }, Event::Succeeded, "succeeded"),
        (State::Healthy { failures: 0 }, Event::Failed, "failed"),
        (State::Healthy { failures: 1 }, Event::Failed, "failed unhealthy_after times in a row"),
        (State::Unhealthy { successes: 0 }, Event::Succeeded, "succeeded"),
        (State::Unhealthy { successes: 1 }, Event::Succeeded, "succeeded healthy_after times in a row"),
        (State::Unhealthy { successes: 1 }, Event::Failed, "failed"),
    ];
    let drawn = cases.map(|(before, event, label)| {
        let (after, effect) = before.step(event, thresholds);
        let effect = match effect {
            Effect::None => "",
            Effect::NotYet => " / say why not yet",
            Effect::BecameHealthy => " / register",
            Effect::BecameUnhealthy => " / take out of the picks",
        };
        (name(before), name(after), format!("{label}{effect}"))
    });
    proof::diagram("Unknown", drawn)
}

fn name(state: State) -> String {
    let name = match state {
        State::Unknown { .. } => "Unknown",
        State::Healthy { .. } => "Healthy",
        State::Unhealthy { .. } => "Unhealthy",
    };
    name.to_owned()
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Health",
        file: "crates/bowline-registry/src/health/machine.rs",
        formula: "check_health(s) → HealthStatus",
        diagram: &drawn(),
    };
    let of = |(healthy_after, unhealthy_after)| Probed(Thresholds { healthy_after, unhealthy_after });
    table.prove(4000, [(1, 1), (1, 2), (2, 1), (3, 2), (2, 4)].map(of));
}

#[test]
fn thresholds_count_probes_in_a_row() {
    let check = |healthy_after, unhealthy_after, probes: &str, expect: &str| {
        let (mut state, mut told) = (State::START, String::new());
        for probe in probes.chars() {
            let event = if probe == '.' { Event::Succeeded } else { Event::Failed };
            let (next, effect) = state.step(event, Thresholds { healthy_after, unhealthy_after });
            state = next;
            told.push(match effect {
                Effect::None => '-',
                Effect::NotYet => 'n',
                Effect::BecameHealthy => 'H',
                Effect::BecameUnhealthy => 'U',
            });
        }
        assert_eq!(told, expect, "{healthy_after} and {unhealthy_after}");
    };
    check(1, 2, "xx..x.xxx.x", "nnH----U-H-");
    check(3, 2, ".x...x.xx..x...", "-n--H---U-----H");
    check(0, 0, "x.x.", "nHUH");
}
