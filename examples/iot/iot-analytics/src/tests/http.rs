//! The service as its callers know it.

use example_sql::{Db, on_both, testing::Fixture};
use example_testing::{Document, JSON, Running};
use serde_json::{Value, json};
use sqlx::Sqlite;

use super::{Asking, INTERVAL_MS, START_MS, plain};
use crate::{api, reading::BATCH_MAX, repository::SqlAnalytics};

const DOCUMENT: &str = include_str!("../../../openapi/analytics.yaml");

on_both!(readings_go_in_and_anomalies_come_out, what_makes_no_sense_is_refused_as_the_document_says);

struct Analytics(Running);

impl Analytics {
    async fn start<DB: Db>(fixture: &Fixture<DB>) -> Self {
        Self(Running::start("analytics", api::app(plain(fixture).await), DOCUMENT).await)
    }

    async fn post(&self, body: &str) -> (u16, Value) {
        let answer = self.0.ask("POST", "/observations", &[JSON], body).await;
        (answer.status, answer.value())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.0.ask("GET", path, &[], "").await;
        (answer.status, answer.value())
    }
}

#[test]
fn the_document_has_the_operations_of_the_service() {
    let routed = api::operations::<SqlAnalytics<Sqlite>, Asking>();
    Document::read(DOCUMENT).check_operations(routed.iter().map(|(method, path, _)| (*method, *path)));
}

async fn readings_go_in_and_anomalies_come_out<DB: Db>(fixture: Fixture<DB>) {
    let analytics = Analytics::start(&fixture).await;
    let reading = |device: &str, number: i64, value: f64| json!({"device": device, "sequence": number, "at_ms": START_MS + number * INTERVAL_MS, "value": value});
    let mut readings: Vec<Value> = (0..20).map(|number| reading("d-1", number, 2.5)).collect();
    readings.push(reading("d.1", 1, 0.0));
    readings.push(json!({"device": "d-1", "sequence": 99, "at_ms": i64::MAX, "value": 1.0}));
    let receipt = json!({"taken": 20, "duplicates": 0, "late": 0, "ahead": 1, "malformed": 1, "crowded": 0});
    assert_eq!(analytics.post(&json!({"readings": readings}).to_string()).await, (200, receipt));
    assert_eq!(analytics.get("/anomalies").await, (200, json!({"anomalies": []})));
    analytics.post(&json!({"readings": [reading("d-1", 40, 1.0), reading("d-1", 42, 1.5)]}).to_string()).await;
    let (_, found) = analytics.get("/anomalies?device=d-1&open=false&after=0&limit=10").await;
    let found = found["anomalies"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["kind"], &found[0]["by"]), (1, &json!("dropout"), &json!("fallback")));
    let id = found[0]["id"].as_i64().unwrap();
    let (_, after) = analytics.get(&format!("/anomalies?after={id}")).await;
    assert_eq!(after, json!({"anomalies": []}));
}

async fn what_makes_no_sense_is_refused_as_the_document_says<DB: Db>(fixture: Fixture<DB>) {
    let analytics = Analytics::start(&fixture).await;
    let reading = json!({"device": "d-1", "sequence": 1, "at_ms": 0, "value": 1});
    for (body, status) in [
        (json!({"readings": []}), 422),
        (json!({"readings": vec![&reading; BATCH_MAX + 1]}), 422),
        (json!({"readings": [{"device": "d-1"}]}), 422),
        (json!({"readings": [], "more": 1}), 422),
        (json!({"readings": ["x".repeat(1 << 20)]}), 413),
    ] {
        assert_eq!(analytics.post(&body.to_string()).await.0, status, "{body:.80}");
    }
    assert_eq!(analytics.post("{").await.0, 400);
    for (path, status) in [
        ("/anomalies?open=maybe", 400),
        ("/anomalies?more=1", 400),
        ("/anomalies?device=d.1", 422),
        ("/anomalies?limit=0", 422),
        ("/anomalies?limit=1001", 422),
    ] {
        assert_eq!(analytics.get(path).await.0, status, "{path}");
    }
}
