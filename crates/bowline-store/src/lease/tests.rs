//! Every order of renewals, ticks, revocations, failures and time, up to a bound.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

const TTL: Nanos = 3;
const CLOCK_MAX: Nanos = 9;
const FAILURES_MAX: u8 = 2;

/// A lease, its surroundings, and what an observer remembers of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    state: State,
    now: Nanos,
    timer: Option<Nanos>,
    deletions_under_way: u8,
    deletions_done: u8,
    failures: u8,
    renewed_at: Nanos,
    was_revoked: bool,
    has_ended: bool,
    was_renewed_late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    TimePasses,
    TimerFires,
    Renew,
    Revoke,
    DeletionSucceeds,
    DeletionFails,
}

struct Leases;

impl World {
    fn apply(&mut self, event: Event) {
        let (state, effect) = step(self.state, event);
        self.state = state;
        self.has_ended |= !matches!(state, State::Active { .. });
        match effect {
            Effect::None => {}
            Effect::Renewed { ttl } => {
                self.was_renewed_late |= self.now >= self.renewed_at + ttl || self.was_revoked;
                self.renewed_at = self.now;
            }
            Effect::Arm { at } => self.timer = Some(at),
            Effect::ArmLater => self.timer = Some(self.now + 1),
            Effect::DeleteKeys => self.deletions_under_way += 1,
        }
    }
}

impl Model for Leases {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            state: State::granted(TTL, 0),
            now: 0,
            timer: Some(TTL),
            deletions_under_way: 0,
            deletions_done: 0,
            failures: 0,
            renewed_at: 0,
            was_revoked: false,
            has_ended: false,
            was_renewed_late: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < CLOCK_MAX {
            actions.push(Action::TimePasses);
        }
        if world.timer.is_some_and(|at| at <= world.now) {
            actions.push(Action::TimerFires);
        }
        if world.deletions_under_way > 0 {
            actions.push(Action::DeletionSucceeds);
            if world.failures < FAILURES_MAX {
                actions.push(Action::DeletionFails);
            }
        }
        actions.extend([Action::Renew, Action::Revoke]);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::TimePasses => next.now += 1,
            Action::TimerFires => {
                next.timer = None;
                next.apply(Event::Tick { now: next.now });
            }
            Action::Renew => next.apply(Event::Renew { now: next.now }),
            Action::Revoke => {
                next.was_revoked = true;
                next.apply(Event::Revoke);
            }
            Action::DeletionSucceeds => {
                next.deletions_under_way -= 1;
                next.deletions_done += 1;
                next.apply(Event::Deleted);
            }
            Action::DeletionFails => {
                next.deletions_under_way -= 1;
                next.failures += 1;
                next.apply(Event::DeleteFailed);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("it never expires while it is renewed in time", |_, world: &World| {
                !world.has_ended || world.was_revoked || world.now >= world.renewed_at + TTL
            }),
            Property::always("an ended lease is never revived", |_, world: &World| {
                !world.has_ended || !matches!(world.state, State::Active { .. })
            }),
            Property::always("no renewal is granted late or after a revocation", |_, world: &World| {
                !world.was_renewed_late
            }),
            Property::always("a revocation is final", |_, world: &World| {
                !world.was_revoked || !matches!(world.state, State::Active { .. })
            }),
            Property::always("keys are deleted at most once, and one deletion is under way", |_, world: &World| {
                world.deletions_done <= 1 && world.deletions_under_way + world.deletions_done <= 1
            }),
            Property::always("gone means deleted", |_, world: &World| {
                (world.state == State::Gone) == (world.deletions_done == 1)
            }),
            Property::always("what has not been deleted will be", |_, world: &World| {
                // A live or stuck lease has its timer set, an ending one its deletion under way.
                match world.state {
                    State::Active { deadline, .. } => world.timer.is_some_and(|at| at <= deadline),
                    State::Stuck => world.timer.is_some(),
                    State::Ending => world.deletions_under_way == 1,
                    State::Gone => true,
                }
            }),
            Property::sometimes("it can be renewed past its first deadline", |_, world: &World| {
                !world.has_ended && world.now > TTL
            }),
            Property::sometimes("it can be gone after a failure", |_, world: &World| {
                world.state == State::Gone && world.failures > 0
            }),
        ]
    }
}

/// The table as a Mermaid state diagram, drawn by running it.
fn drawn() -> String {
    let (active, ending) = (State::granted(TTL, 0), State::Ending);
    let cases = [
        (active, Event::Renew { now: 1 }, "renewed in time"),
        (active, Event::Tick { now: 1 }, "tick before its deadline"),
        (active, Event::Tick { now: TTL }, "tick at its deadline"),
        (active, Event::Renew { now: TTL }, "renewed too late"),
        (active, Event::Revoke, "revoked"),
        (ending, Event::Renew { now: 1 }, "renewed"),
        (ending, Event::Deleted, "its keys are deleted"),
        (ending, Event::DeleteFailed, "its keys cannot be deleted"),
        (State::Stuck, Event::Tick { now: TTL }, "tick"),
        (State::Stuck, Event::Renew { now: 1 }, "renewed"),
        (State::Gone, Event::Renew { now: 1 }, "renewed"),
    ];
    let drawn = cases.map(|(before, event, label)| {
        let (after, effect) = step(before, event);
        let effect = match effect {
            Effect::None => "",
            Effect::Renewed { .. } => " / grant a full TTL",
            Effect::Arm { .. } => " / wait for its deadline",
            Effect::ArmLater => " / wait, and try again",
            Effect::DeleteKeys => " / delete its keys",
        };
        (name(before), name(after), format!("{label}{effect}"))
    });
    proof::diagram("Active", drawn)
}

fn name(state: State) -> String {
    let name = match state {
        State::Active { .. } => "Active",
        State::Ending => "Ending",
        State::Stuck => "Stuck",
        State::Gone => "Gone",
    };
    name.to_owned()
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Lease",
        file: "crates/bowline-store/src/lease.rs",
        formula: "ServiceRegistration(s, r) = register(s, r) · update(r) · heartbeat(s, r)",
        diagram: &drawn(),
    };
    table.prove(500, [Leases]);
}
