//! The service on SQLite and on a real PostgreSQL: the same tests on both.

mod alerts;
mod http;
mod judging;
mod removal;
mod restarts;
mod scoring;
mod silence;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bowline::{Tracer, runtime::metric::Registry};
use example_sql::{Db, testing::Fixture};
use iot_detect::{HOUR_MS, Season, features::Features};

use crate::{
    anomaly::{Anomaly, Asked},
    reading::{Batch, Reading, Receipt},
    repository::SqlAnalytics,
    rules::{Rules, Terms},
    scorer::{Scored, Scorer},
    service::AnalyticsService,
};

/// Monday, 5 January 2026.
const START_MS: i64 = 1_767_571_200_000;

const MINUTE_MS: i64 = 60_000;

/// Long after everything.
const NOW_MS: i64 = START_MS + 10_000 * HOUR_MS;

/// From one reading of a device to the next.
const INTERVAL_MS: i64 = 5 * MINUTE_MS;

/// A model that answers the same of all, one that is away, or one that does not answer.
#[derive(Debug, Clone)]
enum Model {
    Scores(f64),
    Away,
    Silent,
}

/// It, and how often it was asked.
#[derive(Debug, Clone)]
struct Asking {
    model: Model,
    asked: Arc<AtomicUsize>,
}

impl Asking {
    fn new(model: Model) -> Self {
        Self { model, asked: Arc::default() }
    }
}

impl Scorer for Asking {
    async fn score(&self, windows: &[Features]) -> Result<Scored, String> {
        self.asked.fetch_add(1, Relaxed);
        match self.model {
            Model::Scores(score) => Ok(Scored { scores: vec![score; windows.len()], version: "7-1a2b3c4d".to_owned() }),
            Model::Away => Err("the breakers of service ml are open".to_owned()),
            Model::Silent => std::future::pending().await,
        }
    }
}

type Analytics<DB> = Arc<AnalyticsService<SqlAnalytics<DB>, Asking>>;

/// The service, as it starts on what is kept.
async fn started<DB: Db>(fixture: &Fixture<DB>, scorer: Asking, metrics: &Registry) -> Analytics<DB> {
    started_by(fixture, scorer, metrics, Rules::default()).await
}

async fn started_by<DB: Db>(fixture: &Fixture<DB>, scorer: Asking, metrics: &Registry, rules: Rules) -> Analytics<DB> {
    let repository = SqlAnalytics::new(fixture.open(&sqlx::migrate!()).await.with_messages().await.unwrap());
    let rules = Arc::new(rules);
    let rules = Box::new(move || rules.clone());
    let analytics = AnalyticsService::new(repository, scorer, rules, &Tracer::disabled(), metrics);
    analytics.begin().await.unwrap();
    Arc::new(analytics)
}

/// Without a model, and with metrics that nobody looks at.
async fn plain<DB: Db>(fixture: &Fixture<DB>) -> Analytics<DB> {
    started(fixture, Asking::new(Model::Away), &Registry::default()).await
}

/// Of other terms than the default's.
fn rules(season: Season, lateness_ms: i64) -> Rules {
    Rules { terms: Terms { season, lateness_ms }, ..Rules::default() }
}

fn reading(device: &str, sequence: i64, at_ms: i64, value: f64) -> Reading {
    Reading { device: device.to_owned(), sequence, at_ms, value }
}

async fn take<DB: Db>(analytics: &Analytics<DB>, readings: Vec<Reading>) -> Receipt {
    let mut sum = Receipt::default();
    for readings in readings.chunks(crate::reading::BATCH_MAX) {
        let receipt = analytics.clone().take(Batch { readings: readings.to_vec() }, NOW_MS).await.unwrap();
        sum.taken += receipt.taken;
        sum.duplicates += receipt.duplicates;
        sum.late += receipt.late;
    }
    sum
}

/// Nothing is heard for so many hours, in which silent devices are looked for.
async fn hours_pass<DB: Db>(analytics: &Analytics<DB>, hours: i64) {
    for half_minutes in 0..=hours * 120 {
        analytics.clone().look(NOW_MS + half_minutes * 30_000).await.unwrap();
    }
}

/// All anomalies, without the ids, which follow from how readings came.
async fn anomalies<DB: Db>(analytics: &Analytics<DB>) -> Vec<Anomaly> {
    let asked = Asked { limit: Some(1000), ..Asked::default() };
    let mut found = analytics.anomalies(&asked).await.unwrap().anomalies;
    for anomaly in &mut found {
        anomaly.id = 0;
    }
    found.sort_by(|a, b| (&a.device, a.began_ms, a.kind).cmp(&(&b.device, b.began_ms, b.kind)));
    found
}

/// Readings of a device that is heard each five minutes, with the values of its day, for so many of them.
fn days_of(device: &str, count: i64) -> Vec<Reading> {
    (0..count).map(|number| reading(device, number, START_MS + number * INTERVAL_MS, usual(number))).collect()
}

/// What a device without a fault shows: a day's curve, and a little noise that is the same each time.
fn usual(number: i64) -> f64 {
    let real = |number: i64| f64::from(i32::try_from(number).unwrap());
    let noise = real((number * 7919).rem_euclid(101)) / 100.0 - 0.5;
    let day = real(number.rem_euclid(288)) / 288.0 * std::f64::consts::TAU;
    ((20.0 + 4.0 * day.sin() + noise) * 100.0).round() / 100.0
}
