//! Lines that services wrote: asked of whoever runs them, within bounds.

use std::sync::{Arc, Mutex};

use bowline_provider_remote::wire::{LogLine, LogList, LogStream, LogsQuery};
use bowline_server::{Declared, LogSource, LogsAsked, Settings};
use serde_json::json;

use crate::support::{Fixture, id, service, settings, start};

async fn fixture() -> Fixture {
    let dir = bowline_testkit::temp_dir();
    let declared = Declared { services: vec![service("order")], ..Declared::default() };
    let settings = Settings { declared, ..settings(&dir, Some(([127, 0, 0, 1], 0).into())) };
    let node = start(settings).await.unwrap();
    Fixture::of(dir, node)
}

#[tokio::test]
async fn who_runs_no_services_says_whom_to_ask() {
    let nobody = Fixture::start().await;
    let detail = nobody.get("/v1/logs/order").await.problem(400, "failed_precondition");
    assert!(detail.contains("bowline up"), "{detail}");
    let starting = fixture().await;
    let detail = starting.get("/v1/logs/order").await.problem(503, "unavailable");
    assert!(detail.contains("try again") && detail.contains("bowline up"), "{detail}");
}

#[tokio::test]
async fn lines_are_told_as_they_are_asked_for() {
    let fixture = fixture().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    fixture.node.set_logs(LogSource::new(move |asked: LogsAsked| {
        seen.lock().unwrap().push(asked);
        let text = "ill".to_owned();
        let line = LogLine { at_unix_ms: 7, instance: id("order-1"), stream: LogStream::Stderr, text };
        LogList { lines: vec![line], next: 9, more: true, is_cut: false }
    }));
    let answer = fixture.get("/v1/logs/order").await.json();
    let line = json!({"at_unix_ms": 7, "instance": "order-1", "stream": "stderr", "text": "ill"});
    assert_eq!(answer, json!({"lines": [line], "next": 9, "more": true}));
    let query = LogsQuery { instance: Some("order-1".to_owned()), after: Some(9), limit: Some(2000) };
    assert_eq!(fixture.client().logs("order", &query).await.unwrap().lines[0].text, "ill");
    let of = |instance, after, limit| LogsAsked { service: service("order"), instance, after, limit };
    assert_eq!(*asked.lock().unwrap(), [of(None, None, 200), of(Some(id("order-1")), Some(9), 2000)]);

    fixture.get("/v1/logs/payment").await.problem(404, "not_found");
    for query in ["?limit=0", "?limit=2001", "?limit=x", "?instance=%20", "?after=-1", "?tail=1"] {
        fixture.get(&format!("/v1/logs/order{query}")).await.problem(400, "invalid_argument");
    }
    fixture.get("/v1/logs/O%20").await.problem(400, "invalid_argument");
    assert_eq!(asked.lock().unwrap().len(), 2);
}
