//! The table explored exhaustively: every order of arrivals, departures, second thoughts, limits and time.

use std::{fmt::Write as _, time::Duration};

use bowline_model::policy::{Concurrency, ShedPolicy};
use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

/// Callers around one room. Time goes in single nanoseconds up to `now_max`.
#[derive(Debug, Clone)]
struct Callers {
    limits: &'static [u32],
    queue_max: u32,
    /// The queue stands after 2 ns with its oldest above 1 ns; else first come, first served.
    is_shedding: bool,
    priorities: &'static [Priority],
    visitors_max: usize,
    now_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    places: Places,
    table: Table,
    now: u64,
    /// Who has a slot, in the order of their arrival.
    visitors: Vec<Visitor>,
    /// Who has taken note of its place and not given it back.
    inside: u32,
    /// What went wrong on the way here.
    broken: Option<&'static str>,
    /// What happened last, worth telling.
    seen: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Visitor {
    at: At,
    who: Arriving,
    since: u64,
    is_woken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Arrive(Priority, u64),
    /// It was woken, and asks.
    Collect(usize),
    /// Its timer fires, or its future is dropped.
    GiveUp(usize),
    Leave,
    Limit(u32),
    Tick,
}

const ORDER: &str =
    "who is served is of the highest priority that waits, and the first of it, or the last while it stands";
const LIMIT: &str = "a place is handed out below the limit only";
const AGE: &str = "turned away for its age is only the oldest of the lowest priority, after twice the target";
const LATE: &str = "nobody is granted a place after its time";
const GIVES_WAY: &str = "nobody gives way to one that is served after it, or too late";

impl World {
    fn start(model: &Callers) -> Self {
        let policy = ShedPolicy {
            calls_max: Concurrency::exactly(1),
            queue_max: model.queue_max,
            delay_target: Duration::from_nanos(1),
            interval: Duration::from_nanos(2),
        };
        let delay = model.is_shedding.then(|| Delay::new(&policy));
        Self {
            places: Places::empty(model.limits[0]),
            table: Table::new(model.queue_max, delay),
            now: 0,
            visitors: vec![],
            inside: 0,
            broken: None,
            seen: None,
        }
    }

    fn ensure(&mut self, holds: bool, what: &'static str) {
        if !holds {
            self.broken = Some(what);
        }
    }

    fn told(&self, at: At) -> Option<Told> {
        match self.table.slots[at as usize] {
            Slot::Told(told) => Some(told),
            Slot::Free { .. } | Slot::Waiting(_) => None,
        }
    }

    fn waiting(&self) -> impl Iterator<Item = &Visitor> {
        self.visitors.iter().filter(|visitor| self.told(visitor.at).is_none())
    }

    fn arrive(&mut self, who: Arriving) {
        self.table.observe(self.now);
        let (places, decision) = self.table.decide(self.places, who, self.now);
        self.places = places;
        match decision {
            Decision::Take => {
                self.ensure(places.in_flight <= places.limit && places.waiting == 0, LIMIT);
                self.inside += 1;
                return;
            }
            Decision::Refuse(_) => return self.settle(),
            Decision::Queue => {}
            Decision::Displace(at) => {
                let last = self.waiting().find(|visitor| visitor.at == at).copied().unwrap();
                let is_standing = self.table.is_standing();
                let gives_way = last.who.priority < who.priority || (is_standing && last.who.priority == who.priority);
                self.ensure(gives_way && (self.table.delay.is_none() || who.until > self.now + 1), GIVES_WAY);
                self.seen = Some("somebody gives way to a newcomer");
                self.table.tell(at, Told::Refused(Why::Full));
                self.wake(at);
            }
        }
        let at = self.table.push(who, self.now);
        self.visitors.push(Visitor { at, who, since: self.now, is_woken: false });
        self.settle();
    }

    fn leave(&mut self) {
        let before = self.places;
        self.places = Places::unpack(before.pack() - super::super::places::ONE_IN_FLIGHT);
        if before.waiting > 0 {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.table.observe(self.now);
        while let Some((at, told)) = self.table.next(self.places, self.now) {
            self.judge(at, told);
            self.table.tell(at, told);
            self.places = if told == Told::Granted { self.places.granted() } else { self.places.unqueued() };
            self.ensure(told != Told::Granted || self.places.in_flight <= self.places.limit, LIMIT);
            self.wake(at);
        }
    }

    /// What the table says, checked against the list of who waits.
    fn judge(&mut self, at: At, told: Told) {
        let waiting: Vec<Visitor> = self.waiting().copied().collect();
        let is_standing = self.table.is_standing();
        let chosen = *waiting.iter().find(|visitor| visitor.at == at).unwrap();
        let highest = waiting.iter().map(|visitor| visitor.who.priority).max().unwrap();
        let lowest = waiting.iter().map(|visitor| visitor.who.priority).min().unwrap();
        let first_of = |priority| waiting.iter().find(|visitor| visitor.who.priority == priority).unwrap().at;
        let last_of = |priority| waiting.iter().rfind(|visitor| visitor.who.priority == priority).unwrap().at;
        match told {
            Told::Refused(Why::Overloaded) => {
                self.ensure(is_standing && self.now - chosen.since > 2 && at == first_of(lowest), AGE);
                self.seen = Some("somebody is turned away for its age");
            }
            Told::Granted | Told::Refused(_) => {
                let expected = if is_standing { last_of(highest) } else { first_of(highest) };
                self.ensure(at == expected, ORDER);
                self.ensure((told == Told::Granted) == (chosen.who.until > self.now), LATE);
                let is_newest = is_standing && at != first_of(highest);
                self.seen = Some(if is_newest { "the newest is served first" } else { "a place is handed over" });
            }
        }
    }

    fn wake(&mut self, at: At) {
        self.visitors.iter_mut().filter(|visitor| visitor.at == at).for_each(|visitor| visitor.is_woken = true);
    }

    fn collect(&mut self, index: usize) {
        let visitor = self.visitors.remove(index);
        if self.table.collect(visitor.at) == Some(Told::Granted) {
            self.inside += 1;
        }
    }

    fn give_up(&mut self, index: usize) {
        let visitor = self.visitors.remove(index);
        match self.table.collect(visitor.at) {
            None => {
                self.table.withdraw(visitor.at);
                self.places = self.places.unqueued();
            }
            Some(Told::Granted) => self.leave(),
            Some(Told::Refused(_)) => {}
        }
    }
}

impl Model for Callers {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::start(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.visitors.len() < self.visitors_max {
            for priority in self.priorities {
                actions.push(Action::Arrive(*priority, u64::MAX));
                actions.push(Action::Arrive(*priority, world.now + 1));
            }
        }
        for (index, visitor) in world.visitors.iter().enumerate() {
            actions.push(Action::GiveUp(index));
            if visitor.is_woken {
                actions.push(Action::Collect(index));
            }
        }
        if world.inside > 0 {
            actions.push(Action::Leave);
        }
        actions.extend(self.limits.iter().filter(|limit| **limit != world.places.limit).map(|it| Action::Limit(*it)));
        actions.push(Action::Tick);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = World { seen: None, ..before.clone() };
        match action {
            Action::Arrive(priority, until) => world.arrive(Arriving { priority, until }),
            Action::Collect(index) => world.collect(index),
            Action::GiveUp(index) => world.give_up(index),
            Action::Leave => {
                world.inside -= 1;
                world.leave();
            }
            Action::Limit(limit) => {
                world.places = world.places.limited(limit);
                world.settle();
            }
            Action::Tick => world.now += 1,
        }
        Some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.now <= self.now_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let seen: [fn(&Self, &World) -> bool; 4] = [
            |_, world| world.seen == Some("a place is handed over"),
            |model, world| !model.is_shedding || world.seen == Some("the newest is served first"),
            |model, world| !model.is_shedding || world.seen == Some("somebody is turned away for its age"),
            |model, world| {
                let can = model.is_shedding || model.priorities.len() > 1;
                !can || world.seen == Some("somebody gives way to a newcomer")
            },
        ];
        vec![
            Property::always("every place that is out is held by one caller, or was just granted to one", conserved),
            Property::always("never more wait than the queue holds, and each of them is in it", is_bounded),
            Property::always("nobody waits while a place is free", nobody_is_forgotten),
            Property::always("who was told something was woken for it", told_are_woken),
            Property::always("a slot is used again when its visitor has gone", slots_are_conserved),
            Property::always(ORDER, |_, world: &World| world.broken != Some(ORDER)),
            Property::always(LIMIT, |_, world: &World| world.broken != Some(LIMIT)),
            Property::always(AGE, |_, world: &World| world.broken != Some(AGE)),
            Property::always(LATE, |_, world: &World| world.broken != Some(LATE)),
            Property::always(GIVES_WAY, |_, world: &World| world.broken != Some(GIVES_WAY)),
            Property::sometimes("a place is handed over", seen[0]),
            Property::sometimes("the newest is served first", seen[1]),
            Property::sometimes("somebody is turned away for its age", seen[2]),
            Property::sometimes("somebody gives way to a newcomer", seen[3]),
        ]
    }
}

fn conserved(_: &Callers, world: &World) -> bool {
    let granted = world.visitors.iter().filter(|visitor| world.told(visitor.at) == Some(Told::Granted)).count();
    world.places.in_flight as usize == world.inside as usize + granted
}

fn is_bounded(model: &Callers, world: &World) -> bool {
    let waiting = world.places.waiting;
    let linked: usize = world.table.lines.iter().map(|line| length(&world.table, line)).sum();
    waiting <= model.queue_max && waiting as usize == world.waiting().count() && linked == waiting as usize
}

fn length(table: &Table, line: &Line) -> usize {
    let forth = std::iter::successors(line.front, |at| table.waiting(*at).after).count();
    let back = std::iter::successors(line.back, |at| table.waiting(*at).before).count();
    assert_eq!(forth, back, "both ways pass the same");
    forth
}

fn nobody_is_forgotten(_: &Callers, world: &World) -> bool {
    !world.places.has_room()
}

fn told_are_woken(_: &Callers, world: &World) -> bool {
    world.visitors.iter().all(|visitor| visitor.is_woken == world.told(visitor.at).is_some())
}

fn slots_are_conserved(model: &Callers, world: &World) -> bool {
    let free = world.table.slots.iter().filter(|slot| matches!(slot, Slot::Free { .. })).count();
    world.table.slots.len() <= model.visitors_max && free + world.visitors.len() == world.table.slots.len()
}

/// What becomes of who comes and waits, drawn by running the table.
fn diagram() -> String {
    let mut text = "stateDiagram-v2\n    [*] --> Arriving\n".to_owned();
    let model = Callers { limits: &[1], queue_max: 1, is_shedding: true, priorities: &[], visitors_max: 9, now_max: 9 };
    let who = |priority, until| Arriving { priority, until };
    let normal = who(Priority::Normal, u64::MAX);
    let after = |change: &dyn Fn(&mut World)| {
        let mut world = World::start(&model);
        change(&mut world);
        world
    };
    let waiting = |world: &mut World| {
        world.arrive(normal);
        world.arrive(normal);
    };
    let arriving: [(&str, World, Arriving); 5] = [
        ("a place is free and nobody waits", after(&|_| {}), normal),
        ("none is free", after(&|world| world.arrive(normal)), normal),
        ("the queue is full of those who are served before", after(&waiting), who(Priority::Low, u64::MAX)),
        ("the queue is full, and it has less time left than the target", after(&waiting), who(Priority::Critical, 1)),
        ("none is free and its time is over", after(&|world| world.arrive(normal)), who(Priority::Normal, 0)),
    ];
    for (label, world, who) in arriving {
        let to = match world.table.decide(world.places, who, world.now).1 {
            Decision::Take => "Inside",
            Decision::Queue | Decision::Displace(_) => "Waiting",
            Decision::Refuse(_) => "Refused",
        };
        writeln!(text, "    Arriving --> {to}: {label}").unwrap();
    }
    let told = |label: &str, world: World, at: At| {
        let to = match world.told(at) {
            Some(Told::Granted) => "Granted",
            Some(Told::Refused(_)) => "Refused",
            None => "Waiting",
        };
        format!("    Waiting --> {to}: {label}\n")
    };
    let late = |world: &mut World| {
        world.arrive(normal);
        world.arrive(who(Priority::Normal, 1));
        world.now = 1;
        world.leave();
    };
    let stands = |world: &mut World| {
        waiting(world);
        for now in [2, 5] {
            world.now = now;
            world.arrive(who(Priority::Low, u64::MAX));
        }
    };
    let displaced = |world: &mut World| {
        waiting(world);
        world.arrive(who(Priority::High, u64::MAX));
    };
    let left = |world: &mut World| {
        waiting(world);
        world.leave();
    };
    text += &told("somebody leaves, and it is next", after(&left), 0);
    text += &told("somebody leaves, and its time is over", after(&late), 0);
    text += &told("one of a higher priority comes into the full queue", after(&displaced), 0);
    text += &told("the queue stands, and it has waited twice the target", after(&stands), 0);
    text += "    Waiting --> [*]: it gives up\n    Granted --> Inside: it takes note\n";
    text +=
        "    Granted --> [*]: it gives up / the next is granted\n    Inside --> [*]: it leaves / the next is granted\n";
    text + "    Refused --> [*]\n"
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Bulkhead and shedding",
        file: "crates/bowline-resilience/src/room/table.rs",
        formula: "In place of Bulkhead(pool, max) = |inside| ≤ max: permits conserved, the queue bounded, no lost wake-up",
        diagram: &diagram(),
    };
    let first_come = Callers {
        limits: &[1],
        queue_max: 2,
        is_shedding: false,
        priorities: &[Priority::Normal],
        visitors_max: 3,
        now_max: 4,
    };
    let shedding = Callers { is_shedding: true, ..first_come.clone() };
    let worlds = [
        Callers { limits: &[2, 1], now_max: 2, ..first_come.clone() },
        first_come,
        Callers { priorities: &[Priority::Low, Priority::Critical], ..shedding.clone() },
        Callers { limits: &[1, 2], ..shedding },
    ];
    table.prove(1000, worlds);
}

#[test]
fn the_diagram_in_the_documentation_is_the_table_s() {
    let page = include_str!("../../../docs/bulkhead.md");
    let drawn = format!("```mermaid\n{}```\n", diagram());
    assert!(page.contains(&drawn), "put this into docs/bulkhead.md:\n{drawn}");
}
