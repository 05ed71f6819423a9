//! Readings as they come in the field: twice, late, out of order, for longer than they are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bowline::{
    Code, HandlerError,
    runtime::{metric::Registry, rand, task},
};
use example_sql::{Db, Statement, on_both, testing::Fixture};
use tokio::sync::Notify;

use super::{MINUTE_MS, NOW_MS, data, reading};
use crate::{
    reading::{Batch, Reading, Reason},
    repository::{FORGOTTEN_MAX, SqlReadings},
    rollup::Step,
    service::{
        Asked, DataService, HOURS_FOR_MS, MINUTES_FOR_MS, Point, READINGS_FOR_MS, READINGS_KEPT_FOR_MS, UNTOLD_FOR_MS,
    },
    telling::{self, Analytics},
};

on_both!(
    a_batch_that_comes_again_is_stored_once_and_rolled_up_once,
    a_device_that_counts_anew_is_told,
    what_is_older_than_what_is_kept_is_refused_and_forgotten_minutes_stay,
    what_is_asked_for_is_checked_and_bounded,
    batches_that_come_at_once_are_stored_once,
    analytics_is_told_everything_in_the_order_of_arrival_also_after_it_was_away,
    what_analytics_was_not_told_waits_for_it_but_not_for_ever,
    what_analytics_refuses_is_left_out_alone,
    a_reading_that_comes_again_at_the_edge_of_what_is_taken_is_rolled_up_once,
    analytics_is_told_at_once,
    a_database_that_is_busy_is_told_as_passing,
    rollups_are_those_of_the_readings_that_were_stored,
);

fn asked(from: i64, to: i64, step: Option<Step>) -> Asked {
    Asked { from, to, step }
}

/// How many were stored, and how many were there.
async fn ingest<DB: Db>(data: &DataService<SqlReadings<DB>>, readings: Vec<Reading>) -> (usize, usize) {
    let receipt = data.ingest(Batch { readings }, NOW_MS).await.unwrap();
    assert_eq!(receipt.refused, []);
    (receipt.stored, receipt.duplicates)
}

async fn a_batch_that_comes_again_is_stored_once_and_rolled_up_once<DB: Db>(fixture: Fixture<DB>) {
    let data = data(&fixture).await;
    let at = |minutes: i64| NOW_MS - 10 * MINUTE_MS + minutes * MINUTE_MS;
    let batch =
        vec![reading("d-1", 1, at(0), 10.0), reading("d-1", 2, at(0) + 30_000, 20.0), reading("d-2", 1, at(0), 5.0)];
    assert_eq!(ingest(&data, batch.clone()).await, (3, 0));
    // A part of it again, with what came too late for the first.
    let again = vec![batch[1].clone(), reading("d-1", 0, at(0) + 10_000, -3.0), reading("d-1", 3, at(1), 7.0)];
    assert_eq!(ingest(&data, again).await, (2, 1));
    assert_eq!(ingest(&data, batch).await, (0, 3));
    let minutes = data.series("d-1", &asked(at(0) + 59_000, at(2), Some(Step::Minute))).await.unwrap();
    let rolled = |at_ms, count, mean, min, max| Point::Rolled { at_ms, count, mean, min, max };
    assert_eq!(minutes.points, [rolled(at(0), 3, 9.0, -3.0, 20.0), rolled(at(1), 1, 7.0, 7.0, 7.0)]);
    let hours = data.series("d-1", &asked(0, i64::MAX, Some(Step::Hour))).await.unwrap();
    assert_eq!(hours.points, [rolled(NOW_MS - 60 * MINUTE_MS, 4, 8.5, -3.0, 20.0)]);
    let read = data.series("d-1", &asked(at(0), at(1), None)).await.unwrap();
    let text = serde_json::to_value(&read).unwrap();
    assert_eq!(text["points"][1], serde_json::json!({"at_ms": at(0) + 10_000, "sequence": 0, "value": -3.0}));
    assert_eq!(read.points.len(), 3);
}

async fn a_device_that_counts_anew_is_told<DB: Db>(fixture: Fixture<DB>) {
    let data = data(&fixture).await;
    ingest(&data, vec![reading("d-1", 1, NOW_MS, 10.0)]).await;
    let readings = vec![reading("d-1", 1, NOW_MS + 1, 10.0), reading("d-1", 2, NOW_MS + 1, 10.0)];
    let receipt = data.ingest(Batch { readings }, NOW_MS).await.unwrap();
    assert_eq!((receipt.stored, receipt.duplicates, receipt.refused[0].reason), (1, 0, Reason::Conflict));
    let text = serde_json::to_value(&receipt).unwrap();
    assert_eq!(text["refused"][0], serde_json::json!({"device": "d-1", "sequence": 1, "reason": "conflict"}));
}

async fn what_is_older_than_what_is_kept_is_refused_and_forgotten_minutes_stay<DB: Db>(fixture: Fixture<DB>) {
    let data = data(&fixture).await;
    let first = reading("d-1", 1, NOW_MS, 10.0);
    ingest(&data, vec![first.clone()]).await;
    let many =
        (2..2 + i64::from(FORGOTTEN_MAX) - 1).map(|number| reading("d-1", number, NOW_MS + number, 1.0)).collect();
    ingest(&data, many).await;
    assert_eq!(telling::tell_next(&data, &Told::default()).await.unwrap(), FORGOTTEN_MAX as usize);
    let later_ms = NOW_MS + READINGS_KEPT_FOR_MS + MINUTE_MS;
    let late = data.ingest(Batch { readings: vec![first] }, later_ms).await.unwrap();
    assert_eq!(late.refused[0].reason, Reason::TooOld);
    let all = |step| asked(0, i64::MAX, step);
    assert_eq!(data.forget(later_ms).await.unwrap(), u64::from(FORGOTTEN_MAX));
    assert!(data.series("d-1", &all(None)).await.unwrap().points.is_empty());
    assert_eq!(data.series("d-1", &all(Some(Step::Minute))).await.unwrap().points.len(), 1);
    assert_eq!(data.forget(NOW_MS + MINUTES_FOR_MS + MINUTE_MS).await.unwrap(), 1);
    assert_eq!(data.series("d-1", &all(Some(Step::Hour))).await.unwrap().points.len(), 1);
    assert_eq!(data.forget(NOW_MS + HOURS_FOR_MS + 60 * MINUTE_MS).await.unwrap(), 1);
}

async fn what_is_asked_for_is_checked_and_bounded<DB: Db>(fixture: Fixture<DB>) {
    let data = data(&fixture).await;
    for batch in 0..11 {
        let readings = (0..1000).map(|index| reading("d-1", batch * 1000 + index, NOW_MS + index, 1.0)).collect();
        ingest(&data, readings).await;
    }
    for (device, asked) in [
        ("d-1", asked(NOW_MS, i64::MAX, None)),
        ("d-1", asked(NOW_MS, NOW_MS, None)),
        ("d-1", asked(-1, NOW_MS, None)),
        ("d-1", asked(i64::MIN, NOW_MS, Some(Step::Hour))),
        ("../d", asked(0, NOW_MS, None)),
    ] {
        assert_eq!(data.series(device, &asked).await.unwrap_err().code(), Code::Unprocessable);
    }
    assert_eq!(data.series("d-1", &asked(NOW_MS, NOW_MS + 500, None)).await.unwrap().points.len(), 5500);
    assert_eq!(data.series("d-2", &asked(0, i64::MAX, None)).await.unwrap().points, []);
}

async fn batches_that_come_at_once_are_stored_once<DB: Db>(fixture: Fixture<DB>) {
    let data = Arc::new(data(&fixture).await);
    let readings: Vec<_> = (0..100).map(|number| reading("d-1", number, NOW_MS - number, 2.0)).collect();
    let sending = (0..8).map(|_| {
        let (data, readings) = (data.clone(), readings.clone());
        task::spawn(async move { ingest(&data, readings).await })
    });
    let (mut stored, mut duplicates) = (0, 0);
    for sent in sending.collect::<Vec<_>>() {
        let (fresh, found) = sent.await.unwrap();
        (stored, duplicates) = (stored + fresh, duplicates + found);
    }
    assert_eq!((stored, duplicates), (100, 700));
}

/// Keeps what it is told and takes, fails as often as it is told to, and refuses what is of a device `bad`.
#[derive(Default)]
struct Told {
    readings: Mutex<Vec<i64>>,
    failures: Mutex<u32>,
    heard: Notify,
}

impl Analytics for Told {
    async fn tell(&self, readings: &[Reading]) -> Result<bool, HandlerError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(HandlerError::new(Code::Unavailable, "analytics is away"));
        }
        let is_taken = readings.iter().all(|reading| reading.device != "bad");
        if is_taken {
            self.readings.lock().unwrap().extend(readings.iter().map(|reading| reading.sequence));
        }
        self.heard.notify_one();
        Ok(is_taken)
    }
}

async fn analytics_is_told_everything_in_the_order_of_arrival_also_after_it_was_away<DB: Db>(fixture: Fixture<DB>) {
    let told = Told { failures: Mutex::new(1), ..Told::default() };
    {
        let data = data(&fixture).await;
        ingest(&data, vec![reading("d-1", 5, NOW_MS, 1.0)]).await;
        ingest(&data, vec![reading("d-1", 5, NOW_MS, 1.0), reading("d-1", 4, NOW_MS - 1, 1.0)]).await;
        telling::tell_next(&data, &told).await.unwrap_err();
    }
    let data = data(&fixture).await;
    assert_eq!(telling::tell_next(&data, &told).await.unwrap(), 2);
    ingest(&data, vec![reading("bad", 9, NOW_MS, 1.0)]).await;
    assert_eq!(telling::tell_next(&data, &told).await.unwrap(), 1);
    assert_eq!(telling::tell_next(&data, &told).await.unwrap(), 0, "what is refused is not told again");
    assert_eq!(*told.readings.lock().unwrap(), [5, 4]);
}

async fn what_analytics_was_not_told_waits_for_it_but_not_for_ever<DB: Db>(fixture: Fixture<DB>) {
    let metrics = Registry::default();
    let data = DataService::new(SqlReadings(fixture.open(&sqlx::migrate!()).await), &metrics);
    let has = |line: &str| metrics.render().lines().any(|other| other == line);
    // Its device was away for almost as long as readings are taken.
    let at_ms = NOW_MS - READINGS_FOR_MS + MINUTE_MS;
    ingest(&data, vec![reading("d-1", 1, at_ms, 1.0)]).await;
    let told = Told { failures: Mutex::new(1), ..Told::default() };
    telling::tell_next(&data, &told).await.unwrap_err();
    assert!(has("iot_data_untold 1"), "{}", metrics.render());
    let later_ms = at_ms + READINGS_KEPT_FOR_MS + MINUTE_MS;
    assert_eq!(data.forget(later_ms).await.unwrap(), 0);
    assert_eq!(telling::tell_next(&data, &told).await.unwrap(), 1);
    assert_eq!(*told.readings.lock().unwrap(), [1]);
    assert_eq!(data.forget(later_ms).await.unwrap(), 1);
    ingest(&data, vec![reading("d-1", 2, at_ms, 1.0)]).await;
    assert_eq!(data.forget(at_ms + UNTOLD_FOR_MS).await.unwrap(), 0);
    assert_eq!(data.forget(at_ms + UNTOLD_FOR_MS + 1).await.unwrap(), 1);
    assert!(has("iot_data_untold_total{why=\"forgotten\"} 1"), "{}", metrics.render());
    assert_eq!(telling::tell_next(&data, &told).await.unwrap(), 0);
    assert!(has("iot_data_untold 0"), "{}", metrics.render());
}

async fn what_analytics_refuses_is_left_out_alone<DB: Db>(fixture: Fixture<DB>) {
    let metrics = Registry::default();
    let data = DataService::new(SqlReadings(fixture.open(&sqlx::migrate!()).await), &metrics);
    // In the order of their devices' names.
    let device = |number| match number {
        0..600 => "a",
        600..602 => "bad",
        _ => "d-1",
    };
    ingest(&data, (0..1000).map(|number| reading(device(number), number, NOW_MS, 1.0)).collect()).await;
    let told = Told::default();
    assert_eq!(telling::tell_next(&data, &told).await.unwrap(), 1000);
    let taken: Vec<i64> = (0..1000).filter(|number| !(600..602).contains(number)).collect();
    assert_eq!(*told.readings.lock().unwrap(), taken);
    assert!(metrics.render().contains("iot_data_untold_total{why=\"refused\"} 2\n"), "{}", metrics.render());
    assert_eq!(telling::tell_next(&data, &told).await.unwrap(), 0);
}

async fn a_reading_that_comes_again_at_the_edge_of_what_is_taken_is_rolled_up_once<DB: Db>(fixture: Fixture<DB>) {
    let data = data(&fixture).await;
    let first = reading("d-1", 1, NOW_MS - READINGS_FOR_MS, 1.0);
    assert_eq!(ingest(&data, vec![first.clone()]).await, (1, 0));
    assert_eq!(telling::tell_next(&data, &Told::default()).await.unwrap(), 1);
    // While it waits to be stored again, a replica whose clock is ahead forgets.
    assert_eq!(data.forget(NOW_MS + MINUTE_MS).await.unwrap(), 0);
    assert_eq!(ingest(&data, vec![first]).await, (0, 1));
    let hours = data.series("d-1", &asked(0, i64::MAX, Some(Step::Hour))).await.unwrap();
    assert!(matches!(hours.points[..], [Point::Rolled { count: 1, .. }]), "{hours:?}");
}

async fn analytics_is_told_at_once<DB: Db>(fixture: Fixture<DB>) {
    let (data, told) = (data(&fixture).await, Told::default());
    let storing = async {
        for sequence in 0..3 {
            ingest(&data, vec![reading("d-1", sequence, NOW_MS, 1.0)]).await;
            told.heard.notified().await;
        }
    };
    tokio::select! {
        () = telling::run(&data, &told) => {}
        () = storing => {}
    }
    assert_eq!(*told.readings.lock().unwrap(), [0, 1, 2]);
}

/// Batches with what they have in common, in any order: (device, sequence). A reading's time and value follow from its
/// number, as a device's do.
fn any_batches() -> Vec<Vec<(i64, i64)>> {
    let below = |bound| i64::try_from(rand::below(bound)).unwrap();
    let batch = |_| (0..=below(29)).map(|_| (below(3), below(40))).collect();
    (0..=below(7)).map(batch).collect()
}

async fn rollups_are_those_of_the_readings_that_were_stored<DB: Db>(mut fixture: Fixture<DB>) {
    bowline_testkit::seed();
    for _ in 0..16 {
        compare(&fixture, &any_batches()).await;
        fixture.renew();
    }
}

async fn compare<DB: Db>(fixture: &Fixture<DB>, batches: &[Vec<(i64, i64)>]) {
    let data = data(fixture).await;
    let at_ms = |sequence: i64| NOW_MS - 50 * MINUTE_MS + sequence * 17_000;
    let real = |number: i64| f64::from(i32::try_from(number).unwrap());
    let mut model: BTreeMap<(i64, i64), BTreeSet<i64>> = BTreeMap::new();
    for batch in batches {
        for (device, sequence) in batch {
            let minute_ms = at_ms(*sequence) / MINUTE_MS * MINUTE_MS;
            model.entry((*device, minute_ms)).or_default().insert(*sequence);
        }
        let of = |(device, sequence): &(i64, i64)| {
            reading(&format!("d-{device}"), *sequence, at_ms(*sequence), real(*sequence))
        };
        ingest(&data, batch.iter().map(of).collect()).await;
    }
    for device in 0..3 {
        let all = asked(0, i64::MAX, Some(Step::Minute));
        let shown = data.series(&format!("d-{device}"), &all).await.unwrap().points;
        let of_device = model.iter().filter(|((of, _), _)| *of == device);
        let expected: Vec<_> = of_device
            .map(|((_, at_ms), read)| {
                let (min, max) = (real(*read.first().unwrap()), real(*read.last().unwrap()));
                let (count, mean) = (i64::try_from(read.len()).unwrap(), real(read.iter().sum()));
                Point::Rolled { at_ms: *at_ms, count, mean: mean / real(count), min, max }
            })
            .collect();
        assert_eq!(shown, expected, "{batches:?}");
    }
}

async fn a_database_that_is_busy_is_told_as_passing<DB: Db>(fixture: Fixture<DB>) {
    let data = data(&fixture).await;
    let batch = |value: f64| Batch { readings: vec![reading("d-1", 1, NOW_MS, value)] };
    // Another replica that stands still in the middle of the same reading.
    let sql = fixture.open(&sqlx::migrate!()).await;
    let mut tx = sql.begin().await.unwrap();
    let insert = "INSERT INTO readings (device, sequence, at_ms, value, number) VALUES ('d-1', 1, $1, 2.5, -1)";
    sql.execute(&mut tx, "readings", Statement::new(insert).bind(NOW_MS)).await.unwrap();
    assert_eq!(data.ingest(batch(2.5), NOW_MS).await.unwrap_err().code(), Code::Unavailable);
    tx.rollback().await.unwrap();
    assert_eq!(data.ingest(batch(2.5), NOW_MS).await.unwrap().stored, 1);
}
