//! Devices that are there no longer; and callers that come again while nothing is kept.

use bowline::{Code, runtime::metric::Registry};
use example_sql::{Db, on_both, testing::Fixture};

use super::{
    Analytics, Asking, INTERVAL_MS, Model, NOW_MS, START_MS, anomalies, days_of, hours_pass, reading, started, take,
};
use crate::{
    reading::{Batch, Receipt},
    service::Removed,
};

on_both!(what_is_removed_is_forgotten_once_and_nothing_is_wrong_with_it_any_more);

async fn remove<DB: Db>(analytics: &Analytics<DB>, message: &str, device: &str) {
    let removed = Removed { device: device.to_owned() };
    analytics.clone().remove(message.to_owned(), removed, NOW_MS).await.unwrap();
}

async fn what_is_removed_is_forgotten_once_and_nothing_is_wrong_with_it_any_more<DB: Db>(fixture: Fixture<DB>) {
    let metrics = Registry::default();
    let analytics = started(&fixture, Asking::new(Model::Away), &metrics).await;
    take(&analytics, days_of("d-1", 20)).await;
    hours_pass(&analytics, 4).await;
    let open = anomalies(&analytics).await;
    assert_eq!((open.len(), open[0].ended_ms), (1, None));
    let has = |line: &str| metrics.render().contains(line);
    assert!(has("iot_device_anomaly{device=\"d-1\",kind=\"dropout\"} 1\n") && has("iot_analytics_devices 1\n"));
    for message in ["m-1", "m-1", "m-2"] {
        remove(&analytics, message, "d-1").await;
    }
    let over = anomalies(&analytics).await;
    assert_eq!((over.len(), over[0].ended_ms), (1, Some(NOW_MS)));
    assert!(!has("iot_device_anomaly{") && has("iot_analytics_devices 0\n"), "{}", metrics.render());
    assert!(has("iot_anomalies_open{kind=\"dropout\"} 0\n"));
    // What was on its way makes no new one of it; also one that nobody knows can be removed.
    let late = take(&analytics, vec![reading("d-1", 20, START_MS + 20 * INTERVAL_MS, 1.0)]).await;
    assert_eq!(late, Receipt { late: 1, ..Receipt::default() });
    remove(&analytics, "m-3", "d-2").await;
    // Of the same id there may be one again: it is new, and a message that comes again is none of it.
    let metrics = Registry::default();
    let analytics = started(&fixture, Asking::new(Model::Away), &metrics).await;
    assert!(metrics.render().contains("iot_analytics_devices 0\n"));
    assert_eq!(take(&analytics, days_of("d-1", 20)).await.taken, 20);
    remove(&analytics, "m-1", "d-1").await;
    assert_eq!(take(&analytics, days_of("d-1", 20)).await.duplicates, 20);
    hours_pass(&analytics, 4).await;
    assert_eq!(anomalies(&analytics).await.len(), 2);
}

/// A model that does not answer holds a batch up for a moment, as a database would that stands still.
#[tokio::test]
async fn one_batch_waits_and_others_are_to_come_again() {
    let fixture = Fixture::sqlite();
    let analytics = started(&fixture, Asking::new(Model::Silent), &Registry::default()).await;
    let mut readings = days_of("d-1", 4 * 288);
    readings[1100].value += 50.0;
    take(&analytics, readings.drain(..1100).collect()).await;
    let batch = |device: &str| Batch { readings: vec![reading(device, 1, START_MS, 1.0)] };
    let found = Batch { readings };
    let (first, second, third) = tokio::join!(
        analytics.clone().take(found, NOW_MS),
        analytics.clone().take(batch("d-2"), NOW_MS),
        analytics.clone().take(batch("d-3"), NOW_MS),
    );
    assert_eq!((first.unwrap().taken, second.unwrap().taken), (52, 1));
    assert_eq!(third.unwrap_err().code(), Code::Unavailable);
    assert_eq!(analytics.clone().take(batch("d-3"), NOW_MS).await.unwrap().taken, 1);
}
