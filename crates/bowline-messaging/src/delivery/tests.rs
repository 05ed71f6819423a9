//! The table explored exhaustively: every order of deliveries, answers, lost leases, orders kept and crashes.

use std::collections::BTreeMap;

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

const KEY: Key = 7;
const POLICY: Policy = Policy { attempts_max: 2, backoff_ms: 2, backoff_ms_max: 2 };
const LEASE_MS: i64 = 4;
/// The end of the explored time.
const NOW_MAX: i64 = 8;

/// What is published, and how often the process may crash.
#[derive(Debug, Clone)]
struct Life {
    messages: Vec<TakenIn>,
    consumers: u64,
    crashes_max: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    table: Deliveries,
    now: i64,
    /// What each of two consumers works on: position and try.
    work: [Option<(Position, u32)>; 2],
    /// What is over, and how.
    over: BTreeMap<Position, End>,
    /// What survives a crash: what is over, and the tries of the others.
    kept: Kept,
    /// The same, with what is not on disk yet.
    unkept: Kept,
    dying: Option<Position>,
    /// Somebody could not be buried, and is tried again.
    was_unburied: bool,
    crashes: u32,
    delivered: BTreeMap<Position, u32>,
    fault: Option<&'static str>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Kept {
    over: BTreeMap<Position, End>,
    failed: BTreeMap<Position, (u32, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    TakeIn,
    Ask(ConsumerId),
    Ack(ConsumerId),
    Nack(ConsumerId, Verdict),
    /// A consumer is gone, and its work with it.
    Leave(ConsumerId),
    /// Time goes on to what happens by itself next.
    Wait,
    /// What happened is on disk.
    Keep,
    /// What is dying is among the dead letters, or cannot be put there.
    Bury(bool),
    Crash,
}

impl World {
    fn start() -> Self {
        Self {
            table: Deliveries::new(POLICY, 1),
            now: 0,
            work: [None, None],
            over: BTreeMap::new(),
            kept: Kept::default(),
            unkept: Kept::default(),
            dying: None,
            was_unburied: false,
            crashes: 0,
            delivered: BTreeMap::new(),
            fault: None,
        }
    }

    fn step(&mut self, event: Event) -> Effect {
        let effect = self.table.step(event, Moment { now: self.now, luck: u16::MAX });
        match effect {
            Effect::Done { position, end, .. } => {
                self.over.insert(position, end);
                self.unkept.over.insert(position, end);
                self.unkept.failed.remove(&position);
            }
            Effect::Failed { position, attempts, due } => {
                self.unkept.failed.insert(position, (attempts, due));
            }
            Effect::Bury { position, .. } => self.dying = Some(position),
            Effect::Nothing | Effect::Deliver { .. } | Effect::Stale => {}
        }
        effect
    }

    fn take_in(&mut self, life: &Life) -> bool {
        let position = self.table.next();
        let Some(message) = life.messages.get(usize::try_from(position - 1).unwrap()) else { return false };
        if self.kept.over.contains_key(&position) {
            let _nothing = self.step(Event::Pass { position });
            return true;
        }
        let (attempts, due) = self.kept.failed.get(&position).copied().unwrap_or((0, message.due));
        let _nothing = self.step(Event::TakeIn { position, message: TakenIn { due, ..*message }, attempts });
        true
    }

    fn ask(&mut self, life: &Life, consumer: ConsumerId) -> bool {
        let at = usize::try_from(consumer).unwrap();
        if self.work[at].is_some() {
            return false;
        }
        let Effect::Deliver { position, attempt } = self.step(Event::Ask { consumer, until: self.now + LEASE_MS })
        else {
            return true;
        };
        self.work[at] = Some((position, attempt));
        *self.delivered.entry(position).or_default() += 1;
        self.judge_delivery(life, position, attempt);
        true
    }

    fn judge_delivery(&mut self, life: &Life, position: Position, attempt: u32) {
        let message = |position: Position| life.messages[usize::try_from(position - 1).unwrap()];
        if self.kept.over.contains_key(&position) {
            self.fault = Some("what is kept as over was delivered");
        }
        let is_before = |other: &Position| {
            message(*other).key.is_some() && message(*other).due <= message(position).due && *other < position
        };
        let same_key = message(position).key.is_some();
        let mut before = (1..position).filter(is_before);
        if same_key && before.any(|other| !self.over.contains_key(&other)) {
            self.fault = Some("a message overtook another of its key");
        }
        if attempt > POLICY.attempts_max && !self.was_unburied {
            self.fault = Some("it was tried too often");
        }
    }

    /// The process begins anew, with what is on disk; consumers go on with what they have.
    fn crash(&mut self, life: &Life) {
        let first = (1..=9).find(|position| !self.kept.over.contains_key(position)).unwrap_or(1);
        let taken_in = self.table.next();
        self.table = Deliveries::new(POLICY, first);
        self.over = self.kept.over.clone();
        self.unkept = self.kept.clone();
        self.crashes += 1;
        while self.table.next() < taken_in && self.take_in(life) {}
    }

    fn act(&mut self, life: &Life, action: Action) -> bool {
        let work = |world: &mut Self, consumer: ConsumerId| world.work[usize::try_from(consumer).unwrap()].take();
        match action {
            Action::TakeIn => self.take_in(life),
            Action::Ask(consumer) => self.ask(life, consumer),
            Action::Ack(consumer) => {
                let Some((position, attempt)) = work(self, consumer) else { return false };
                let _effect = self.step(Event::Ack { position, attempt });
                true
            }
            Action::Nack(consumer, verdict) => {
                let Some((position, attempt)) = work(self, consumer) else { return false };
                let _effect = self.step(Event::Nack { position, attempt, verdict });
                true
            }
            Action::Leave(consumer) => {
                if work(self, consumer).is_none() {
                    return false;
                }
                let _effect = self.step(Event::Gone { consumer });
                true
            }
            Action::Wait => {
                let Some(at) = self.table.wakes_at().filter(|at| *at <= NOW_MAX) else { return false };
                self.now = self.now.max(at);
                while self.step(Event::Wake) != Effect::Nothing {}
                true
            }
            Action::Keep => {
                let is_news = self.kept != self.unkept;
                self.kept = self.unkept.clone();
                is_news
            }
            Action::Bury(is_taken) => {
                let Some(position) = self.dying.take() else { return false };
                self.was_unburied |= !is_taken;
                let event = if is_taken { Event::Buried { position } } else { Event::NotBuried { position } };
                let _effect = self.step(event);
                true
            }
            Action::Crash => {
                if self.crashes >= life.crashes_max {
                    return false;
                }
                self.crash(life);
                true
            }
        }
    }

    /// Each message is over, in the table, or still to be taken in.
    fn is_lost(&self, life: &Life) -> bool {
        let pending: Vec<Position> = self.table.pending().map(|(position, _, _)| position).collect();
        let is_somewhere = |position: &Position| {
            self.over.contains_key(position) || pending.contains(position) || *position >= self.table.next()
        };
        !(1..=life.messages.len() as u64).all(|position| is_somewhere(&position))
    }

    fn leased(&self, key: Option<Key>) -> usize {
        let is = |entry: &&Entry| entry.key == key && matches!(entry.state, State::Leased { .. });
        self.table.entries.values().filter(is).count()
    }
}

impl Model for Life {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::start()]
    }

    fn actions(&self, _: &World, actions: &mut Vec<Action>) {
        actions.extend([Action::TakeIn, Action::Wait, Action::Keep, Action::Crash]);
        actions.extend([Action::Bury(true), Action::Bury(false)]);
        for consumer in 0..self.consumers {
            actions.extend([Action::Ask(consumer), Action::Ack(consumer), Action::Leave(consumer)]);
            actions.extend([Action::Nack(consumer, Verdict::Retry), Action::Nack(consumer, Verdict::Dead)]);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        (next.act(self, action) && next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a message is in the table until it is over", |life: &Self, world: &World| {
                !world.is_lost(life)
            }),
            Property::always("in order within a key, and never again once that is kept", |_, world: &World| {
                world.fault.is_none()
            }),
            Property::always("of one key one message is worked on", |_, world: &World| world.leased(Some(KEY)) <= 1),
            Property::always("what happens by itself is never forgotten", |_, world: &World| {
                let entries = &world.table.entries;
                let wakes = entries.iter().filter_map(|(position, entry)| Some((entry.wakes_at()?, *position)));
                wakes.collect::<BTreeSet<_>>() == world.table.wakes
            }),
            Property::sometimes("all is processed", |life: &Self, world: &World| {
                world.over.len() == life.messages.len() && world.over.values().all(|end| *end == End::Acked)
            }),
            Property::sometimes("a message is delivered again after a crash", |_, world: &World| {
                world.crashes > 0 && world.delivered.values().any(|count| *count > 1)
            }),
            Property::sometimes("a message is buried", |_, world: &World| {
                world.over.values().any(|end| *end == End::Buried)
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.delivered.values().all(|count| *count <= 2)
    }
}

fn keyed(due: i64) -> TakenIn {
    TakenIn { key: Some(KEY), due, expires: None }
}

#[test]
fn proof() {
    let free = TakenIn { key: None, due: 0, expires: None };
    let expiring = TakenIn { key: Some(KEY), due: 0, expires: Some(3) };
    let lives = [
        Life { messages: vec![keyed(0), keyed(0)], consumers: 2, crashes_max: 1 },
        Life { messages: vec![keyed(0), free], consumers: 2, crashes_max: 1 },
        Life { messages: vec![keyed(5), keyed(0)], consumers: 1, crashes_max: 1 },
        Life { messages: vec![expiring, keyed(0)], consumers: 1, crashes_max: 1 },
    ];
    let table = proof::Table {
        name: "Delivery",
        file: "crates/bowline-messaging/src/delivery.rs",
        formula: "MessagePassing(s₁, s₂) = queue(m) · deliver(m) · process(m)",
        diagram: &diagram(),
    };
    table.prove(1_000, lives);
}

/// The table drawn by running it on one message.
fn diagram() -> String {
    let moment = |now| Moment { now, luck: u16::MAX };
    let fresh = |due| {
        let mut table = Deliveries::new(POLICY, 1);
        let message = TakenIn { key: None, due, expires: Some(100) };
        let _nothing = table.step(Event::TakeIn { position: 1, message, attempts: 0 }, moment(0));
        table
    };
    let leased = |tries: u32| {
        let mut table = fresh(0);
        for attempt in 1..tries {
            let _deliver = table.step(Event::Ask { consumer: 0, until: 50 }, moment(0));
            let _failed = table.step(Event::Nack { position: 1, attempt, verdict: Verdict::After(0) }, moment(0));
            let _nothing = table.step(Event::Wake, moment(0));
        }
        let _deliver = table.step(Event::Ask { consumer: 0, until: 50 }, moment(0));
        table
    };
    let after = |mut table: Deliveries, event, now| {
        let _effect = table.step(event, moment(now));
        table
    };
    let nack = |attempt, verdict| Event::Nack { position: 1, attempt, verdict };
    let backing_off = after(leased(1), nack(1, Verdict::Retry), 0);
    let dying = after(leased(1), nack(1, Verdict::Dead), 0);
    let cases = [
        (fresh(5), Event::Wake, 5, "its time has come"),
        (fresh(5), Event::Wake, 100, "expired"),
        (fresh(0), Event::Ask { consumer: 0, until: 50 }, 0, "a consumer asks"),
        (fresh(0), Event::Wake, 100, "expired"),
        (leased(1), Event::Ack { position: 1, attempt: 1 }, 1, "ack"),
        (leased(1), nack(1, Verdict::Retry), 1, "nack, consumer gone"),
        (leased(1), Event::Wake, 50, "the lease ended"),
        (leased(2), nack(2, Verdict::Retry), 1, "nack of the last try"),
        (leased(1), Event::Extend { position: 1, attempt: 1, until: 90 }, 1, "extend"),
        (leased(1), Event::Ack { position: 1, attempt: 2 }, 1, "ack of another try / stale"),
        (backing_off.clone(), Event::Wake, 2, "its time has come"),
        (backing_off, Event::Wake, 100, "expired"),
        (dying.clone(), Event::Buried { position: 1 }, 1, "among the dead letters"),
        (dying, Event::NotBuried { position: 1 }, 1, "could not be buried"),
    ];
    let transitions = cases.map(|(before, event, now, label)| {
        let from = name(&before);
        let mut table = before;
        let effect = table.step(event, moment(now));
        let to = match effect {
            Effect::Done { end, .. } => format!("{end:?}").to_lowercase(),
            _ => name(&table),
        };
        (from, to, label.to_owned())
    });
    proof::diagram("delayed", transitions)
}

fn name(table: &Deliveries) -> String {
    let name = match table.state(1).unwrap() {
        State::Delayed => "delayed",
        State::Queued => "queued",
        State::Ready => "ready",
        State::Leased { .. } => "leased",
        State::BackingOff { .. } => "backing_off",
        State::Dying => "dying",
    };
    name.to_owned()
}

#[test]
fn waits_do_not_get_shorter() {
    let policy = Policy { attempts_max: 1000, backoff_ms: 1000, backoff_ms_max: 60_000 };
    let waits: Vec<i64> = (1..=1000).map(|attempts| policy.wait_ms(attempts, u16::MAX)).collect();
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!((waits[0], waits[999]), (1000, 60_000));
}
