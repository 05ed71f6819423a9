//! Messages: the port over HTTP, and what stands in requests and answers.

use std::{sync::Arc, time::Duration};

use bowline_messaging::{
    Delivery, Error, GroupSettings, MessageBus, NewMessage, Subscription, Then, TopicSettings, conformance,
};
use bowline_provider_remote::{RemoteMessages, wire::AuditClass};
use bowline_runtime::time::{self, timeout};
use bowline_testkit::TempDir;
use serde_json::{Value, json};

use crate::support::{Answer, BOUND, Fixture, settings, start};

const TOPIC: &str = "/v1/topics/order.placed";

impl Fixture {
    fn remote_messages(&self) -> RemoteMessages {
        RemoteMessages::new(self.addr)
    }

    async fn declare(&self) {
        self.node.messages().declare("order.placed", TopicSettings::default()).await.unwrap();
    }

    async fn post(&self, target: &str, body: &Value) -> Answer {
        self.ask("POST", target, body.to_string()).await
    }

    /// The same address again, over the same folder.
    async fn start_again(dir: TempDir, addr: std::net::SocketAddr) -> Self {
        let node = start(settings(&dir, Some(addr))).await.unwrap();
        Self::of(dir, node)
    }
}

fn message(text: &str) -> NewMessage {
    NewMessage { payload: text.to_owned().into(), ..NewMessage::default() }
}

async fn next(group: &mut Subscription) -> Delivery {
    timeout(BOUND, group.next()).await.expect("a message comes").unwrap()
}

#[tokio::test]
async fn the_messages_of_a_remote_node_pass_the_suite() {
    let fixture = Fixture::start().await;
    let remote: Arc<dyn MessageBus> = Arc::new(fixture.remote_messages());
    let mut running = Some(fixture);
    // The node of after the restart lives as long as the suite.
    let (keep, _kept) = tokio::sync::oneshot::channel();
    let mut keep = Some(keep);
    let reopen: conformance::Reopen = Box::new(move |old| {
        drop(old);
        let Fixture { dir, node, addr } = running.take().expect("it is opened again once");
        let keep = keep.take().expect("it is opened again once");
        Box::pin(async move {
            node.stop().await;
            let again = Fixture::start_again(dir, addr).await;
            let remote: Arc<dyn MessageBus> = Arc::new(again.remote_messages());
            keep.send(again).ok();
            remote
        })
    });
    conformance::all(remote, reopen).await;
}

#[tokio::test]
async fn a_consumer_outlives_its_server() {
    let fixture = Fixture::start().await;
    fixture.declare().await;
    let remote = fixture.remote_messages();
    let mut group = remote.subscribe("order.placed", "mail", GroupSettings::default(), 8).await.unwrap();
    for text in ["one", "two"] {
        remote.publish("order.placed", message(text)).await.unwrap();
    }
    let before = next(&mut group).await;
    let Fixture { dir, node, addr } = fixture;
    node.stop().await;
    let refused = remote.publish("order.placed", message("lost")).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }) && refused.retryable(), "{refused:?}");
    assert!(matches!(before.ack().await, Err(Error::Unavailable { .. })));
    // What had come and was not asked for yet is lost too. An abandoned wait loses nothing.
    assert!(timeout(Duration::from_millis(300), group.next()).await.is_err());
    let fixture = Fixture::start_again(dir, addr).await;
    let mut found = Vec::new();
    for _ in 0..2 {
        let again = next(&mut group).await;
        found.push((again.message.position, again.attempt));
        again.ack().await.unwrap();
    }
    // Which one waits longer is up to chance.
    found.sort_unstable();
    assert_eq!(found, [(1, 2), (2, 2)]);
    let lost = before.ack().await.unwrap_err();
    assert!(matches!(lost, Error::LeaseLost { position: 1 }), "{lost:?}");
    fixture.node.stop().await;
}

#[tokio::test]
async fn a_subscription_whose_group_is_removed_is_over() {
    let fixture = Fixture::start().await;
    fixture.declare().await;
    let remote = fixture.remote_messages();
    let mut group = remote.subscribe("order.placed", "mail", GroupSettings::default(), 8).await.unwrap();
    remote.remove_group("order.placed", "mail").await.unwrap();
    for _ in 0..2 {
        let over = timeout(BOUND, group.next()).await.expect("it ends").unwrap_err();
        assert!(matches!(over, Error::Closed), "{over:?}");
    }
    assert!(remote.topics().await.unwrap()[0].groups.is_empty(), "nobody joined again");
}

#[tokio::test]
async fn what_is_asked_at_once_is_answered_each() {
    let fixture = Fixture::start().await;
    fixture.declare().await;
    let remote = fixture.remote_messages();
    let mut tasks = bowline_runtime::task::JoinSet::new();
    for number in 0..500 {
        let remote = remote.clone();
        tasks.spawn(async move {
            let topic = if number % 50 == 7 { "missing" } else { "order.placed" };
            (number, remote.publish(topic, message(&number.to_string())).await)
        });
    }
    while let Some(published) = tasks.join_next().await {
        let (number, published) = published.unwrap();
        if number % 50 == 7 {
            assert!(matches!(published, Err(Error::NoTopic { topic }) if topic == "missing"));
            continue;
        }
        let read = remote.read("order.placed", published.unwrap().position, 1).await.unwrap();
        assert_eq!(read[0].payload, number.to_string());
    }
    let mut group = remote.subscribe("order.placed", "mail", GroupSettings::default(), 500).await.unwrap();
    let mut answers = bowline_runtime::task::JoinSet::new();
    for _ in 0..490 {
        let delivery = next(&mut group).await;
        answers.spawn(async move { delivery.ack().await });
    }
    while let Some(answer) = answers.join_next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(remote.topics().await.unwrap()[0].groups[0].lag, 0);
}

#[tokio::test]
async fn a_page_of_large_messages_is_read_in_pieces() {
    let fixture = Fixture::start().await;
    fixture.declare().await;
    let remote = fixture.remote_messages();
    for _ in 0..12 {
        let large = NewMessage { payload: vec![7; 1 << 20].into(), ..NewMessage::default() };
        remote.publish("order.placed", large).await.unwrap();
    }
    // What takes more in JSON than it seems does not make a request too large for the server.
    let headers = vec![("h".to_owned(), "\u{1}".repeat(16_000))];
    let odd = (0..200).map(|_| remote.publish("order.placed", NewMessage { headers: headers.clone(), ..message("") }));
    for published in futures_util::future::join_all(odd).await {
        published.unwrap();
    }
    let page = fixture.get(&format!("{TOPIC}/messages?limit=12")).await;
    assert!(page.body.len() < 10 << 20, "{}", page.body.len());
    assert_eq!(page.json()["more"], true);
    assert_eq!(remote.read("order.placed", 0, 1000).await.unwrap().len(), 212);
}

#[tokio::test]
async fn messages_are_published_and_worked_on_by_hand() {
    let fixture = Fixture::start().await;
    let detail = fixture.get(&format!("{TOPIC}/messages")).await.problem(404, "not_found");
    assert!(detail.contains("order.placed"), "{detail}");
    assert_eq!(fixture.ask("PUT", TOPIC, r#"{"keep": "2d"}"#).await.status, 204);
    let published = fixture.post(&format!("{TOPIC}/messages"), &json!({"text": "one", "key": "k"})).await;
    assert_eq!(published.json(), json!({"position": 1}));
    let batch = json!({"messages": [
        {"topic": "order.placed", "message": {"id": "two", "payload": "dHdv", "headers": [["a", "b"]]}},
        {"topic": "order.placed", "message": {"payload": "dHdv", "text": "two"}},
        {"topic": "other", "message": {}},
    ]});
    let answers = fixture.post("/v1/messages", &batch).await.json();
    assert_eq!(answers["answers"][0], json!({"kept": {"position": 2}}));
    assert_eq!(answers["answers"][1]["failed"]["code"], "invalid_argument");
    assert_eq!(answers["answers"][2]["failed"]["fault"], json!({"kind": "no_topic", "topic": "other"}));
    let read = fixture.get(&format!("{TOPIC}/messages?from=2")).await.json();
    let two = &read["messages"][0];
    assert_eq!((&two["id"], &two["payload"], &two["headers"]), (&"two".into(), &"dHdv".into(), &json!([["a", "b"]])));
    let odd = fixture.post(&format!("{TOPIC}/messages"), &json!({"payload": "%"})).await;
    assert!(odd.problem(422, "unprocessable").contains("base64"));

    let target = format!("{TOPIC}/groups/mail/subscribe");
    let mut lines = fixture.subscribe(&target, &json!({"credit": 2})).await;
    assert_eq!(lines.begin["type"], "joined");
    let answers = format!("/v1/subscriptions/{}/answers", lines.begin["session"].as_str().unwrap());
    let (one, two) = (lines.next().await.unwrap(), lines.next().await.unwrap());
    assert_eq!((&one["type"], &one["attempt"], &one["message"]["key"]), (&"delivery".into(), &1.into(), &"k".into()));
    assert!((1..=30_000).contains(&one["left_ms"].as_u64().unwrap()), "{one}");
    let said = json!({"answers": [
        {"type": "ack", "lease": one["lease"]},
        {"type": "nack", "lease": two["lease"], "failure": "no use", "then": "dead"},
        {"type": "ack", "lease": 99},
        {"type": "extend", "lease": one["lease"], "by": "1m"},
    ]});
    let outcomes = fixture.post(&answers, &said).await.json();
    let outcomes = outcomes["outcomes"].as_array().unwrap();
    assert_eq!(outcomes[..2], [Value::Null, Value::Null]);
    for lost in &outcomes[2..] {
        assert_eq!((&lost["code"], &lost["fault"]["kind"]), (&"conflict".into(), &"lease_lost".into()));
    }
    let topics = fixture.get("/v1/topics").await.json();
    assert_eq!((&topics["topics"][0]["dead"], &topics["topics"][0]["settings"]["keep"]), (&1.into(), &"2d".into()));
    assert_eq!(topics["topics"][0]["groups"][0]["consumers"], 1);
    drop(lines);
    let begin = time::now();
    while fixture.post(&answers, &said).await.status != 404 {
        assert!(begin.elapsed() < BOUND, "whoever closes the answer leaves");
    }
    let dead = fixture.get(&format!("{TOPIC}/dead")).await.json();
    assert_eq!((&dead["letters"][0]["failure"], &dead["letters"][0]["group"]), (&"no use".into(), &"mail".into()));
    let redriven = fixture.post(&format!("{TOPIC}/dead/redrive"), &json!({"which": {"at": 1}})).await;
    assert_eq!(redriven.json(), json!({"count": 1}));
    assert_eq!(fixture.post(&format!("{TOPIC}/dead/purge"), &json!({"which": "all"})).await.json()["count"], 0);
}

#[tokio::test]
async fn what_is_changed_of_messages_is_in_the_audit() {
    let fixture = Fixture::start().await;
    for _ in 0..2 {
        assert_eq!(fixture.ask("PUT", TOPIC, "{}").await.status, 204);
    }
    fixture.post(&format!("{TOPIC}/messages"), &json!({"text": "one"})).await;
    let remote = fixture.remote_messages();
    let mut group = remote.subscribe("order.placed", "mail", GroupSettings::default(), 1).await.unwrap();
    next(&mut group).await.nack("no use", Then::Dead).await.unwrap();
    fixture.post(&format!("{TOPIC}/dead/purge"), &json!({"which": "all"})).await;
    fixture.post(&format!("{TOPIC}/dead/purge"), &json!({"which": "all"})).await;
    fixture.post(&format!("{TOPIC}/groups/mail/seek"), &json!({"to": "first"})).await;
    fixture.post(&format!("{TOPIC}/groups/none/seek"), &json!({"to": "first"})).await.problem(404, "not_found");
    let audit = fixture.audit("?class=messages").await;
    let told: Vec<_> = audit.entries.iter().map(|entry| (entry.class, entry.changes[0].key.as_str())).collect();
    let expected = ["topics/order.placed/groups/mail", "topics/order.placed/dead", "topics/order.placed"];
    assert_eq!(told, expected.map(|key| (AuditClass::Messages, key)));
}

#[tokio::test]
async fn who_answers_nothing_is_told_of_no_more_than_its_credit() {
    let fixture = Fixture::start().await;
    fixture.declare().await;
    fixture.post(&format!("{TOPIC}/messages"), &json!({"text": "one"})).await;
    let joining = json!({"credit": 1, "lease": "100ms", "backoff": "0ms", "attempts_max": 100});
    let mut lines = fixture.subscribe(&format!("{TOPIC}/groups/mail/subscribe"), &joining).await;
    let one = lines.next().await.unwrap();
    assert_eq!(one["attempt"], 1);
    assert!(timeout(Duration::from_secs(1), lines.next()).await.is_err(), "it is not known whether it was read");
    let answers = format!("/v1/subscriptions/{}/answers", lines.begin["session"].as_str().unwrap());
    let said = json!({"answers": [{"type": "ack", "lease": one["lease"]}]});
    let lost = fixture.post(&answers, &said).await.json();
    assert_eq!(lost["outcomes"][0]["fault"]["kind"], "lease_lost");
    let again = timeout(BOUND, lines.next()).await.unwrap().unwrap();
    assert!((2..=4).contains(&again["attempt"].as_u64().unwrap()), "{again}");
}

#[tokio::test]
async fn payloads_are_for_editors() {
    let fixture = Fixture::start_everywhere().await;
    fixture.declare().await;
    let viewer = fixture.token("viewer", "viewer").await.token;
    let editor = fixture.token("editor", "editor").await.token;
    assert_eq!(fixture.ask_as(&viewer, "GET", "/v1/topics", "").await.status, 200);
    for target in [format!("{TOPIC}/messages"), format!("{TOPIC}/dead")] {
        fixture.ask_as(&viewer, "GET", &target, "").await.problem(403, "permission_denied");
        assert_eq!(fixture.ask_as(&editor, "GET", &target, "").await.status, 200);
    }
    let remote = fixture.remote_messages();
    let refused = remote.publish("order.placed", message("x")).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { .. }) && !refused.retryable(), "{refused:?}");
    assert_eq!(refused.code(), bowline_model::Code::Unauthenticated);
    let bearer = bowline_provider_remote::Bearer::new(&editor).unwrap();
    remote.with_bearer(bearer).publish("order.placed", message("x")).await.unwrap();
}
