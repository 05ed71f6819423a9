//! What a pick costs at 10,000 instances, and an update, beside what the registry has: for `cargo xtask bench balance`.
//!
//! `bench_balance picks|updates|tables` prints a line of JSON for each figure. Figures of a kind are taken in turns:
//! another one goes first each time.

#![expect(clippy::print_stdout, reason = "who starts it reads the figures")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod peers;

use std::hint::black_box;

use bowline_balance::{Balancer, InstanceSet, Shape, hash};
use bowline_model::{
    Instance, InstanceId, ServiceName,
    policy::{Balance, BalancePolicy, HashKey, Share},
};
use bowline_runtime::{
    rand,
    time::{self, Duration},
};

const INSTANCES: u16 = 10_000;
/// Picks of one turn.
const TURN: usize = 200_000;
const TURNS: usize = 12;
/// A power of two, so that to go through them costs nothing.
const KEYS: usize = 1 << 16;

fn main() {
    rand::seed(7);
    match std::env::args().nth(1).as_deref() {
        Some("picks") => picks(),
        Some("updates") => updates(),
        Some("tables") => tables(),
        _ => panic!("say what to measure: picks, updates or tables"),
    }
}

fn instances(count: u16) -> Vec<Instance> {
    let of = |number: u16| {
        let id = InstanceId::new(&format!("order-{number:05}.host:8080")).expect("a good id");
        let service = ServiceName::new("order").expect("a good name");
        let mut instance = Instance::new(id, service, peers::address(number).into());
        instance.weight = 50 + u32::from(number % 100);
        instance.zone = Some("a".to_owned());
        "1.2.3".clone_into(&mut instance.version);
        instance.metadata.insert("owner".to_owned(), "shop".to_owned());
        instance
    };
    (0..count).map(of).collect()
}

fn set_of(policy: &BalancePolicy, count: u16) -> InstanceSet<()> {
    let set = InstanceSet::new(Shape::of(policy, Some("a"), "bench"));
    set.update(&instances(count), |_| ());
    set
}

fn policy(by: Balance) -> BalancePolicy {
    BalancePolicy { key: by.hashes().then_some(HashKey::Path), ..by.into() }
}

fn say(id: &str, ours: f64, peer: Option<f64>) {
    let peer = peer.map_or_else(|| "null".to_owned(), |peer| peer.to_string());
    println!("{{\"id\":\"{id}\",\"ours\":{ours},\"peer\":{peer}}}");
}

/// What this thread has run until now, in nanoseconds: what else runs on the machine does not count.
fn spent() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
}

/// Nanoseconds for each of so many.
fn timed(count: usize, mut one: impl FnMut(usize)) -> f64 {
    let begin = spent();
    for at in 0..count {
        one(at);
    }
    (spent() - begin) / count as f64
}

/// Something that is measured: so many at a time.
type Case<'a> = (&'static str, Box<dyn FnMut(usize) -> f64 + 'a>);

/// The medians of the turns of each case, which go in turns; the first turn is for memory to be mapped and branches to
/// be learnt.
fn measured(mut cases: Vec<Case<'_>>, count: usize) -> Vec<(&'static str, f64)> {
    let mut figures = vec![Vec::new(); cases.len()];
    for turn in 0..=TURNS {
        for nth in 0..cases.len() {
            let at = (turn + nth) % cases.len();
            let figure = cases[at].1(count);
            if turn > 0 {
                figures[at].push(figure);
            }
        }
    }
    let median = |mut figures: Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    cases.iter().map(|case| case.0).zip(figures.into_iter().map(median)).collect()
}

/// One strategy over 10,000 instances, whose latencies are known where it asks for them.
struct Ours {
    set: InstanceSet<()>,
    balancer: Balancer,
}

impl Ours {
    fn new(policy: &BalancePolicy) -> Self {
        Self::of(policy, INSTANCES)
    }

    fn of(policy: &BalancePolicy, count: u16) -> Self {
        let (set, now) = (set_of(policy, count), time::now());
        for member in set.load().members().iter() {
            member.begin(now).finish(now + Duration::from_micros(500 + rand::below(2000) as u64), true);
        }
        Self { set, balancer: Balancer::new(policy) }
    }

    /// Of one snapshot, at one time: the pick alone.
    fn picks(&self, count: usize, keys: &[u64]) -> f64 {
        let (now, snapshot) = (time::now(), self.set.load());
        timed(count, |at| {
            let key = if keys.is_empty() { None } else { Some(keys[at & (KEYS - 1)]) };
            black_box(self.balancer.pick(&snapshot, now, key, |_| true));
        })
    }

    /// The snapshot alone, which each call takes anew.
    fn loads(&self, count: usize) -> f64 {
        timed(count, |_| drop(black_box(self.set.load())))
    }

    /// With the hash of the key.
    fn picks_of(&self, count: usize, keys: &[String]) -> f64 {
        let now = time::now();
        timed(count, |at| {
            let snapshot = self.set.load();
            let key = hash(keys[at % keys.len()].as_bytes());
            black_box(self.balancer.pick(&snapshot, now, Some(key), |_| true));
        })
    }

    /// With the request that goes there, and its answer.
    fn calls(&self, count: usize) -> f64 {
        timed(count, |_| {
            let now = time::now();
            let snapshot = self.set.load();
            let member = self.balancer.pick(&snapshot, now, None, |_| true).expect("somebody is there");
            member.begin(now).finish(time::now(), true);
        })
    }
}

fn picks() {
    let texts: Vec<String> = (0..KEYS).map(|key| format!("user-{key:08}")).collect();
    let keys: Vec<u64> = texts.iter().map(|text| hash(text.as_bytes())).collect();
    let all = [
        ("balance.rr", Balance::RoundRobin),
        ("balance.random", Balance::Random),
        ("balance.weighted", Balance::Weighted),
        ("balance.least", Balance::LeastConnections),
        ("balance.p2c", Balance::P2cEwma),
        ("balance.maglev", Balance::Maglev),
        ("balance.ring", Balance::Ring),
    ]
    .map(|(id, by)| (id, Ours::new(&policy(by)), if by.hashes() { &keys[..] } else { &[] }));
    let bounded = Ours::new(&BalancePolicy { headroom: Some(Share::from_percent(25)), ..policy(Balance::Ring) });
    let [.., p2c, _, ring] = &all;
    let few = Ours::of(&policy(Balance::Maglev), peers::MAGLEV_NODES);
    let (addresses, mut tower) = ((0..INSTANCES).map(peers::address).collect::<Vec<_>>(), peers::Tower::new(INSTANCES));
    let (their_maglev, ketama, hashring) = (peers::maglev(), peers::ketama(&addresses), peers::hashring(&addresses));
    let text = |at: usize| &*texts[at % texts.len()];
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (id, ours, keys) in &all {
        cases.push((*id, Box::new(|count| ours.picks(count, keys))));
    }
    cases.push(("balance.load", Box::new(|count| p2c.1.loads(count))));
    cases.push(("balance.ring.bounded", Box::new(|count| bounded.picks(count, &keys))));
    cases.push(("ours p2c", Box::new(|count| p2c.1.calls(count))));
    cases.push(("tower", Box::new(|count| timed(count, |_| tower.call()))));
    cases.push(("ours maglev", Box::new(|count| few.picks_of(count, &texts))));
    cases.push(("maglev", Box::new(|count| timed(count, |at| peers::in_maglev(&their_maglev, text(at))))));
    cases.push(("ours ring", Box::new(|count| ring.1.picks_of(count, &texts))));
    cases.push(("ketama", Box::new(|count| timed(count, |at| peers::in_ketama(&ketama, text(at))))));
    cases.push(("hashring", Box::new(|count| timed(count, |at| peers::in_hashring(&hashring, text(at))))));
    let measured = measured(cases, TURN);
    let figure = |id: &str| measured.iter().find(|(known, _)| *known == id).expect("it was measured").1;
    for (id, ours) in measured.iter().filter(|(id, _)| id.starts_with("balance.")) {
        say(id, *ours, None);
    }
    say("balance.p2c.tower", figure("ours p2c"), Some(figure("tower")));
    say("balance.maglev.peer", figure("ours maglev"), Some(figure("maglev")));
    say("balance.ring.ketama", figure("ours ring"), Some(figure("ketama")));
    say("balance.ring.hashring", figure("ours ring"), Some(figure("hashring")));
}

/// One of 10,000 gets another weight.
fn updates() {
    const TIMES: usize = 500;
    let sets = [
        ("balance.update", Balance::P2cEwma),
        ("balance.update.rr", Balance::RoundRobin),
        ("balance.update.weighted", Balance::Weighted),
    ]
    .map(|(id, by)| (id, set_of(&policy(by), INSTANCES)));
    let whole = set_of(&policy(Balance::P2cEwma), INSTANCES);
    let list = instances(INSTANCES);
    let changed = |turn: usize| {
        let number = rand::below(list.len());
        Instance { weight: 200 + u32::try_from(turn % 800).expect("small"), ..list[number].clone() }
    };
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (id, set) in &sets {
        cases.push((
            *id,
            Box::new(|count| {
                let changes: Vec<_> = (0..count).map(changed).collect();
                timed(count, |at| set.change(&changes[at..=at], &[], |_| ())) / 1000.0
            }),
        ));
    }
    cases.push((
        "balance.update.whole",
        Box::new(|count| {
            let mut lists = [list.clone(), list.clone()];
            let number = rand::below(list.len());
            lists[1][number].weight = 999;
            timed(count / 10, |at| whole.update(&lists[at % 2], |_| ())) / 1000.0
        }),
    ));
    for (id, figure) in measured(cases, TIMES) {
        say(id, figure, None);
    }
}

/// One instance goes or comes, so that the table is made anew.
fn tables() {
    const TIMES: usize = 2;
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (id, by, count) in [
        ("balance.table.maglev.100", Balance::Maglev, 100),
        ("balance.table.maglev.500", Balance::Maglev, peers::MAGLEV_NODES),
        ("balance.table.maglev.10000", Balance::Maglev, INSTANCES),
        ("balance.table.ring.100", Balance::Ring, 100),
        ("balance.table.ring.10000", Balance::Ring, INSTANCES),
    ] {
        let (set, last) = (set_of(&policy(by), count), instances(count).pop().expect("there are some"));
        cases.push((
            id,
            Box::new(move |count| {
                let one = timed(count, |_| {
                    set.change(&[], std::slice::from_ref(&last.id), |_| ());
                    set.change(std::slice::from_ref(&last), &[], |_| ());
                });
                one / 2.0 / 1e6
            }),
        ));
    }
    let addresses: Vec<_> = (0..INSTANCES).map(peers::address).collect();
    cases.push(("maglev", Box::new(|_| timed(1, |_| drop(black_box(peers::maglev()))) / 1e6)));
    cases.push(("ketama", Box::new(move |_| timed(1, |_| drop(black_box(peers::ketama(&addresses)))) / 1e6)));
    let measured = measured(cases, TIMES);
    let figure = |id: &str| measured.iter().find(|(known, _)| *known == id).expect("it was measured").1;
    for (id, ours) in measured.iter().filter(|(id, _)| id.starts_with("balance.")) {
        let peer = match *id {
            "balance.table.maglev.500" => Some(figure("maglev")),
            "balance.table.ring.10000" => Some(figure("ketama")),
            _ => None,
        };
        say(id, *ours, peer);
    }
}
