//! However readings come in batches, twice, out of order, and with restarts in between: what is found is the same.

use bowline::runtime::metric::Registry;
use example_sql::{Db, Statement, Value, on_both, testing::Fixture};
use iot_detect::{Kind, features::Watch, generator, random::Random};
use proptest::prelude::*;

use super::{Asking, INTERVAL_MS, Model, NOW_MS, START_MS, anomalies, days_of, hours_pass, plain, reading, take};
use crate::{
    anomaly::Anomaly,
    device::Device,
    fleet::{Entry, Fleet, Name, What, Work},
    reading::{Reading, Receipt},
    rules::{Rules, Terms},
};

on_both!(
    a_restart_changes_nothing_and_nothing_is_told_twice,
    a_device_whose_state_is_not_known_is_learned_anew_and_what_lasts_is_told,
    a_dropout_that_was_told_while_all_were_silent_is_known_after_a_restart,
);

/// How late a reading may come: the default.
const LATENESS_MS: i64 = 300_000;

/// Of three generated devices for so many days, in the order of their times.
fn stream(seed: u64, days: i64) -> Vec<Reading> {
    let plan = generator::Plan::of_equal_days(days);
    let mut readings = Vec::new();
    for number in 0..3 {
        let device = generator::Device::new(seed, number, plan);
        let told =
            device.zip(0..).map(|(read, sequence)| reading(&format!("d-{number}"), sequence, read.at_ms, read.value));
        readings.extend(told);
    }
    readings.sort_by_key(|reading| reading.at_ms);
    readings
}

async fn a_restart_changes_nothing_and_nothing_is_told_twice<DB: Db>(mut fixture: Fixture<DB>) {
    let readings = stream(3, 10);
    let analytics = plain(&fixture).await;
    take(&analytics, readings.clone()).await;
    let expect = anomalies(&analytics).await;
    assert!(expect.len() >= 5, "{expect:?}");
    fixture.renew();
    for batch in readings.chunks(700) {
        let metrics = Registry::default();
        let analytics = super::started(&fixture, Asking::new(Model::Away), &metrics).await;
        take(&analytics, batch.to_vec()).await;
        // The sender did not hear of it.
        let again = take(&plain(&fixture).await, batch[600.min(batch.len() - 1)..].to_vec()).await;
        assert_eq!((again.taken, again.late), (0, 0));
    }
    let analytics = plain(&fixture).await;
    assert_eq!(anomalies(&analytics).await, expect);
}

async fn a_dropout_that_was_told_while_all_were_silent_is_known_after_a_restart<DB: Db>(fixture: Fixture<DB>) {
    let analytics = plain(&fixture).await;
    take(&analytics, days_of("d-1", 20)).await;
    hours_pass(&analytics, 4).await;
    let told = anomalies(&analytics).await;
    assert_eq!((told.len(), told[0].kind, told[0].ended_ms), (1, Kind::Dropout, None));
    let analytics = plain(&fixture).await;
    hours_pass(&analytics, 4).await;
    assert_eq!(anomalies(&analytics).await, told);
    let ended_ms = START_MS + 45 * INTERVAL_MS;
    let back = [reading("d-1", 20, ended_ms, 1.0), reading("d-1", 21, ended_ms + 2 * LATENESS_MS, 1.0)];
    take(&analytics, back.to_vec()).await;
    assert_eq!(anomalies(&plain(&fixture).await).await, [Anomaly { ended_ms: Some(ended_ms), ..told[0].clone() }]);
}

/// Of another release's state only the journal is known; what begins in it is told once, and lasts.
async fn a_device_whose_state_is_not_known_is_learned_anew_and_what_lasts_is_told<DB: Db>(fixture: Fixture<DB>) {
    take(&plain(&fixture).await, days_of("d-1", 290)).await;
    let sql = fixture.open(&sqlx::migrate!()).await;
    let other = Statement::new("UPDATE devices SET state = '{\"format\":2}'");
    assert_eq!(sql.execute(&mut *sql.read().await.unwrap(), "devices", other).await.unwrap(), 1);
    // It falls silent before anybody of this release writes it; nobody has told that.
    let rows = (291..303).map(|number| {
        let at_ms = START_MS + number * INTERVAL_MS;
        [Value::from(1_000_000 + number), "d-1".into(), number.into(), at_ms.into(), 7.0.into()]
    });
    let read = Statement::of_rows("INSERT INTO journal (number, device, sequence, at_ms, value) {rows}", rows);
    sql.execute(&mut *sql.read().await.unwrap(), "journal", read).await.unwrap();
    let tick = "INSERT INTO journal (number, device, at_ms) VALUES (2000000, 'd-1', $1)";
    let tick = Statement::new(tick).bind(START_MS + 400 * INTERVAL_MS);
    sql.execute(&mut *sql.read().await.unwrap(), "journal", tick).await.unwrap();
    let analytics = plain(&fixture).await;
    let told = anomalies(&analytics).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].kind, told[0].began_ms, told[0].ended_ms), (Kind::Dropout, START_MS + 306 * INTERVAL_MS, None));
    // It is written as this release writes it.
    assert_eq!(anomalies(&plain(&fixture).await).await, told);
}

/// The journal and the states as the database has them.
#[derive(Default)]
struct Store {
    devices: std::collections::BTreeMap<Name, (Terms, Option<String>)>,
    journal: Vec<Entry>,
    told: Vec<(Name, i64, Kind, bool)>,
}

impl Store {
    fn keep(&mut self, work: Work) {
        self.devices.extend(work.new.into_iter().map(|(name, terms)| (name, (terms, None))));
        self.journal.extend(work.journal);
        for kept in work.states {
            self.devices.insert(kept.device.clone(), (kept.terms, Some(kept.state)));
            let is_kept = |entry: &Entry| match entry.what {
                What::Reading(place, _) => Some(place) <= kept.released,
                What::Tick(_) => true,
            };
            self.journal.retain(|entry| entry.device != kept.device || !is_kept(entry));
        }
        let told = work
            .told
            .into_iter()
            .map(|(name, told)| (name, told.event.at_ms, told.event.kind, told.features.is_some()));
        self.told.extend(told);
    }

    /// What a start makes of it.
    fn read(&self) -> Fleet {
        let mut fleet = Fleet::new(10);
        for (name, (terms, state)) in &self.devices {
            fleet.restore(name.clone(), *terms, state.as_deref());
        }
        for entry in &self.journal {
            fleet.replay(entry);
        }
        assert!(fleet.replayed(&[]).is_empty());
        fleet
    }

    fn told(mut self) -> Vec<(Name, i64, Kind, bool)> {
        self.told.sort();
        self.told
    }
}

/// What is told of readings that come in these batches, with a restart after those that say so. At the end nobody is
/// heard for a day: so all that is silent is missed.
fn run(batches: Vec<(Vec<Reading>, bool)>) -> Vec<(Name, i64, Kind, bool)> {
    let (mut store, mut fleet) = (Store::default(), Fleet::new(10));
    for (batch, is_restart) in batches {
        let mut receipt = Receipt::default();
        store.keep(fleet.take(batch, Rules::default().terms, NOW_MS, &mut receipt));
        assert_eq!(receipt.late, 0);
        if is_restart {
            fleet = store.read();
        }
    }
    for half_minutes in 0..24 * 120 {
        store.keep(fleet.look(NOW_MS + half_minutes * 30_000, Rules::default().terms));
    }
    store.told()
}

/// Readings in batches of random sizes, each up to the lateness later than others, some of them twice, with restarts.
fn shuffled(readings: &[Reading], seed: u64) -> Vec<(Vec<Reading>, bool)> {
    let mut random = Random::fork(seed, 0);
    let mut below = |bound: i64| random.below(bound);
    let mut arriving: Vec<(i64, Reading)> =
        readings.iter().map(|reading| (reading.at_ms + below(LATENESS_MS), reading.clone())).collect();
    arriving.sort_by_key(|(at_ms, _)| *at_ms);
    let mut batches = Vec::new();
    while !arriving.is_empty() {
        let size = usize::try_from(1 + below(150)).unwrap().min(arriving.len());
        let mut batch: Vec<Reading> = arriving.drain(..size).map(|(_, reading)| reading).collect();
        if below(3) == 0 {
            batch.extend_from_within(..batch.len().min(20));
        }
        batches.push((batch, below(4) == 0));
    }
    batches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn how_readings_come_changes_nothing(seed in 0_u64..1000, order in any::<u64>()) {
        let readings = stream(seed, 6);
        let straight = run(vec![(readings.clone(), false)]);
        prop_assert_eq!(run(shuffled(&readings, order)), straight);
    }
}

/// A device's own order is that of one who has all readings in order at once.
#[test]
fn a_device_is_judged_as_by_a_detector_that_has_its_readings_in_order() {
    let terms = Rules::default().terms;
    let mut device = Device::new(terms);
    let settings = iot_detect::Settings { season: terms.season, ..iot_detect::Settings::default() };
    let mut watch = Watch::new(iot_detect::Detector::new(settings), iot_detect::features::Window::default());
    let (mut found, mut expect) = (Vec::new(), Vec::new());
    for read in stream(5, 8).into_iter().filter(|read| read.device == "d-0") {
        device.offer((read.at_ms, read.sequence), read.value);
        found.extend(device.release());
        expect.extend(watch.observe(read.at_ms, read.value));
    }
    found.extend(device.tick(0));
    assert!(expect.len() > 2, "{expect:?}");
    assert_eq!(found, expect);
}
