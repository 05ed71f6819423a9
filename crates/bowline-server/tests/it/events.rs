//! What changes, as server-sent events: which kinds, and nothing that is missed by who listens.

use std::{collections::BTreeSet, time::Duration};

use bowline_model::Secret;
use bowline_runtime::{
    task,
    time::{self, timeout},
};
use bowline_transport::{Body, HttpClient, ResponseBody, SharedPool};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::support::{Answer, BOUND, Fixture, until};

/// How many streams are answered at once.
const STREAMS_MAX: usize = 64;

/// A stream of events.
struct Events {
    revision: u64,
    body: ResponseBody<SharedPool>,
    read: String,
}

impl Events {
    async fn try_open(fixture: &Fixture) -> Result<Self, Answer> {
        Self::try_open_as(fixture, None).await
    }

    async fn try_open_as(fixture: &Fixture, token: Option<&Secret>) -> Result<Self, Answer> {
        let mut request = Request::get("/v1/events");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = timeout(BOUND, HttpClient::new(fixture.addr).stream(request)).await.unwrap().unwrap();
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            let body = body.collect().await.unwrap().to_bytes();
            return Err(Answer { status: head.status.as_u16(), headers: head.headers, body });
        }
        assert_eq!(head.headers["content-type"], "text/event-stream");
        assert_eq!(head.headers["cache-control"], "no-store");
        let mut events = Self { revision: 0, body, read: String::new() };
        let (name, data) = events.next().await.unwrap();
        assert_eq!(name, "hello");
        events.revision = data["revision"].as_u64().unwrap();
        Ok(events)
    }

    async fn open(fixture: &Fixture) -> Self {
        Self::try_open(fixture).await.unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// The next event's name and data, a comment's without either; none at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.read.find("\n\n") {
                let text: String = self.read.drain(..end + 2).collect();
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let data = field("data").map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
                return Some((field("event").unwrap_or_default().to_owned(), data));
            }
            let frame = timeout(BOUND, self.body.frame()).await.expect("a stream has something to tell")?;
            let data = frame.unwrap().into_data().unwrap_or_default();
            self.read.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// Reads until all of these kinds have changed.
    async fn changed(&mut self, wanted: &[&str]) {
        let mut missing: BTreeSet<&str> = wanted.iter().copied().collect();
        while !missing.is_empty() {
            let (name, data) = self.next().await.expect("the stream goes on");
            for kind in data["kinds"].as_array().into_iter().flatten() {
                assert_eq!(name, "changed");
                missing.remove(kind.as_str().unwrap());
            }
        }
    }
}

fn span(attributes: &Value) -> String {
    let span = json!({
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "service": "order",
        "instance": "order-1", "name": "step", "kind": "internal", "start_unix_nanos": 1_700_000_000_000_000_000_u64,
        "duration_nanos": 5, "status": {"code": "ok"}, "attributes": attributes, "events": [],
    });
    json!({"spans": [span]}).to_string()
}

#[tokio::test]
async fn who_listens_is_told_what_kind_of_thing_changes() {
    let fixture = Fixture::start().await;
    let mut events = Events::open(&fixture).await;
    let revision = fixture.register("order-1").await;
    assert!(revision > events.revision);
    events.changed(&["services", "health"]).await;
    let document = json!({"format": "json", "text": "{}"}).to_string();
    assert_eq!(fixture.ask("PUT", "/v1/config/shop/order", document).await.status, 200);
    events.changed(&["config"]).await;
    let silence = json!({"matchers": ["service=\"order\""], "endsAt": "2100-01-01T00:00:00Z", "createdBy": "ada",
        "comment": "it is mended"});
    assert_eq!(fixture.ask("POST", "/v1/alerts/silences", silence.to_string()).await.status, 200);
    events.changed(&["alerts"]).await;
    assert_eq!(fixture.ask("POST", "/v1/spans", span(&json!({}))).await.status, 204);
    events.changed(&["traces"]).await;
    assert_eq!(fixture.ask("POST", "/v1/spans", span(&json!({"bowline.saga": "order"}))).await.status, 204);
    events.changed(&["traces", "sagas"]).await;
}

#[tokio::test]
async fn what_was_only_asked_is_no_event() {
    let fixture = Fixture::start().await;
    let mut events = Events::open(&fixture).await;
    let document = json!({"format": "json", "text": "{}"}).to_string();
    assert_eq!(fixture.ask("POST", "/v1/config/shop/order/check", document).await.status, 200);
    fixture.register("order-1").await;
    let mut kinds = Vec::new();
    while !kinds.contains(&json!("services")) {
        let (_, data) = events.next().await.expect("the stream goes on");
        kinds = data["kinds"].as_array().cloned().unwrap_or_default();
        assert!(!kinds.contains(&json!("config")), "{data}");
    }
}

#[tokio::test]
async fn what_is_not_in_the_store_is_looked_for() {
    let fixture = Fixture::start().await;
    let mut events = Events::open(&fixture).await;
    assert_eq!(fixture.ask("PUT", "/v1/topics/order.placed", "{}").await.status, 204);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3)).await;
    tokio::time::resume();
    events.changed(&["messages"]).await;
}

#[tokio::test]
async fn streams_are_bounded_and_one_that_is_closed_makes_place() {
    let fixture = Fixture::start().await;
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        open.push(Events::open(&fixture).await);
    }
    let refused = Events::try_open(&fixture).await.err().unwrap();
    let detail = refused.problem(503, "unavailable");
    assert!(detail.contains("64") && detail.contains("close one"), "{detail}");
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    open.pop();
    until(async || Events::try_open(&fixture).await.is_ok()).await;
    fixture.register("order-1").await;
    for events in &mut open {
        events.changed(&["services"]).await;
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_ends_its_streams() {
    let fixture = Fixture::start().await;
    let token = fixture.token("ann", "viewer").await;
    let mut events = Events::try_open_as(&fixture, Some(&token.token)).await.ok().unwrap();
    fixture.register("order-1").await;
    events.changed(&["services"]).await;
    let revoke = format!("/v1/tokens/{}", token.about.id);
    assert_eq!(fixture.ask_as(&fixture.root(), "DELETE", &revoke, "").await.status, 204);
    fixture.register("order-2").await;
    while events.next().await.is_some() {}
}

#[tokio::test]
async fn a_drain_ends_streams() {
    let fixture = Fixture::start().await;
    let mut events = Events::open(&fixture).await;
    let stopped = task::spawn(fixture.node.stop());
    while events.next().await.is_some() {}
    time::timeout(BOUND, stopped).await.expect("an open stream does not hold up the end").unwrap();
}
