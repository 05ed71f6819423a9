//! Who is missed, and who is not: as time passes, by the clock and by what devices say of theirs.

use std::collections::BTreeMap;

use iot_detect::{
    DAY_MS, Event, HOUR_MS, Kind, Season,
    evaluation::{Report, episodes},
    generator,
    random::Random,
};

use super::{INTERVAL_MS, MINUTE_MS, START_MS, reading};
use crate::{
    fleet::{DEVICES_MAX, Fleet},
    reading::{Reading, Receipt},
    rules::Rules,
};

const SECOND_MS: i64 = 1000;

/// Devices, and what was found of them while the clock went on.
struct World {
    fleet: Fleet,
    begun_ms: i64,
    clock_ms: i64,
    /// The dropouts that were told: of whom, when they began, and when that was told.
    missed: Vec<(String, i64, i64)>,
    events: BTreeMap<String, Vec<Event>>,
}

impl World {
    fn new() -> Self {
        // Long after what is played.
        let begun_ms = START_MS + 30 * DAY_MS;
        Self {
            fleet: Fleet::new(DEVICES_MAX),
            begun_ms,
            clock_ms: begun_ms,
            missed: Vec::new(),
            events: BTreeMap::new(),
        }
    }

    fn note(&mut self, work: crate::fleet::Work) {
        for (name, told) in work.told {
            self.events.entry(name.to_string()).or_default().push(told.event.clone());
            if told.event.kind == Kind::Dropout && told.event.change == iot_detect::Change::Began {
                self.missed.push((name.to_string(), told.event.at_ms, self.clock_ms - self.begun_ms));
            }
        }
    }

    fn hear(&mut self, readings: Vec<Reading>) {
        let work = self.fleet.take(readings, Rules::default().terms, self.clock_ms, &mut Receipt::default());
        self.note(work);
    }

    /// For so long what is heard each few seconds is what that says of the time since the beginning.
    fn live(&mut self, length_ms: i64, mut say: impl FnMut(i64) -> Vec<Reading>) {
        let end_ms = self.clock_ms + length_ms;
        while self.clock_ms < end_ms {
            self.clock_ms += 5 * SECOND_MS;
            let readings = say(self.clock_ms - self.begun_ms);
            if !readings.is_empty() {
                self.hear(readings);
            }
            let work = self.fleet.look(self.clock_ms, Rules::default().terms);
            self.note(work);
        }
    }

    fn names(&self) -> Vec<&str> {
        self.missed.iter().map(|(name, ..)| &**name).collect()
    }
}

/// A list of what a device read in each interval between two numbers.
fn list(device: &str, origin_ms: i64, numbers: std::ops::Range<i64>) -> Vec<Reading> {
    numbers.map(|number| reading(device, number, origin_ms + number * INTERVAL_MS, 20.0)).collect()
}

/// What a device says that reads in real time, each interval: at that time.
fn each_interval(device: &str, begun_ms: i64, now_ms: i64) -> Vec<Reading> {
    let number = now_ms / INTERVAL_MS;
    if now_ms % INTERVAL_MS == 0 { list(device, begun_ms, number..number + 1) } else { Vec::new() }
}

/// What the simulator does, beside a device that is real: days in minutes, in lists, by a thousand devices of which a
/// batch has a twentieth.
#[test]
fn days_that_are_played_in_minutes_beside_a_real_device_have_the_dropouts_that_were_played_alone() {
    let mut world = World::new();
    let begun_ms = world.begun_ms;
    let devices: i64 = 1000;
    let mut said = vec![0; 1000];
    let mut turn = 0;
    world.live(20 * MINUTE_MS, |_| Vec::new());
    world.live(2 * HOUR_MS, |now_ms| {
        let mut readings = each_interval("d-cellar", begun_ms, now_ms);
        for _ in 0..50 {
            let number = turn % devices;
            let device = format!("d-{number}");
            let next = &mut said[usize::try_from(number).unwrap()];
            // One plays a dropout of three hours.
            let from = *next + if number == 7 && *next == 600 { 36 } else { 0 };
            *next = from + 20;
            readings.extend(list(&device, START_MS, from..from + 20));
            turn += 1;
        }
        readings
    });
    assert_eq!(world.names(), ["d-7"]);
    assert_eq!(world.missed[0].1, START_MS + (599 + 4) * INTERVAL_MS);
    // When they are over they are missed, and the real device is not.
    world.missed.clear();
    world.live(4 * HOUR_MS, |now_ms| each_interval("d-cellar", begun_ms, now_ms));
    assert_eq!(world.missed.len(), 1000);
    assert!(!world.names().contains(&"d-cellar"));
    // And it is missed when it is silent, though it is alone.
    world.missed.clear();
    world.live(26 * MINUTE_MS, |_| Vec::new());
    assert_eq!(world.names(), ["d-cellar"]);
}

/// The floors that a run of the simulator is held against.
#[test]
fn of_what_is_played_in_lists_nine_of_ten_faults_are_found_and_dropouts_are_right() {
    const SEED: u64 = 1;
    const DEVICES: u32 = 40;
    let mut world = World::new();
    let plan = generator::Plan { interval_ms: INTERVAL_MS, start_ms: START_MS, ..generator::Plan::of_equal_days(6) };
    let played = |number: u32| generator::Device::new(SEED, number, plan);
    let mut lists = Vec::new();
    let mut random = Random::fork(SEED, DEVICES);
    for number in 0..DEVICES {
        let name = format!("d-{number}");
        let all: Vec<Reading> =
            played(number).zip(0..).map(|(read, sequence)| reading(&name, sequence, read.at_ms, read.value)).collect();
        // Each at a pace of its own: some are days ahead of others.
        let pace = 1 + random.below(3);
        lists.extend(all.chunks(20).zip(0_i64..).map(|(list, turn)| (turn * pace, list.to_vec())));
    }
    lists.sort_by_key(|(turn, _)| *turn);
    for batch in lists.chunks(20) {
        world.hear(batch.iter().flat_map(|(_, list)| list.clone()).collect());
        world.live(5 * SECOND_MS, |_| Vec::new());
    }
    world.live(2 * HOUR_MS, |_| Vec::new());
    let mut report = Report::default();
    for number in 0..DEVICES {
        let until_ms = played(number).last().unwrap().at_ms;
        let faults: Vec<_> = played(number).faults().into_iter().filter(|fault| fault.from_ms < until_ms).collect();
        let mut found = episodes(world.events.remove(&format!("d-{number}")).unwrap_or_default());
        found.retain(|episode| episode.from_ms < until_ms);
        report.add(&faults, &found, until_ms - START_MS - Season::Daily.warm_up_ms());
    }
    assert!(report.recall_of_all().unwrap() >= 0.9, "{report}");
    assert!(report.precision(Kind::Dropout).unwrap() >= 0.9, "{report}");
}

#[test]
fn after_an_outage_of_half_an_hour_those_are_missed_that_do_not_come_back() {
    let mut world = World::new();
    let begun_ms = world.begun_ms;
    let names = ["d-1", "d-2", "d-3"];
    let all = |now_ms: i64| names.iter().flat_map(|name| each_interval(name, begun_ms, now_ms)).collect();
    world.live(10 * HOUR_MS, all);
    world.live(30 * MINUTE_MS, |_| Vec::new());
    assert_eq!(world.names(), [""; 0]);
    // One is back at once, and another after a minute and a half, each with what it has read meanwhile.
    let first = 10 * 12 + 1;
    world.live(MINUTE_MS / 2, |_| Vec::new());
    world.hear(list("d-1", begun_ms, first..first + 6));
    world.live(3 * MINUTE_MS / 2, |_| Vec::new());
    world.hear(list("d-2", begun_ms, first..first + 6));
    world.live(HOUR_MS, |now_ms| names[..2].iter().flat_map(|name| each_interval(name, begun_ms, now_ms)).collect());
    assert_eq!(world.names(), ["d-3"]);
    let told_ms = world.missed[0].2 - 10 * HOUR_MS;
    assert!((32 * MINUTE_MS..36 * MINUTE_MS).contains(&told_ms), "{told_ms}");
}

#[test]
fn a_device_that_tells_an_hour_of_readings_each_hour_is_missed_after_two_of_them() {
    let mut world = World::new();
    let begun_ms = world.begun_ms;
    let said = |now_ms: i64, is_there: bool| {
        let mut readings = each_interval("d-live", begun_ms, now_ms);
        if is_there && now_ms % HOUR_MS == 0 {
            let hours = now_ms / HOUR_MS;
            readings.extend(list("d-hourly", begun_ms, (hours - 1) * 12 + 1..hours * 12 + 1));
        }
        readings
    };
    world.live(48 * HOUR_MS, |now_ms| said(now_ms, true));
    assert_eq!(world.names(), [""; 0]);
    world.live(3 * HOUR_MS, |now_ms| said(now_ms, false));
    assert_eq!(world.names(), ["d-hourly"]);
    let (_, began_ms, told_ms) = world.missed[0];
    assert_eq!(began_ms - begun_ms, 48 * HOUR_MS + 4 * INTERVAL_MS);
    assert!(told_ms - 48 * HOUR_MS < 2 * HOUR_MS + 30 * MINUTE_MS, "{told_ms}");
}

#[test]
fn nobody_is_missed_at_a_time_that_is_still_to_come() {
    let mut world = World::new();
    let ahead_ms = world.begun_ms + 30 * DAY_MS;
    for number in 0..20 {
        world.hear(list("d-1", ahead_ms, number..number + 1));
    }
    world.live(2 * HOUR_MS, |_| Vec::new());
    assert_eq!(world.names(), [""; 0]);
}
