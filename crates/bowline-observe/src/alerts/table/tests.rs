//! Both tables explored together: every order of evaluations, sends, losses and crashes.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

/// One alert, its rule's task, the notifier and a receiver. Time goes in units up to `now_max`.
#[derive(Debug, Clone)]
struct Life {
    demands: Demands,
    repeat_ms: i64,
    now_max: i64,
    crashes_max: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: i64,
    crashes: u8,
    evaluated: Option<i64>,
    /// In memory and on disk: the evaluator keeps before it tells, so that there is one value for both.
    alert: State,
    /// What is still to be told to the notifier; lost in a crash.
    to_tell: Option<Status>,
    delivery: Option<Delivery>,
    /// What is under way, and whether it has arrived; lost in a crash.
    in_flight: Option<(Status, bool)>,
    /// The first of the evaluations in a row in which the series was there, and its last one.
    there: Option<i64>,
    /// What the receiver saw last, and when.
    seen: Option<(Status, i64)>,
    /// Whether something may have arrived without our knowing.
    is_unsure: bool,
    fault: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Tick,
    Evaluate(bool),
    Tell,
    Flush,
    Arrive,
    /// The answer came back.
    Confirm,
    /// It did not arrive, for certain.
    Refuse,
    /// There was no answer.
    Lose,
    Crash,
}

/// Evaluations after which everything has to be told: a resolve is taken, the series is there, it fires.
const ROUNDS: usize = 4;

impl World {
    fn apply(&mut self, post: Post) {
        if let Some(delivery) = self.delivery {
            self.delivery = delivery.step(post);
        }
    }

    /// The evaluator tells the notifier, which keeps it; then the evaluator is free to forget.
    fn tell(&mut self, demands: Demands) {
        let Some(status) = self.to_tell.take() else { return };
        match (self.delivery, status) {
            (None, Status::Firing) => self.delivery = Some(Delivery::NEW),
            (None, Status::Resolved) => {}
            (Some(_), status) => self.apply(Post::Heard(status)),
        }
        if Some(status) == self.alert.status() {
            self.alert = self.alert.step(demands, Event::Taken).0;
        }
    }

    fn evaluate(&mut self, demands: Demands, is_there: bool) {
        let was_firing = self.alert.status() == Some(Status::Firing);
        self.there = if is_there { self.there.or(Some(self.now)) } else { None };
        let (next, told) = self.alert.step(demands, Event::Evaluated { is_there, at: self.now });
        (self.alert, self.to_tell, self.evaluated) = (next, told, Some(self.now));
        let is_early = self.there.is_none_or(|since| self.now - since < demands.hold_ms);
        if next.status() == Some(Status::Firing) && !was_firing && is_early {
            self.fault = Some("it fires before `for`");
        }
    }

    fn flush(&mut self, repeat_ms: i64) -> bool {
        let due = self.delivery.filter(|delivery| delivery.due(self.now, repeat_ms).is_some());
        let Some(delivery) = due.filter(|_| self.in_flight.is_none()) else { return false };
        self.in_flight = Some((delivery.status, false));
        self.apply(Post::Begun);
        true
    }

    fn arrive(&mut self, repeat_ms: i64) {
        let Some((status, is_arrived)) = &mut self.in_flight else { return };
        *is_arrived = true;
        let status = *status;
        match (status, self.seen) {
            (Status::Firing, Some((Status::Firing, at))) if self.now - at < repeat_ms && !self.is_unsure => {
                self.fault = Some("it is told twice that it fires");
            }
            (Status::Resolved, Some((Status::Resolved, _)) | None) if !self.is_unsure => {
                self.fault = Some("a resolve was not preceded by its firing");
            }
            _ => {}
        }
        self.seen = Some((status, self.now));
    }

    fn confirm(&mut self) {
        if let Some((status, _)) = self.in_flight.take() {
            self.is_unsure = false;
            self.apply(Post::Sent { status, at: self.now });
        }
    }

    fn crash(&mut self) {
        self.is_unsure |= self.in_flight.take().is_some();
        self.to_tell = None;
        self.apply(Post::Restarted);
        self.crashes += 1;
    }

    /// Whether it ends well when nothing more goes wrong: the receiver knows what holds.
    fn settles(mut self, life: &Life) -> bool {
        self.crash();
        let is_there = self.there.is_some();
        for _ in 0..ROUNDS {
            self.now += life.demands.hold_ms.max(life.demands.keep_ms);
            self.evaluate(life.demands, is_there);
            self.tell(life.demands);
            if self.flush(life.repeat_ms) {
                self.arrive(life.repeat_ms);
                self.confirm();
            }
        }
        let is_firing = self.alert.status() == Some(Status::Firing);
        let seen = self.seen.map(|(status, _)| status);
        // Nothing is left behind of what is over.
        let is_clean = is_firing || self.delivery.is_none() && self.alert == State::Inactive;
        (seen == Some(Status::Firing)) == is_firing && is_firing == is_there && is_clean && self.fault.is_none()
    }
}

impl Model for Life {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            crashes: 0,
            evaluated: None,
            alert: State::Inactive,
            to_tell: None,
            delivery: None,
            in_flight: None,
            there: None,
            seen: None,
            is_unsure: false,
            fault: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        if world.evaluated != Some(world.now) {
            actions.extend([Action::Evaluate(true), Action::Evaluate(false)]);
        }
        if world.to_tell.is_some() {
            actions.push(Action::Tell);
        }
        match world.in_flight {
            None => actions.push(Action::Flush),
            Some((_, false)) => actions.extend([Action::Arrive, Action::Refuse, Action::Lose]),
            Some((_, true)) => actions.extend([Action::Confirm, Action::Lose]),
        }
        if world.crashes < self.crashes_max {
            actions.push(Action::Crash);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick => world.now += 1,
            Action::Evaluate(is_there) => world.evaluate(self.demands, is_there),
            Action::Tell => world.tell(self.demands),
            Action::Flush => drop(world.flush(self.repeat_ms)),
            Action::Arrive => world.arrive(self.repeat_ms),
            Action::Confirm => world.confirm(),
            Action::Refuse => {
                world.in_flight = None;
                world.apply(Post::Failed { is_certain: true });
            }
            Action::Lose => {
                world.in_flight = None;
                world.is_unsure = true;
                world.apply(Post::Failed { is_certain: false });
            }
            Action::Crash => world.crash(),
        }
        Some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.now <= self.now_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is told too early, twice, or without what it ends", |_, world: &World| {
                world.fault.is_none()
            }),
            Property::always("whatever happened, the receiver ends up knowing what holds", |life, world: &World| {
                world.clone().settles(life)
            }),
            Property::sometimes("it is repeated", |life: &Self, world: &World| {
                world.delivery.is_some_and(|delivery| delivery.due(world.now, life.repeat_ms) == Some(Due::Repeat))
            }),
            Property::sometimes("it is sent again after a crash", |_, world: &World| {
                world.crashes > 0 && world.delivery.is_some_and(|delivery| delivery.told == Told::Maybe)
            }),
            Property::sometimes("a firing and its resolve are seen", |_, world: &World| {
                matches!(world.seen, Some((Status::Resolved, _))) && world.crashes == 0
            }),
            Property::sometimes("it resolves before anybody was told", |_, world: &World| {
                world.seen.is_none() && world.delivery.is_none() && matches!(world.alert, State::Resolved { .. })
            }),
        ]
    }
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Alert and its notification",
        file: "crates/bowline-observe/src/alerts/table.rs",
        formula: "send_alert(a): expression → pending → firing → told → resolved → told",
        diagram: &diagram(),
    };
    let of = |(hold_ms, keep_ms, crashes_max, now_max)| Life {
        demands: Demands { hold_ms, keep_ms },
        repeat_ms: 3,
        now_max,
        crashes_max,
    };
    table.prove(1000, [(0, 0, 2, 5), (2, 0, 1, 6), (1, 1, 1, 6), (2, 2, 1, 6)].map(of));
}

#[test]
fn a_clock_that_goes_back_neither_fires_early_nor_waits_for_ever() {
    let demands = Demands { hold_ms: 10, keep_ms: 5 };
    let there = |at| Event::Evaluated { is_there: true, at };
    let gone = |at| Event::Evaluated { is_there: false, at };
    let pending = State::Pending { since: 1000 };
    assert_eq!(pending.step(demands, there(500)).0, State::Pending { since: 500 });
    assert_eq!(State::Pending { since: 500 }.step(demands, there(510)).0.status(), Some(Status::Firing));
    let firing = State::Firing { since: 0, fired: 10, gone: Some(1000) };
    assert_eq!(firing.step(demands, gone(500)).0.status(), Some(Status::Firing));
    let told = Delivery { status: Status::Firing, told: Told::Firing { at: 1000 } };
    assert_eq!((told.due(999, 100), told.due(800, 100)), (None, Some(Due::Repeat)));
}

#[test]
fn the_diagram_in_the_documentation_is_the_table_s() {
    let page = include_str!("../../../docs/alerts.md");
    let drawn = format!("```mermaid\n{}```\n", diagram());
    assert!(page.contains(&drawn), "put this into docs/alerts.md:\n{drawn}");
}
