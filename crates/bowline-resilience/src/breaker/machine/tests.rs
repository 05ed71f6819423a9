//! The transition table explored exhaustively: every order of calls, results, losses and time.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ORDERS: [Order; 4] =
    [Order::Force(Forced::Open), Order::Force(Forced::Closed), Order::Force(Forced::Disabled), Order::Reset];
const RESULTS: [ProbeResult; 3] = [ProbeResult::Success, ProbeResult::Failure, ProbeResult::Cancelled];

/// Callers around one breaker. Time goes in seconds up to `now_max`.
#[derive(Debug, Clone)]
struct Callers {
    rules: Rules,
    permits_max: usize,
    now_max: u64,
    orders_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    machine: Machine,
    now: u64,
    /// Granted and not given back; sorted, since their order means nothing.
    permits: Vec<Permit>,
    /// How often an operator has spoken.
    orders: usize,
    /// What the callers were last answered, and in which state.
    last: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Permit {
    epoch: u64,
    is_probe: bool,
    granted_at: u64,
    /// It will never come back.
    is_leaked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Acquire,
    Return(usize, ProbeResult),
    Leak(usize),
    /// A result of the closed state after which the window is at its rate.
    Trip(usize),
    Order(Order),
    Tick,
}

impl World {
    fn at(&self) -> Duration {
        SECOND * u32::try_from(self.now).unwrap()
    }

    fn answer(&self, rules: &Rules, at: Duration) -> Answer {
        self.machine.step(rules, Event::Acquire, at).1.answer.expect("every acquire is answered")
    }
}

impl Model for Callers {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World { machine: Machine::START, now: 0, permits: vec![], orders: 0, last: None }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.permits.len() < self.permits_max {
            actions.push(Action::Acquire);
        }
        for (at, permit) in world.permits.iter().enumerate().filter(|(_, permit)| !permit.is_leaked) {
            actions.extend(RESULTS.map(|result| Action::Return(at, result)));
            if permit.is_probe {
                actions.push(Action::Leak(at));
            } else {
                actions.push(Action::Trip(at));
            }
        }
        if world.orders < self.orders_max {
            actions.extend(ORDERS.map(Action::Order));
        }
        actions.push(Action::Tick);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        let now = world.at();
        let step = |machine: Machine, event| {
            let (next, effects) = machine.step(&self.rules, event, now);
            (next, effects.answer)
        };
        match action {
            Action::Acquire => {
                let (machine, answer) = step(world.machine, Event::Acquire);
                world.machine = machine;
                world.last = Some(answer == Some(Answer::Granted));
                if answer == Some(Answer::Granted) {
                    let is_probe = machine.state() == State::HalfOpen;
                    let permit = Permit { epoch: machine.epoch, is_probe, granted_at: world.now, is_leaked: false };
                    world.permits.push(permit);
                }
            }
            Action::Return(at, result) => {
                let permit = world.permits.remove(at);
                if permit.is_probe {
                    world.machine = step(world.machine, Event::Returned { epoch: permit.epoch, result }).0;
                }
            }
            Action::Leak(at) => world.permits[at].is_leaked = true,
            Action::Trip(at) => {
                let permit = world.permits.remove(at);
                world.machine = step(world.machine, Event::Tripped { epoch: permit.epoch }).0;
            }
            Action::Order(order) => {
                world.machine = step(world.machine, Event::Ordered(order)).0;
                world.orders += 1;
            }
            Action::Tick => world.now += 1,
        }
        world.permits.sort_unstable();
        Some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.now <= self.now_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never more than probes_max probes are out", probes_are_bounded),
            Property::always("every place is held by one permit that is out", places_are_conserved),
            Property::always("permits are granted again with nobody's help, and not sooner", never_wedged),
            Property::always("an open breaker grants a probe once its time has come", open_reaches_half_open),
            Property::always("a late result moves nothing", late_results_are_inert),
            Property::always("a rejection says when to ask again", rejections_are_helpful),
            Property::always("what an operator holds stays as it is, whatever comes of calls", forced_stays),
            Property::always("an operator can always let it judge for itself again", a_reset_closes),
            Property::always("open times are within their bounds", open_times_are_bounded),
            Property::sometimes("it closes again", |_, world: &World| {
                world.machine.state() == State::Closed && world.machine.epoch > 0
            }),
            Property::sometimes("it opens a second time", |_, world: &World| {
                world.machine.state() == State::Open && world.machine.epoch > 1
            }),
            Property::sometimes("lost probes are written off", |_, world: &World| {
                world.permits.iter().any(|p| p.is_probe && p.epoch < world.machine.valid_from)
            }),
            Property::sometimes("it is open for longer than at first", |model: &Self, world: &World| {
                let is_longer = |until| until > world.at() + model.rules.open_for.min;
                let is_open = matches!(world.machine.phase, Phase::Open { until } if is_longer(until));
                is_open || model.rules.open_for.min == model.rules.open_for.max
            }),
            Property::sometimes("a caller is rejected while half open", |_, world: &World| {
                world.machine.state() == State::HalfOpen && world.last == Some(false)
            }),
        ]
    }
}

fn probes_are_bounded(model: &Callers, world: &World) -> bool {
    let timeout = model.rules.probe_timeout;
    let age = |p: &Permit| SECOND * u32::try_from(world.now - p.granted_at).unwrap();
    let out = world.permits.iter().filter(|p| p.is_probe && age(p) < timeout);
    out.count() <= model.rules.probes_max as usize
}

fn places_are_conserved(_: &Callers, world: &World) -> bool {
    let holds = |p: &&Permit| p.is_probe && p.epoch >= world.machine.valid_from;
    world.permits.iter().filter(holds).count() == world.machine.in_flight as usize
}

fn never_wedged(model: &Callers, world: &World) -> bool {
    if world.machine.state() == State::ForcedOpen {
        return world.answer(&model.rules, SECOND * 1000) != Answer::Granted;
    }
    let ready_at = world.machine.ready_at(&model.rules);
    let is_soon = ready_at <= world.at() + model.rules.probe_timeout + model.rules.open_for.max;
    let is_granted = world.answer(&model.rules, ready_at.max(world.at())) == Answer::Granted;
    let just_before = ready_at.saturating_sub(Duration::from_nanos(1));
    let is_early = just_before > world.at() && world.answer(&model.rules, just_before) == Answer::Granted;
    is_soon && is_granted && !is_early
}

fn open_reaches_half_open(model: &Callers, world: &World) -> bool {
    let Phase::Open { until } = world.machine.phase else { return true };
    let all_back = Machine { in_flight: 0, ..world.machine };
    let (next, effects) = all_back.step(&model.rules, Event::Acquire, until);
    next.state() == State::HalfOpen && effects.answer == Some(Answer::Granted)
}

fn forced_stays(model: &Callers, world: &World) -> bool {
    let Phase::Forced(forced) = world.machine.phase else { return true };
    let permits = world.permits.iter().map(|permit| permit.epoch).chain([world.machine.epoch]);
    let events = permits.flat_map(|epoch| {
        let returned = RESULTS.map(|result| Event::Returned { epoch, result });
        let is_out = world.permits.iter().any(|permit| permit.is_probe && permit.epoch == epoch);
        let returned = returned.into_iter().filter(move |_| is_out);
        returned.chain([Event::Acquire, Event::Tripped { epoch }])
    });
    events.into_iter().all(|event| {
        let (next, effects) = world.machine.step(&model.rules, event, world.at());
        let is_granting = effects.answer.is_none_or(|answer| (answer == Answer::Granted) == (forced != Forced::Open));
        next.phase == world.machine.phase && is_granting
    })
}

fn a_reset_closes(model: &Callers, world: &World) -> bool {
    let (next, effects) = world.machine.step(&model.rules, Event::Ordered(Order::Reset), world.at());
    next.state() == State::Closed && effects.clears_window && next.epoch > world.machine.epoch
}

fn open_times_are_bounded(model: &Callers, world: &World) -> bool {
    let OpenFor { min, max } = model.rules.open_for;
    (0..20).all(|trips| (min..=max).contains(&model.rules.open_time(trips, world.machine.epoch)))
}

fn late_results_are_inert(model: &Callers, world: &World) -> bool {
    let is_inert = |event| {
        let (next, effects) = world.machine.step(&model.rules, event, world.at());
        (next.epoch, next.phase, effects) == (world.machine.epoch, world.machine.phase, Effects::NONE)
    };
    world.permits.iter().filter(|p| p.epoch != world.machine.epoch).all(|permit| {
        let epoch = permit.epoch;
        if permit.is_probe {
            RESULTS.into_iter().all(|result| is_inert(Event::Returned { epoch, result }))
        } else {
            is_inert(Event::Tripped { epoch })
        }
    })
}

fn rejections_are_helpful(model: &Callers, world: &World) -> bool {
    match world.answer(&model.rules, world.at()) {
        Answer::Granted => true,
        Answer::Rejected { retry_after } => !retry_after.is_zero() && retry_after <= model.rules.open_for.max,
    }
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Circuit breaker",
        file: "crates/bowline-resilience/src/breaker/machine.rs",
        formula: "StateTransition(cb) = Closed → Open if failures ≥ threshold; Open → HalfOpen if timeout elapsed; \
                  HalfOpen → Closed if success; HalfOpen → Open if failure",
        diagram: &diagram(),
    };
    let growing = OpenFor { min: SECOND, max: SECOND * 3 };
    let of = |(probes_max, permits_max, now_max, orders_max, open_for)| {
        let rules = Rules { open_for, seed: 0, probes_max, probe_timeout: SECOND * 2 };
        Callers { rules, permits_max, now_max, orders_max }
    };
    let exactly = OpenFor::exactly(SECOND);
    let worlds = [
        (1, 3, 7, 0, exactly),
        (2, 3, 6, 0, exactly),
        (3, 4, 4, 0, exactly),
        (1, 2, 5, 2, exactly),
        (1, 2, 8, 0, growing),
    ];
    table.prove(1000, worlds.map(of));
}

#[test]
fn the_diagram_in_the_documentation_is_the_table_s() {
    let page = include_str!("../../../docs/breaker.md");
    let drawn = format!("```mermaid\n{}```\n", diagram());
    assert!(page.contains(&drawn), "put this into docs/breaker.md:\n{drawn}");
}
