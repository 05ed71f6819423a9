//! Events that are followed across answers: what ends them, and what does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bowline::{
    client,
    stream::{self, Event, StreamExt as _},
};
use bowline_runtime::time;
use tokio::sync::mpsc;

use crate::{
    api::Api,
    streams::{POLICY, called},
    support::{BOUND, Place, Running, ask, instance},
};

/// An answer of events that is written out.
fn events(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], text).into_response()
}

/// An answer for each time that it is asked for; 204 when there are no more.
fn in_turn(answers: &[fn() -> Response]) -> (Arc<AtomicUsize>, impl Fn() -> Response + Clone + Send + Sync + 'static) {
    let (asked, answers) = (Arc::new(AtomicUsize::new(0)), answers.to_vec());
    let count = asked.clone();
    let none = || StatusCode::NO_CONTENT.into_response();
    (asked, move || answers.get(count.fetch_add(1, Relaxed)).map_or_else(none, |answer| answer()))
}

#[tokio::test]
async fn events_go_on_after_the_last_one_when_an_answer_ends() {
    let (tell, mut told) = mpsc::channel(16);
    let (_api, running, caller) = called(move |headers| {
        let last = headers.get("last-event-id").map(|id| id.to_str().unwrap().parse::<u32>().unwrap());
        tell.try_send((last, headers["accept"].to_str().unwrap().to_owned())).unwrap();
        let next = last.map_or(0, |last| last + 1);
        if next >= 7 {
            return StatusCode::NO_CONTENT.into_response();
        }
        let event = |number: u32| Event::json(&number).unwrap().id(number.to_string()).name("number");
        stream::sse(stream::iter(next..next + 3).map(event))
    })
    .await;
    let events: Vec<Event> = caller.client.get("/it").events().map(Result::unwrap).collect().await;
    assert_eq!(
        events.iter().map(|event| event.parse::<u32>().unwrap()).collect::<Vec<_>>(),
        (0..9).collect::<Vec<_>>()
    );
    assert!(events.iter().all(|event| event.name.as_deref() == Some("number")));
    let mut asked = Vec::new();
    while let Ok((last, accept)) = told.try_recv() {
        assert_eq!(accept, "text/event-stream");
        asked.push(last);
    }
    assert_eq!(asked, [None, Some(2), Some(5), Some(8)]);
    running.stop().await;
}

#[tokio::test]
async fn events_go_on_whatever_passes() {
    let nothing = || events("");
    let (_, answer) = in_turn(&[
        nothing,
        nothing,
        || StatusCode::BAD_GATEWAY.into_response(),
        || events("id: 7\nretry: 1\n\n"),
        || events("data: last\n\n"),
    ]);
    let (tell, mut told) = mpsc::channel(16);
    let (_api, running, caller) = called(move |headers| {
        tell.try_send(headers.get("last-event-id").is_some_and(|id| id == "7")).unwrap();
        answer()
    })
    .await;
    let all: Vec<Event> = caller.client.get("/it").events().map(Result::unwrap).collect().await;
    assert_eq!(all.into_iter().map(|event| event.data).collect::<Vec<_>>(), ["last"]);
    // What is said of where to go on holds without an event, too.
    let mut asked = Vec::new();
    told.close();
    while let Some(is_after) = told.recv().await {
        asked.push(is_after);
    }
    assert_eq!(asked, [false, false, false, false, true, true]);
    running.stop().await;
}

#[tokio::test]
async fn events_go_on_when_the_only_instance_is_back() {
    let (api, running, caller) = called(|_| events("data: before\n\n")).await;
    let mut all = caller.client.get("/it").events();
    assert_eq!(all.next().await.unwrap().unwrap().data, "before");
    running.stop().await;
    // By far more than the attempts of the policy take.
    let away = time::timeout(Duration::from_millis(400), async { while all.next().await.unwrap().is_ok() {} }).await;
    assert!(away.is_err(), "{away:?}");
    let running = Running::alone(Router::new().route("/it", get(|| async { events("data: after\n\n") }))).await;
    api.register(instance("callee-2", running.addr));
    let next = time::timeout(BOUND, async {
        loop {
            let event = all.next().await.unwrap().unwrap();
            if event.data == "after" {
                return event;
            }
        }
    });
    next.await.unwrap();
    drop(running);
}

#[tokio::test]
async fn events_end_where_there_is_nothing_to_hope_for() {
    let (_, answer) = in_turn(&[|| StatusCode::FORBIDDEN.into_response(), || "data: a\n\n".into_response()]);
    let (_api, running, caller) = called(move |_| answer()).await;
    let mut all = caller.client.get("/it").events();
    let Some(Err(client::Error::Status { status, .. })) = all.next().await else { panic!("it is refused") };
    assert_eq!(status, 403);
    // And once and for all.
    assert!(all.next().await.is_none());
    assert!(all.next().await.is_none());
    // What are no events are not read as such.
    let all: Vec<_> = caller.client.get("/it").events().collect().await;
    assert!(matches!(&all[..], [Err(client::Error::Answer { .. })]), "{all:?}");
    running.stop().await;
}

#[tokio::test]
async fn what_may_not_be_sent_twice_is_asked_for_once() {
    let (asked, answer) = in_turn(&[|| events("data: a\n\n"), || events("data: b\n\n"), || events("data: c\n\n")]);
    let (_api, running, caller) = called(move |_| answer()).await;
    let read = async |call: client::Call| call.events().map(|event| event.unwrap().data).collect::<Vec<_>>().await;
    assert_eq!((read(caller.client.post("/it")).await, asked.load(Relaxed)), (vec!["a".to_owned()], 1));
    let named = read(caller.client.post("/it").idempotency_key("k")).await;
    assert_eq!((named, asked.load(Relaxed)), (vec!["b".to_owned(), "c".to_owned()], 4));
    running.stop().await;
}

#[tokio::test]
async fn events_end_with_the_request_that_they_are_read_for() {
    let (api, calls) = (Api::start().await, format!(r#"{{"callee":{POLICY}}}"#));
    let place = Place::new("caller").beside(api.addr).with("BOWLINE_CALLS", &calls);
    let service = place.service();
    let client = service.client("callee");
    let app = async move || match client.get("/it").events().next().await {
        Some(Err(error)) => error.code().to_string(),
        other => format!("{other:?}"),
    };
    let running = Running::start(service, Router::new().route("/it", get(app))).await;
    let limit = [("x-bowline-timeout-ms", "300")];
    let answer = time::timeout(BOUND, ask(running.addr, "GET", "/it", &limit, "")).await.unwrap();
    assert!(["unavailable", "deadline_exceeded"].contains(&answer.text()), "{answer:?}");

    // Also while the service has them wait for longer than the request has.
    let waits = Router::new().route("/it", get(async || events("retry: 60000\n\n")));
    let callee = Running::alone(waits).await;
    api.register(instance("callee-1", callee.addr));
    let answer = time::timeout(BOUND, ask(running.addr, "GET", "/it", &limit, "")).await.unwrap();
    assert!(["unavailable", "deadline_exceeded"].contains(&answer.text()), "{answer:?}");
    callee.stop().await;
    running.stop().await;
}
