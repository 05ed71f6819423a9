//! The service as its callers know it.

use std::sync::Arc;

use bowline::runtime::time;
use example_sql::{Db, on_both, testing::Fixture};
use example_testing::{Document, JSON, Running};
use serde_json::{Value, json};
use sqlx::Sqlite;

use super::data;
use crate::{api, reading::BATCH_MAX, repository::SqlReadings};

const DOCUMENT: &str = include_str!("../../../openapi/data.yaml");

on_both!(readings_go_in_and_series_come_out, what_makes_no_sense_is_refused_as_the_document_says,);

struct Data(Running);

impl Data {
    async fn start<DB: Db>(fixture: &Fixture<DB>) -> Self {
        Self(Running::start("data", api::app(Arc::new(data(fixture).await)), DOCUMENT).await)
    }

    async fn post(&self, body: &str) -> (u16, Value) {
        let answer = self.0.ask("POST", "/readings", &[JSON], body).await;
        (answer.status, answer.value())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.0.ask("GET", path, &[], "").await;
        (answer.status, answer.value())
    }
}

#[test]
fn the_document_has_the_operations_of_the_service() {
    let routed = api::operations::<SqlReadings<Sqlite>>();
    Document::read(DOCUMENT).check_operations(routed.iter().map(|(method, path, _)| (*method, *path)));
}

async fn readings_go_in_and_series_come_out<DB: Db>(fixture: Fixture<DB>) {
    let data = Data::start(&fixture).await;
    let now_ms = i64::try_from(time::unix_millis_now()).unwrap();
    let first_ms = now_ms / 3_600_000 * 3_600_000 - 3_600_000;
    let reading = |sequence: i64, at_ms: i64, value: f64| json!({"device": "d-1", "sequence": sequence, "at_ms": at_ms, "value": value});
    let batch = json!({"readings": [reading(2, first_ms + 1, 3.5), reading(1, first_ms, 2.5), reading(3, 0, 1.0)]});
    let batch = batch.to_string();
    let refused = json!([{"device": "d-1", "sequence": 3, "reason": "too_old"}]);
    assert_eq!(data.post(&batch).await, (200, json!({"stored": 2, "duplicates": 0, "refused": refused})));
    assert_eq!(data.post(&batch).await, (200, json!({"stored": 0, "duplicates": 2, "refused": refused})));
    let (status, series) = data.get(&format!("/series/d-1?from={first_ms}&to={now_ms}&step=1h")).await;
    let rolled = json!({"at_ms": first_ms, "count": 2, "mean": 3.0, "min": 2.5, "max": 3.5});
    assert_eq!((status, series), (200, json!({"device": "d-1", "points": [rolled]})));
    let (_, series) = data.get(&format!("/series/d-1?from={}&to={now_ms}", first_ms + 1)).await;
    assert_eq!(series["points"], json!([{"at_ms": first_ms + 1, "sequence": 2, "value": 3.5}]));
    let (_, series) = data.get("/series/d-9?from=0&to=1&step=1m").await;
    assert_eq!(series["points"], json!([]));
}

async fn what_makes_no_sense_is_refused_as_the_document_says<DB: Db>(fixture: Fixture<DB>) {
    let data = Data::start(&fixture).await;
    let reading = json!({"device": "d-1", "sequence": 1, "at_ms": 0, "value": 1});
    for (body, status) in [
        (json!({"readings": []}), 422),
        (json!({"readings": vec![&reading; BATCH_MAX + 1]}), 422),
        (json!({"readings": [{"device": "d-1"}]}), 422),
        (json!({"readings": [], "more": 1}), 422),
        (json!({"readings": ["x".repeat(1 << 20)]}), 413),
    ] {
        assert_eq!(data.post(&body.to_string()).await.0, status, "{body:.80}");
    }
    assert_eq!(data.post("{").await.0, 400);
    for (path, status) in [
        ("/series/d-1", 400),
        ("/series/d-1?from=0&to=1&step=5m", 400),
        ("/series/d.1?from=0&to=1", 422),
        ("/series/d-1?from=1&to=1", 422),
        ("/series/d-1?from=-9223372036854775808&to=1&step=1m", 422),
    ] {
        assert_eq!(data.get(path).await.0, status, "{path}");
    }
}
