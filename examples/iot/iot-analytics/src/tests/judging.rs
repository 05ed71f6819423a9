//! What is found, in which order of readings, and when nobody is heard.

use bowline::runtime::metric::Registry;
use example_sql::{Db, on_both, testing::Fixture};
use iot_detect::{DAY_MS, Kind, Season};

use super::{
    Asking, INTERVAL_MS, MINUTE_MS, Model, NOW_MS, START_MS, anomalies, days_of, hours_pass, plain, reading, rules,
    started, started_by, take, usual,
};
use crate::{
    anomaly::{Asked, Severity},
    reading::Receipt,
};

on_both!(
    a_spike_is_found_told_and_over,
    a_silent_device_is_missed_while_others_are_heard,
    what_comes_twice_or_late_is_counted_and_not_judged,
    of_another_season_a_device_learns_anew_and_what_was_open_is_over,
    two_who_judge_the_same_devices_are_told,
);

/// Weeks of readings are judged without an hour on the clock.
async fn a_spike_is_found_told_and_over<DB: Db>(fixture: Fixture<DB>) {
    let metrics = Registry::default();
    let analytics = started(&fixture, Asking::new(Model::Scores(0.55)), &metrics).await;
    let mut readings = days_of("d-1", 5 * 288);
    let spike = 4 * 288 + 100;
    readings[spike].value += 20.0;
    let spike_ms = readings[spike].at_ms;
    // Until the watermark is beyond it, and it is open.
    let rest = readings.split_off(spike + 3);
    take(&analytics, readings).await;
    let open = anomalies(&analytics).await;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!((open[0].kind, open[0].began_ms, open[0].ended_ms), (Kind::Spike, spike_ms, None));
    assert_eq!((open[0].score, open[0].severity, &*open[0].by), (0.55, Severity::Warning, "7-1a2b3c4d"));
    assert!(open[0].value.unwrap() > open[0].expected.unwrap() + 15.0);
    assert!(metrics.render().contains("iot_device_anomaly{device=\"d-1\",kind=\"spike\"} 1\n"));
    take(&analytics, rest).await;
    let over = anomalies(&analytics).await;
    assert!(over.len() == 1 && over[0].ended_ms.is_some_and(|ended_ms| ended_ms > spike_ms), "{over:?}");
    let text = metrics.render();
    assert!(
        text.contains("iot_anomalies_total{kind=\"spike\"} 1\n") && !text.contains("iot_device_anomaly{"),
        "{text}"
    );
    assert!(text.contains("iot_anomalies_open{kind=\"spike\"} 0\n"), "{text}");
    for (open, device, count) in
        [(Some(true), None, 0), (Some(false), None, 1), (None, Some("d-1"), 1), (None, Some("d-2"), 0)]
    {
        let asked = Asked { open, device: device.map(str::to_owned), ..Asked::default() };
        assert_eq!(analytics.anomalies(&asked).await.unwrap().anomalies.len(), count, "{asked:?}");
    }
}

async fn a_silent_device_is_missed_while_others_are_heard<DB: Db>(fixture: Fixture<DB>) {
    let analytics = plain(&fixture).await;
    let both = |from: i64, to: i64, devices: &[&str]| {
        (from..to)
            .flat_map(|n| {
                devices
                    .iter()
                    .map(move |name| reading(name, n, START_MS + n * INTERVAL_MS, usual(n)))
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    take(&analytics, both(0, 20, &["d-1", "d-2"])).await;
    // They tell lists of 95 minutes, and two of these may be lost.
    hours_pass(&analytics, 3).await;
    assert_eq!(anomalies(&analytics).await, []);
    take(&analytics, both(20, 25, &["d-1"])).await;
    hours_pass(&analytics, 2).await;
    let due_ms = START_MS + 23 * INTERVAL_MS;
    let found = anomalies(&analytics).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&*found[0].device, found[0].kind, found[0].began_ms), ("d-2", Kind::Dropout, due_ms));
    assert_eq!((found[0].score, &*found[0].by), (0.5, "fallback"));
    // It had a backlog, a part of which is from before it was missed.
    take(&analytics, both(20, 29, &["d-2"])).await;
    let found = anomalies(&analytics).await;
    assert_eq!((found.len(), found[0].ended_ms), (1, Some(due_ms)), "{found:?}");
}

async fn what_comes_twice_or_late_is_counted_and_not_judged<DB: Db>(fixture: Fixture<DB>) {
    let metrics = Registry::default();
    let analytics = started(&fixture, Asking::new(Model::Away), &metrics).await;
    let readings = days_of("d-1", 50);
    assert_eq!(take(&analytics, readings.clone()).await, Receipt { taken: 50, ..Receipt::default() });
    assert_eq!(take(&analytics, readings).await, Receipt { duplicates: 50, ..Receipt::default() });
    let late = reading("d-1", 1000, START_MS + MINUTE_MS, 99.0);
    assert_eq!(take(&analytics, vec![late]).await, Receipt { late: 1, ..Receipt::default() });
    let text = metrics.render();
    for (outcome, count) in [("taken", 50), ("duplicate", 50), ("late", 1), ("crowded", 0)] {
        let line = format!("iot_analytics_readings_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(text.contains("iot_analytics_devices 1\n"), "{text}");
}

async fn of_another_season_a_device_learns_anew_and_what_was_open_is_over<DB: Db>(fixture: Fixture<DB>) {
    let analytics = plain(&fixture).await;
    take(&analytics, days_of("d-1", 20)).await;
    hours_pass(&analytics, 4).await;
    let is_open = |found: &[crate::anomaly::Anomaly]| found.iter().filter(|found| found.ended_ms.is_none()).count();
    assert_eq!(is_open(&anomalies(&analytics).await), 1);
    let weekly = rules(Season::Weekly, MINUTE_MS);
    let analytics = started_by(&fixture, Asking::new(Model::Away), &Registry::default(), weekly.clone()).await;
    assert_eq!(is_open(&anomalies(&analytics).await), 1);
    take(&analytics, vec![reading("d-1", 20, START_MS + 2 * DAY_MS, 1.0)]).await;
    assert_eq!(is_open(&anomalies(&analytics).await), 0);
    // And the next start reads what was written.
    let analytics = started_by(&fixture, Asking::new(Model::Away), &Registry::default(), weekly).await;
    assert_eq!(is_open(&anomalies(&analytics).await), 0);
}

async fn two_who_judge_the_same_devices_are_told<DB: Db>(fixture: Fixture<DB>) {
    let (one, other) = (plain(&fixture).await, plain(&fixture).await);
    let readings = days_of("d-1", 3);
    let batch = |at: usize| crate::reading::Batch { readings: vec![readings[at].clone()] };
    one.clone().take(batch(0), NOW_MS).await.unwrap();
    let refused = other.clone().take(batch(1), NOW_MS).await.unwrap_err();
    assert!(refused.code() == bowline::Code::Unavailable && refused.to_string().contains("one instance"), "{refused}");
    // It has read anew, and goes on.
    let receipt = other.take(batch(0), NOW_MS).await.unwrap();
    assert_eq!((receipt.taken, receipt.duplicates), (0, 1));
}
