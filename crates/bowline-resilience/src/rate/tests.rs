//! One key's limit explored exhaustively: every order of requests and time, against the definition.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

/// Someone who asks at any whole nanosecond up to `now_max`.
#[derive(Debug, Clone)]
struct Asker {
    limit: Limit,
    now_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: u64,
    full_at: u64,
    /// When each request was let through.
    allowed: Vec<u64>,
    /// Whether the last one, at this instant, was refused.
    was_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Ask,
    Tick,
}

impl Model for Asker {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World { now: 0, full_at: 0, allowed: vec![], was_refused: false }]
    }

    fn actions(&self, _: &World, actions: &mut Vec<Action>) {
        actions.extend([Action::Ask, Action::Tick]);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick => (world.now, world.was_refused) = (world.now + 1, false),
            Action::Ask => {
                let (full_at, decision) = self.limit.step(world.full_at, world.now);
                world.full_at = full_at;
                world.was_refused = !decision.is_allowed;
                if decision.is_allowed {
                    world.allowed.push(world.now);
                }
            }
        }
        Some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.now <= self.now_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no span has more than the burst and what refills in it", spans_are_bounded),
            Property::always("a request is refused only where it would break that", refusals_are_needed),
            Property::always("a refusal moves nothing", |model: &Self, world: &World| {
                let (full_at, decision) = model.limit.step(world.full_at, world.now);
                decision.is_allowed || full_at == world.full_at
            }),
            Property::always("so many are let through as remain, and no more", remaining_is_exact),
            Property::always("it is granted when it says, and not a moment before", retry_after_is_exact),
            Property::always("the full burst is there when it says, and not a moment before", reset_is_exact),
            Property::sometimes("a request is refused", |_, world: &World| world.was_refused),
            Property::sometimes("one is granted after a refusal", |model: &Self, world: &World| {
                world.allowed.len() > model.limit.burst as usize
            }),
        ]
    }
}

/// Whether each span that begins with a granted request and ends now has no more than it may.
fn is_within(limit: Limit, allowed: &[u64], now: u64) -> bool {
    allowed.iter().enumerate().all(|(at, begin)| {
        let count = (allowed.len() - at) as u64;
        count <= u64::from(limit.burst) + (now - begin) / limit.interval
    })
}

fn spans_are_bounded(model: &Asker, world: &World) -> bool {
    is_within(model.limit, &world.allowed, world.now)
}

fn refusals_are_needed(model: &Asker, world: &World) -> bool {
    let with_one_more: Vec<u64> = world.allowed.iter().copied().chain([world.now]).collect();
    model.limit.look(world.full_at, world.now).is_allowed == is_within(model.limit, &with_one_more, world.now)
}

fn remaining_is_exact(model: &Asker, world: &World) -> bool {
    let (mut full_at, now) = (world.full_at, world.now);
    let mut left = model.limit.look(full_at, now).remaining;
    loop {
        let (next, decision) = model.limit.step(full_at, now);
        if !decision.is_allowed {
            return left == 0 && decision.remaining == 0;
        }
        if left != decision.remaining + 1 || !decision.retry_after.is_zero() {
            return false;
        }
        (full_at, left) = (next, decision.remaining);
    }
}

fn retry_after_is_exact(model: &Asker, world: &World) -> bool {
    let decision = model.limit.look(world.full_at, world.now);
    let then = world.now + nanos(decision.retry_after);
    let is_early = then > world.now && model.limit.look(world.full_at, then - 1).is_allowed;
    decision.is_allowed == decision.retry_after.is_zero()
        && decision.retry_after <= model.limit.interval()
        && model.limit.look(world.full_at, then).is_allowed
        && !is_early
}

fn reset_is_exact(model: &Asker, world: &World) -> bool {
    let decision = model.limit.look(world.full_at, world.now);
    let then = world.now + nanos(decision.reset_after);
    let at = |now: u64| model.limit.look(world.full_at, now);
    at(then).remaining == model.limit.burst
        && at(then).reset_after.is_zero()
        && (then == world.now || !at(then - 1).reset_after.is_zero())
}

/// The limit as a Mermaid state diagram, drawn by asking it: a burst of two, one more each three nanoseconds.
fn drawn() -> String {
    let limit = Limit::new(Duration::from_nanos(3), 2);
    let name = |full_at, now| match limit.look(full_at, now).remaining {
        0 => "Spent",
        2 => "Full",
        _ => "Partly",
    };
    let asked = |full_at, now, label: &str| {
        let (next, decision) = limit.step(full_at, now);
        let effect = if decision.is_allowed { "let through" } else { "refuse, say when" };
        (name(full_at, now).to_owned(), name(next, now).to_owned(), format!("{label} / {effect}"))
    };
    let waited = |full_at, now: u64, label: &str| {
        (name(full_at, now).to_owned(), name(full_at, now + 3).to_owned(), label.to_owned())
    };
    let (full, partly, spent) = (0, 3, 6);
    let refilled = "an interval passes";
    proof::diagram(
        "Full",
        [
            asked(full, 0, "asked"),
            asked(partly, 0, "asked"),
            asked(spent, 0, "asked"),
            waited(spent, 0, refilled),
            waited(partly, 0, refilled),
        ],
    )
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Rate limit",
        file: "crates/bowline-resilience/src/rate.rs",
        formula: "check_limit(user, request)",
        diagram: &drawn(),
    };
    let of = |(interval, burst, now_max)| Asker { limit: Limit::new(Duration::from_nanos(interval), burst), now_max };
    table.prove(50, [(1, 1, 6), (3, 1, 12), (2, 3, 10), (3, 2, 14), (4, 5, 11)].map(of));
}
