//! The budget explored exhaustively: every order of calls, retries and time.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

/// Callers that share a budget. Time goes in steps of `step` nanoseconds.
#[derive(Debug, Clone)]
struct Callers {
    share: u64,
    step: u64,
    steps_max: u64,
    calls_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    pot: u64,
    floor_full_at: u64,
    steps: u64,
    calls: u64,
    /// Retries out of the pot, and out of the floor.
    shared: u64,
    floored: u64,
    is_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Call,
    Retry,
    Tick,
}

impl Model for Callers {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World { pot: 0, floor_full_at: 0, steps: 0, calls: 0, shared: 0, floored: 0, is_refused: false }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.calls < self.calls_max {
            actions.push(Action::Call);
        }
        actions.extend([Action::Retry, Action::Tick]);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = World { is_refused: false, ..before.clone() };
        let now = world.steps * self.step;
        let pot = Pot::unpack(world.pot).at(now / TICK_NANOS);
        match action {
            Action::Call => {
                world.pot = pot.plus(self.share).pack();
                world.calls += 1;
            }
            Action::Retry => match (pot.minus(RETRY), floor_after(world.floor_full_at, now)) {
                (Some(pot), _) => {
                    world.pot = pot.pack();
                    world.shared += 1;
                }
                (None, Some(full_at)) => {
                    world.floor_full_at = full_at;
                    world.floored += 1;
                }
                (None, None) => world.is_refused = true,
            },
            Action::Tick => world.steps += 1,
        }
        Some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.steps <= self.steps_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("retries out of the share never exceed it", |model: &Self, world: &World| {
                world.shared * RETRY <= world.calls * model.share
            }),
            Property::always(
                "retries out of the floor never exceed a second's worth and ten a second",
                |model: &Self, world: &World| {
                    let elapsed = world.steps * model.step;
                    world.floored <= u64::from(FLOOR_PER_SECOND) + elapsed / FLOOR_NANOS
                },
            ),
            Property::always("a refused retry could not have been paid for", |model: &Self, world: &World| {
                let now = world.steps * model.step;
                let left = Pot::unpack(world.pot).at(now / TICK_NANOS).millionths;
                !world.is_refused || (left < RETRY && floor_after(world.floor_full_at, now).is_none())
            }),
            Property::always("what fades only gets less", |model: &Self, world: &World| {
                let tick = world.steps * model.step / TICK_NANOS;
                let left = |later| Pot::unpack(world.pot).at(tick + later).millionths;
                (0..20).all(|later| left(later + 1) <= left(later)) && left(FADED_TICKS + 1) == 0
            }),
            Property::sometimes("a retry is paid for by the share", |_, world: &World| world.shared > 0),
            Property::sometimes("a retry is refused", |_, world: &World| world.is_refused),
            Property::sometimes("what was deposited has faded away", |model: &Self, world: &World| {
                let tick = world.steps * model.step / TICK_NANOS;
                let is_faded = world.shared == 0
                    && world.calls * model.share >= RETRY
                    && Pot::unpack(world.pot).at(tick).minus(RETRY).is_none();
                is_faded || model.step < TICK_NANOS
            }),
        ]
    }
}

fn diagram() -> String {
    let paid = |pot: Pot, full_at| match (pot.minus(RETRY), floor_after(full_at, 0)) {
        (Some(_), _) => "Retried: the share pays",
        (None, Some(_)) => "Retried: the floor pays",
        (None, None) => "Failed: neither has enough",
    };
    let (empty, full) = (Pot { tick: 0, millionths: 0 }, Pot { tick: 0, millionths: RETRY });
    let cases = [(full, 0), (empty, 0), (empty, FLOOR_FULL_NANOS)].map(|(pot, full_at)| paid(pot, full_at));
    let lines = cases.map(|line| format!("    Failing --> {line}\n")).concat();
    format!("stateDiagram-v2\n    [*] --> Called: deposit the share\n    Called --> Failing: it failed\n{lines}")
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Retry budget",
        file: "crates/bowline-resilience/src/retry.rs",
        formula: "In place of Retry(n) for each call alone: retries ≤ share × calls + floor",
        diagram: &diagram(),
    };
    let of = |(share, step, steps_max, calls_max)| Callers { share, step, steps_max, calls_max };
    let worlds = [(500_000, FLOOR_NANOS, 6, 8), (200_000, FLOOR_NANOS / 2 + 1, 6, 12), (1_000_000, TICK_NANOS, 3, 4)];
    table.prove(1000, worlds.map(of));
}
