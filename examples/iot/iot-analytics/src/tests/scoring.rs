//! That an anomaly is scored by the model where it answers in time, and by the detector where it does not.

use std::sync::atomic::Ordering::Relaxed;

use bowline::runtime::{metric::Registry, time};
use example_sql::{Db, on_both, testing::Fixture};

use super::{Asking, INTERVAL_MS, Model, START_MS, anomalies, days_of, hours_pass, reading, started, take};
use crate::{
    anomaly::Severity,
    scorer::{Scored, WINDOWS_MAX},
};

on_both!(a_model_that_is_away_or_silent_holds_up_nothing);

async fn a_model_that_is_away_or_silent_holds_up_nothing<DB: Db>(mut fixture: Fixture<DB>) {
    for (model, severity, by) in [
        (Model::Scores(0.9), Severity::Critical, "model"),
        (Model::Scores(0.1), Severity::Info, "model"),
        (Model::Away, Severity::Critical, "fallback"),
        (Model::Silent, Severity::Critical, "fallback"),
    ] {
        fixture.renew();
        let (scorer, metrics) = (Asking::new(model.clone()), Registry::default());
        let analytics = started(&fixture, scorer.clone(), &metrics).await;
        let mut readings = days_of("d-1", 4 * 288);
        readings[1100].value += 50.0;
        take(&analytics, readings.drain(..1100).collect()).await;
        assert_eq!(scorer.asked.load(Relaxed), 0, "nothing is asked while nothing is wrong");
        let asked = time::now();
        take(&analytics, readings).await;
        let took = asked.elapsed();
        let found = anomalies(&analytics).await;
        assert_eq!((found.len(), found[0].severity), (1, severity), "{model:?}: {found:?}");
        assert_eq!(found[0].by == "fallback", by == "fallback");
        assert!((0.0..1.0).contains(&found[0].score), "{found:?}");
        assert_eq!(scorer.asked.load(Relaxed), 1);
        // Its deadline, and what a busy machine takes for the rest.
        assert!(took < time::Duration::from_secs(5), "{took:?}");
        let line = format!("iot_analytics_scores_total{{by=\"{by}\"}} 1\n");
        assert!(metrics.render().contains(&line), "{}", metrics.render());
    }
}

/// More devices fall silent at once than are asked about.
#[tokio::test]
async fn many_at_once_are_scored_as_far_as_a_question_goes() {
    let (fixture, metrics) = (Fixture::sqlite(), Registry::default());
    let analytics = started(&fixture, Asking::new(Model::Scores(0.7)), &metrics).await;
    let count = WINDOWS_MAX + 10;
    for number in 0..12 {
        let at_ms = START_MS + number * INTERVAL_MS;
        take(&analytics, (0..count).map(|device| reading(&format!("d-{device}"), number, at_ms, 1.0)).collect()).await;
    }
    hours_pass(&analytics, 2).await;
    let found = anomalies(&analytics).await;
    assert_eq!(found.len(), count);
    let by_fallback = found.iter().filter(|anomaly| anomaly.by == "fallback").count();
    assert_eq!(by_fallback, 10);
    assert!(metrics.render().contains("iot_anomalies_open{kind=\"dropout\"} 266\n"));
}

#[test]
fn what_a_model_says_is_read() {
    let scored: Scored = serde_json::from_str(r#"{"scores":[0.25],"version":"7-1"}"#).unwrap();
    assert_eq!(scored, Scored { scores: vec![0.25], version: "7-1".to_owned() });
}
