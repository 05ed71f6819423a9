//! Messages: what is published is processed, in one trace; what cannot be is tried again, or dead; requests that are
//! handed over are carried out.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use bowline::{
    HandlerError, Microservice, SpanKind, current,
    messages::{Error, Failure, Incoming, port},
};
use bowline_messaging::{Embedded, MessageBus, TopicSettings, Which, delivery::Position};
use bowline_runtime::metric;
use bowline_testkit::{Answer, HttpServer, TempDir};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    api::Api,
    support::{Place, Running, instance, until},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) id: String,
}

pub(crate) fn placed(id: &str) -> Placed {
    Placed { id: id.to_owned() }
}

/// A bus with these topics.
pub(crate) async fn bus(topics: &[&str]) -> (TempDir, Arc<dyn MessageBus>) {
    let dir = bowline_testkit::temp_dir();
    let bus = Embedded::open(port::Settings::new(dir.path(), metric::Registry::default())).await.unwrap();
    for topic in topics {
        bus.declare(topic, TopicSettings::default()).await.unwrap();
    }
    (dir, Arc::new(bus))
}

pub(crate) fn service(name: &'static str, api: &Api, bus: &Arc<dyn MessageBus>) -> (Place, Microservice) {
    let place = Place::new(name).beside(api.addr);
    let service = place.service().with_bus(bus.clone());
    (place, service)
}

/// How many messages the group has not processed.
pub(crate) async fn lag(bus: &Arc<dyn MessageBus>) -> u64 {
    let topics = bus.topics().await.unwrap();
    topics.iter().flat_map(|topic| &topic.groups).map(|group| group.lag).sum()
}

#[tokio::test]
async fn a_message_is_processed_in_the_trace_in_which_it_was_published() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed"]).await;
    let (_order, publisher) = service("order", &api, &bus);
    let (_notify, mut consumer) = service("notify", &api, &bus);
    let (tell, mut told) = mpsc::channel(64);
    consumer.consumer("order.placed").each(move |incoming: Incoming<Placed>| {
        let tell = tell.clone();
        async move {
            tell.try_send((incoming.value, incoming.attempt, current::context())).unwrap();
            Ok(())
        }
    });
    let consumer = Running::start(consumer, Router::new()).await;
    let message = publisher.topic("order.placed").message(&placed("o-1")).key("o-1").id("placed/o-1");
    assert!(!message.publish().await.unwrap().is_duplicate);
    let (value, attempt, context) = told.recv().await.unwrap();
    assert_eq!((value, attempt), (placed("o-1"), 1));
    let published = api.span("publish order.placed").await;
    let processed = api.span("process order.placed").await;
    assert_eq!((published.kind, processed.kind), (SpanKind::Producer, SpanKind::Consumer));
    assert_eq!((processed.trace_id, processed.parent_span_id), (published.trace_id, Some(published.span_id)));
    assert_eq!(context.unwrap().span_id, processed.span_id);
    let attribute = |key| processed.attribute(key).map(ToString::to_string).unwrap_or_default();
    assert_eq!(attribute("messaging.destination.name"), "order.placed");
    assert_eq!(attribute("messaging.consumer.group.name"), "notify");
    assert_eq!(attribute("messaging.message.id"), "placed/o-1");
    // The same again is not there twice.
    let again = publisher.topic("order.placed").message(&placed("o-1")).id("placed/o-1").publish().await.unwrap();
    assert!(again.is_duplicate);
    until(async || lag(&bus).await == 0).await;
    consumer.stop().await;
}

#[tokio::test]
async fn what_fails_is_tried_again_and_what_cannot_be_read_is_dead_with_its_trace() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed"]).await;
    let (_order, publisher) = service("order", &api, &bus);
    let (_notify, mut consumer) = service("notify", &api, &bus);
    let (tell, mut told) = mpsc::channel(64);
    let short = Duration::from_millis(1);
    consumer.consumer("order.placed").attempts_max(3).backoff(short, short).each(move |incoming: Incoming<Placed>| {
        let tell = tell.clone();
        async move {
            tell.try_send((incoming.value.id.clone(), incoming.attempt)).unwrap();
            assert_ne!(incoming.value.id, "panics");
            match (&*incoming.value.id, incoming.attempt) {
                ("twice", 1) => Err(HandlerError::new(bowline::Code::Unavailable, "busy").into()),
                ("never", _) => Err(Failure::dead("no such customer")),
                _ => Ok(()),
            }
        }
    });
    let consumer = Running::start(consumer, Router::new()).await;
    let topic = publisher.topic("order.placed");
    for id in ["twice", "never", "panics"] {
        topic.message(&placed(id)).publish().await.unwrap();
    }
    topic.message(&json!({"poison": true})).publish().await.unwrap();
    until(async || lag(&bus).await == 0).await;
    let mut seen = Vec::new();
    while let Ok(one) = told.try_recv() {
        seen.push(one);
    }
    seen.sort();
    let expect = [("never", 1), ("panics", 1), ("panics", 2), ("panics", 3), ("twice", 1), ("twice", 2)];
    assert_eq!(seen.iter().map(|(id, attempt)| (&**id, *attempt)).collect::<Vec<_>>(), expect);
    until(async || bus.topics().await.unwrap()[0].dead == 3).await;
    let mut letters = bus.dead("order.placed", Position::default(), 10).await.unwrap();
    letters.sort_by(|one, other| one.failure.cmp(&other.failure));
    let failures: Vec<_> = letters.iter().map(|letter| &*letter.failure).collect();
    let unread = "the payload is not what is read here: line 1, column 15";
    assert_eq!(failures, ["no such customer", "the consumer panicked", unread]);
    for letter in &letters {
        assert!(letter.message.headers.iter().any(|(name, _)| name == "traceparent"), "{letter:?}");
    }
    // After a fix, what was dead is processed.
    assert_eq!(bus.redrive("order.placed", Which::At(letters[1].position)).await.unwrap(), 1);
    let (value, _) = told.recv().await.unwrap();
    assert_eq!(value, "panics");
    consumer.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_what_is_worked_on() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed"]).await;
    let (_order, publisher) = service("order", &api, &bus);
    let (_notify, mut consumer) = service("notify", &api, &bus);
    let (tell, mut told) = mpsc::channel(64);
    let go_on = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = go_on.clone();
    consumer.consumer("order.placed").each(move |_: Incoming<Placed>| {
        let (tell, gate) = (tell.clone(), gate.clone());
        async move {
            tell.try_send(()).unwrap();
            gate.acquire().await.unwrap().forget();
            Ok(())
        }
    });
    let consumer = Running::start(consumer, Router::new()).await;
    publisher.topic("order.placed").message(&placed("o-1")).publish().await.unwrap();
    told.recv().await.unwrap();
    let stopping = consumer.begin_stop();
    publisher.topic("order.placed").message(&placed("o-2")).publish().await.unwrap();
    go_on.add_permits(1);
    stopping.await.unwrap().unwrap();
    // The first is done, the second nobody has begun.
    assert_eq!(lag(&bus).await, 1);
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_request_that_was_handed_over_is_carried_out_until_it_is_answered() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["calls.order.mail"]).await;
    let count = Mutex::new(0);
    let server = HttpServer::start(move |request| {
        if request.path == "/refused" {
            return Answer::Status(422, "{}".to_owned());
        }
        let mut count = count.lock().unwrap();
        *count += 1;
        Answer::Status(if *count == 1 { 503 } else { 200 }, "{}".to_owned())
    });
    api.register(instance("mail-1", server.addr()));
    let place = Place::new("order")
        .beside(api.addr)
        .with("BOWLINE_CALLS", r#"{"mail":{"timeout":"5s"}}"#)
        .with("BOWLINE_ASYNC_CALLS", "mail");
    let service = place.service().with_bus(bus.clone());
    let mail = service.client("mail");
    let sent = mail.send(mail.post("/letters?x=1").body(&json!({"to": "ada"}))).await.unwrap();
    mail.send(mail.post("/refused").idempotency_key("k1")).await.unwrap();
    let other = service.client("user");
    assert!(matches!(other.send(other.post("/x")).await, Err(Error::NotAsync { .. })));
    let running = Running::start(service, Router::new()).await;
    until(async || lag(&bus).await == 0).await;
    let requests = server.requests();
    let letters: Vec<_> = requests.iter().filter(|request| request.path == "/letters?x=1").collect();
    assert_eq!(letters.len(), 2, "{requests:?}");
    for letter in letters {
        assert_eq!((&*letter.method, &letter.body[..]), ("POST", &br#"{"to":"ada"}"#[..]));
        assert_eq!((&*letter.headers["idempotency-key"], &*letter.headers["host"]), (&*sent.id, "mail"));
        assert_eq!(letter.headers["content-type"], "application/json");
    }
    until(async || bus.topics().await.unwrap()[0].dead == 1).await;
    let letter = bus.dead("calls.order.mail", Position::default(), 10).await.unwrap().remove(0);
    assert_eq!((&*letter.failure, letter.attempts), ("mail answered 422 Unprocessable Entity", 1));
    let handed_over = api.span("send mail").await;
    let made = api.span("POST mail").await;
    assert_eq!(handed_over.kind, SpanKind::Producer);
    let of = |span: &bowline_telemetry::SpanData| (span.trace_id, span.parent_span_id);
    let parents: Vec<_> = api
        .spans()
        .iter()
        .filter(|span| &*span.name == "send mail")
        .map(|span| (span.trace_id, Some(span.span_id)))
        .collect();
    assert!(parents.contains(&of(&made)), "{made:?}");
    running.stop().await;
}

#[tokio::test]
async fn without_a_server_nothing_is_published_and_that_is_said() {
    let service = Place::new("order").with("BOWLINE_ASYNC_CALLS", "mail").service();
    let error = service.topic("order.placed").message(&placed("o-1")).publish().await.unwrap_err();
    assert!(matches!(error, Error::NoBus { .. }) && error.to_string().contains("BOWLINE_API"), "{error}");
    let mail = service.client("mail");
    assert!(matches!(mail.send(mail.post("/x")).await, Err(Error::NoBus { .. })));
}
