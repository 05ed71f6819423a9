//! All that a process asks and watches over one HTTP/2 connection, and over the two that it has.

use bowline_config::{Author, ConfigManager, Document, Draft, Format};
use bowline_messaging::{MessageBus as _, NewMessage, TopicSettings};
use bowline_model::ConfigKey;
use bowline_provider_remote::{RemoteConfig, RemoteMessages, RemoteRegistry};
use bowline_registry::{InstanceChange, Query, Registry as _};
use bowline_runtime::time::timeout;
use bowline_transport::{Body, HttpClient};
use http::Request;
use serde_json::json;

use crate::support::{BOUND, Fixture, instance};

/// More than a stream takes unread.
const MESSAGES: usize = 40;

#[tokio::test]
async fn a_subscription_that_nobody_reads_holds_up_nothing_else() {
    let fixture = Fixture::start().await;
    let bus = fixture.node.messages();
    bus.declare("t", TopicSettings::default()).await.unwrap();
    // Everything over one connection: worse than what a process does.
    let client = HttpClient::multiplexed(fixture.addr);
    let subscribe = |number: usize| {
        let body = json!({ "credit": MESSAGES }).to_string();
        let request = Request::post(format!("/v1/topics/t/groups/g{number}/subscribe"));
        client.stream(request.header("content-type", "application/json").body(Body::full(body)).unwrap())
    };
    let mut unread = Vec::new();
    for number in 0..20 {
        let answer = timeout(BOUND, subscribe(number)).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    let (registry, config) = (RemoteRegistry::over(client.clone()), RemoteConfig::over(client.clone()));
    let messages = RemoteMessages::over(client.clone());
    let mut watch = registry.watch(&Query::default(), 0).await.unwrap();
    for round in 0..MESSAGES {
        let message = NewMessage { payload: vec![b'x'; 32 * 1024].into(), ..NewMessage::default() };
        timeout(BOUND, messages.publish("t", message)).await.unwrap().unwrap();
        let instance = instance(&format!("order-{round}"));
        timeout(BOUND, registry.register(instance.clone(), None)).await.unwrap().unwrap();
        let told = timeout(BOUND, watch.next()).await.unwrap().unwrap();
        assert!(matches!(told.change, InstanceChange::Put(told) if told.id == instance.id));
        let answers = timeout(BOUND, registry.heartbeat(&[instance.id])).await.unwrap().unwrap();
        assert!(answers[0].known);
    }
    let key = ConfigKey::new("shop/order").unwrap();
    let mut document = config.watch_config(&key).await.unwrap();
    assert!(timeout(BOUND, document.next()).await.unwrap().unwrap().is_none());
    let draft = Draft::new(Document::new(Format::Json, "{}"), Author::anonymous());
    config.set_config(&key, draft).await.unwrap();
    assert!(timeout(BOUND, document.next()).await.unwrap().unwrap().is_some());
    drop(unread);
}
