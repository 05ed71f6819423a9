//! Streams from end to end: topics and answers hold back who makes them, and end when the service stops.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::HeaderMap, response::IntoResponse, routing::any};
use bowline::{
    Code, current,
    messages::Failure,
    policy::RetryPolicy,
    stream::{self, Event, Flow as _, Publish as _, Receipts, Stream, StreamExt as _, TryStreamExt as _, Windows},
};
use bowline_messaging::{MessageBus, Start, delivery::Position};
use bowline_runtime::{net, task, time};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, oneshot},
};

use crate::{
    api::Api,
    messages::{Placed, bus, lag, placed, service},
    support::{BOUND, Caller, Place, Running, ask, instance, until},
};

/// Retries that do not wait long.
pub(crate) const POLICY: &str = r#"{"timeout":"10s","retry":{"attempts_max":3,"backoff":"1ms..2ms","budget":"100%"}}"#;

/// How many messages of the group are with its consumers.
async fn leased(bus: &Arc<dyn MessageBus>) -> usize {
    bus.topics().await.unwrap().iter().flat_map(|topic| &topic.groups).map(|group| group.leased).sum()
}

/// How many messages the service there has lost to others while it had them.
async fn lost(addr: SocketAddr) -> usize {
    let metrics = ask(addr, "GET", "/metrics", &[], "").await;
    let counts = |line: &&str| line.starts_with("bowline_message_duration_seconds_count") && line.contains("\"lost\"");
    let line = metrics.text().lines().find(counts);
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_default()
}

/// An application at `/it` as the only instance, and a caller.
pub(crate) async fn called<F, R>(answer: F) -> (Api, Running, Caller)
where
    F: Fn(HeaderMap) -> R + Clone + Send + Sync + 'static,
    R: IntoResponse + 'static,
{
    let app = Router::new().route("/it", any(async move |headers: HeaderMap| answer(headers)));
    let (api, running) = (Api::start().await, Running::alone(app).await);
    api.register(instance("callee-1", running.addr));
    let caller = Caller::new(&api, POLICY);
    (api, running, caller)
}

/// Values without end, 1 KiB each, and how many of them were made.
fn endless() -> (impl Stream<Item = String> + Send, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let values = stream::iter(0_u64..).map(move |number| {
        count.fetch_add(1, Relaxed);
        format!("{number:01024}")
    });
    (values, made)
}

/// Waits until nothing more is made; how many there were.
async fn stalled(made: &AtomicUsize) -> usize {
    let before = AtomicUsize::new(0);
    until(async || {
        // tidy: sleep: that nothing is made any more can only be seen by waiting.
        time::sleep(Duration::from_millis(200)).await;
        let now = made.load(Relaxed);
        now > 0 && before.swap(now, Relaxed) == now
    })
    .await;
    made.load(Relaxed)
}

#[tokio::test]
async fn no_more_is_unanswered_than_the_credit_and_what_is_let_go_of_comes_again() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed"]).await;
    let (_order, publisher) = service("order", &api, &bus);
    let (_notify, mut consumer) = service("notify", &api, &bus);
    let short = Duration::from_millis(1);
    let mut source = consumer.consumer("order.placed").at_a_time(4).backoff(short, short).stream::<Placed>();
    let running = Running::start(consumer, Router::new()).await;
    let topic = publisher.topic("order.placed");
    for number in 0..10 {
        topic.message(&placed(&number.to_string())).publish().await.unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(source.next().await.unwrap());
    }
    assert_eq!(leased(&bus).await, 4);
    let more = time::timeout(Duration::from_millis(100), source.next()).await;
    assert!(more.is_err(), "{more:?}");
    // One is let go of: it comes again. One is dead, the others are done.
    let let_go = held.remove(0).value;
    held.remove(0).fail(Failure::dead("no such customer"));
    held.into_iter().for_each(stream::Delivered::ack);
    let mut again = 0;
    while again == 0 || lag(&bus).await > 0 {
        let Ok(next) = time::timeout(Duration::from_millis(100), source.next()).await else { continue };
        let next = next.unwrap();
        if next.value == let_go {
            assert_eq!(next.attempt, 2);
            again += 1;
        }
        next.ack();
    }
    assert_eq!((again, bus.topics().await.unwrap()[0].dead), (1, 1));
    let ended = running.begin_stop();
    assert!(source.next().await.is_none());
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn where_nobody_reads_any_more_no_message_is_taken_and_none_is_dead() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed"]).await;
    let (_order, publisher) = service("order", &api, &bus);
    let (_notify, mut consumer) = service("notify", &api, &bus);
    let short = Duration::from_millis(1);
    let mut source = consumer.consumer("order.placed").at_a_time(4).backoff(short, short).stream::<Placed>();
    let running = Running::start(consumer, Router::new()).await;
    let topic = publisher.topic("order.placed");
    topic.message(&placed("first")).publish().await.unwrap();
    let first = source.next().await.unwrap();
    drop(source);
    for number in 0..20 {
        topic.message(&placed(&number.to_string())).publish().await.unwrap();
    }
    // What was given can still be answered; then it leaves.
    first.ack();
    until(async || bus.topics().await.unwrap()[0].groups[0].consumers == 0).await;
    assert_eq!((lag(&bus).await, bus.topics().await.unwrap()[0].dead), (20, 0));
    running.stop().await;
}

#[tokio::test]
async fn what_was_taken_away_meanwhile_is_not_given() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed"]).await;
    let (_order, publisher) = service("order", &api, &bus);
    let (_notify, mut consumer) = service("notify", &api, &bus);
    let mut source = consumer.consumer("order.placed").at_a_time(4).stream::<Placed>();
    let running = Running::start(consumer, Router::new()).await;
    for number in 0..4 {
        publisher.topic("order.placed").message(&placed(&number.to_string())).publish().await.unwrap();
    }
    until(async || leased(&bus).await == 4).await;
    bus.seek("order.placed", "notify", Start::First).await.unwrap();
    // The consumer hears of it when it asks for more time, after a third of the lease.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    until(async || lost(running.addr).await == 4 && leased(&bus).await == 4).await;
    for _ in 0..4 {
        source.next().await.unwrap().ack();
    }
    until(async || lag(&bus).await == 0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_stream_of_no_message_or_of_too_many_is_refused() {
    for count in [0, 10_000] {
        let mut service = Place::new("notify").service();
        let refused = std::panic::AssertUnwindSafe(|| drop(service.consumer("order.placed").at_a_time(count)));
        let panic = std::panic::catch_unwind(refused).unwrap_err();
        let says = format!("at_a_time of `order.placed` is 1 to 4096, not {count}");
        assert_eq!(panic.downcast_ref::<String>(), Some(&says));
    }
}

#[tokio::test]
async fn what_is_relayed_is_answered_when_it_is_published_in_one_trace_and_in_the_order_of_keys() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed", "order.accepted"]).await;
    let (_order, publisher) = service("order", &api, &bus);
    let (_accept, mut relay) = service("accept", &api, &bus);
    let (accepted, source) = (relay.topic("order.accepted"), relay.consumer("order.placed").stream::<Placed>());
    let mut relayed = Box::pin(source.publish_each(move |order| {
        let (order, receipt) = order.split();
        let key = order.id[..1].to_owned();
        (accepted.message(&order).id(format!("accepted/{}", order.id)).key(key), receipt)
    }));
    let running = Running::start(relay, Router::new()).await;
    let mut expect = Vec::new();
    for number in 0..30 {
        let id = format!("{}-{number:02}", ["a", "b", "c"][number % 3]);
        publisher.topic("order.placed").message(&placed(&id)).key(&id[..1]).publish().await.unwrap();
        expect.push(id);
    }
    for _ in 0..30 {
        assert!(!relayed.next().await.unwrap().unwrap().is_duplicate);
    }
    until(async || lag(&bus).await == 0).await;
    let read = bus.read("order.accepted", Position::default(), 100).await.unwrap();
    let mut read: Vec<Placed> = read.iter().map(|it| serde_json::from_slice(&it.payload).unwrap()).collect();
    // One key after the other, in the order of each.
    read.sort_by_key(|order| order.id.as_bytes()[0]);
    expect.sort();
    assert_eq!(read.into_iter().map(|order| order.id).collect::<Vec<_>>(), expect);
    let (processed, published) = (api.span("process order.placed").await, api.span("publish order.accepted").await);
    assert_eq!(published.trace_id, processed.trace_id);
    let ended = running.begin_stop();
    assert!(relayed.next().await.is_none());
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_messages_of_a_window_are_answered_when_it_is_over_and_all_are_at_the_stop() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed"]).await;
    let (_order, publisher) = service("order", &api, &bus);
    let (_count, mut counter) = service("count", &api, &bus);
    let windows = counter.consumer("order.placed").stream::<Value>();
    let windows = windows
        .window(Windows::tumbling(Duration::from_secs(10)).unwrap(), |event| event.value["at"].as_i64().unwrap())
        .late_by(Duration::from_secs(5))
        .fold(
            || (0, Receipts::default()),
            |(count, receipts), event| {
                *count += 1;
                receipts.push(event.share());
            },
        );
    let mut windows = Box::pin(windows);
    let running = Running::start(counter, Router::new()).await;
    for at in [1_000, 2_000, 3_000, 11_000, 16_000] {
        publisher.topic("order.placed").message(&json!({"at": at})).publish().await.unwrap();
    }
    let window = windows.next().await.unwrap();
    assert_eq!((window.start_ms, window.value.0), (0, 3));
    window.value.1.ack();
    let ended = running.begin_stop();
    let window = windows.next().await.unwrap();
    assert_eq!(window.start_ms, 10_000);
    window.value.1.ack();
    assert!(windows.next().await.is_none());
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_who_makes_events() {
    let (values, made) = endless();
    let values = Arc::new(std::sync::Mutex::new(Some(values)));
    let app = Router::new()
        .route("/it", any(async move || stream::sse(values.lock().unwrap().take().unwrap().map(Event::new))));
    // A Unix socket: its buffers in the system are small, unlike those of TCP between two on one machine.
    let place = Place::new("hello");
    let path = place.path("hello.sock");
    let place = place.with("BOWLINE_LISTEN", &format!("unix:{}", path.display()));
    let (tell, told) = oneshot::channel();
    let serving = place.service().serve_until(app, pending(), BOUND, |_| tell.send(()).unwrap());
    let _serving = task::Guarded::new(task::spawn(serving));
    told.await.unwrap();
    let mut client = net::UnixStream::connect(path).await.unwrap();
    client.write_all(b"GET /it HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let count = stalled(&made).await;
    assert!(count < 1024, "{count} KiB were made for a client that reads nothing");
    let mut read = vec![0; 4 << 20];
    client.read_exact(&mut read).await.unwrap();
    assert!(made.load(Relaxed) > 3 * 1024, "it goes on when the client does");
}

#[tokio::test]
async fn a_caller_that_stops_reading_lines_stops_who_makes_them_and_loses_none() {
    let (values, made) = endless();
    let values = Arc::new(std::sync::Mutex::new(Some(values.take(30_000))));
    let (_api, running, caller) =
        called(move |_| stream::ndjson(values.lock().unwrap().take().unwrap().map(|value| json!({"value": value}))))
            .await;
    let answer = caller.client.get("/it").stream().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let mut lines = answer.into_body().lines::<Value>();
    let count = stalled(&made).await;
    // Beside what the system buffers for two sockets, which it makes large for a peer as near as this one.
    assert!(count < 15_000, "{count} KiB were made for a caller that reads nothing");
    let mut read = 0;
    while let Some(line) = lines.next().await {
        assert_eq!(line.unwrap()["value"].as_str().unwrap(), format!("{read:01024}"));
        read += 1;
    }
    assert_eq!(read, 30_000);
    running.stop().await;
}

#[tokio::test]
async fn an_answer_that_falls_silent_is_given_up() {
    let (_api, running, caller) = called(|_| stream::ndjson(stream::iter([1]).chain(stream::once(pending())))).await;
    let answer = caller.client.get("/it").stream().await.unwrap().into_body().silent_max(Duration::from_millis(50));
    let lines: Vec<_> = answer.lines::<u32>().collect().await;
    assert!(matches!(&lines[..], [Ok(1), Err(error)] if error.code() == Code::DeadlineExceeded), "{lines:?}");
    drop(running);
}

#[tokio::test]
async fn streams_end_when_the_service_stops() {
    let (_api, running, caller) = called(|headers| {
        let endless = stream::iter([1]).chain(stream::once(pending::<u32>()));
        if headers.contains_key("x-lines") {
            return stream::ndjson(endless);
        }
        stream::sse(endless.map(|number| Event::new(number.to_string())))
    })
    .await;
    let mut events = caller.client.get("/it").stream().await.unwrap().into_body().events();
    let lines = caller.client.get("/it").header(http::HeaderName::from_static("x-lines"), "1").stream().await;
    let mut lines = lines.unwrap().into_body().lines::<u32>();
    assert_eq!(events.next().await.unwrap().unwrap().data, "1");
    assert_eq!(lines.next().await.unwrap().unwrap(), 1);
    let ended = running.begin_stop();
    // Events may end at any time; lines that are not all there are told from lines that are.
    assert!(events.next().await.is_none());
    assert!(lines.next().await.unwrap().is_err());
    assert!(lines.next().await.is_none());
    time::timeout(BOUND / 2, ended).await.expect("it stops without the grace").unwrap().unwrap();
}

#[tokio::test]
async fn a_line_that_is_no_value_does_not_end_the_rest() {
    let (_api, running, caller) = called(|_| "1\n\n\"two\"\r\n3").await;
    let lines = caller.client.get("/it").stream().await.unwrap().into_body().lines::<u32>();
    let lines: Vec<_> = lines.map(|line| line.map_err(|error| error.code())).collect().await;
    assert_eq!(lines, [Ok(1), Err(Code::BadGateway), Ok(3)]);
    running.stop().await;
}

#[tokio::test]
async fn lines_that_break_off_are_read_anew() {
    let (asked, is_read) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let read = is_read.clone();
    let (_api, running, caller) = called(move |_| {
        let (is_first, read) = (asked.fetch_add(1, Relaxed) == 0, read.clone());
        let second = stream::once(async move {
            if is_first {
                read.notified().await;
                return Err(std::io::Error::other("broken"));
            }
            Ok("2\n")
        });
        Body::from_stream(stream::iter([Ok("1\n")]).chain(second))
    })
    .await;
    let lines = stream::retry(RetryPolicy::default(), || {
        let answer = stream::once(caller.client.get("/it").stream());
        answer.map_ok(|answer| answer.into_body().lines::<u32>()).try_flatten().boxed()
    });
    let lines = lines.inspect_ok(|_| is_read.notify_one());
    let lines: Vec<u32> = lines.try_collect().await.unwrap();
    assert_eq!(lines, [1, 1, 2]);
    running.stop().await;
}

#[tokio::test]
async fn a_streaming_answer_is_made_in_the_trace_and_under_the_name_of_its_request() {
    let service = Place::new("hello").service();
    let metrics = service.metrics().clone();
    let slow = async move || {
        let is_told = move || metrics.render().contains("task=\"POST /slow/{id}\"");
        let begun = time::now();
        stream::ndjson(stream::once(async move {
            while !is_told() && time::now() - begun < BOUND {
                std::hint::spin_loop();
            }
            is_told()
        }))
    };
    let trace = || stream::once(async { current::context().map(|context| context.trace_id.to_string()) });
    let traced = async move || stream::ndjson(trace().chain(trace().latest()));
    let app = Router::new().route("/slow/{id}", any(slow)).route("/traced", any(traced));
    let running = Running::start(service, app).await;
    let answer = running.get("/traced").await;
    let id = answer.header("x-trace-id");
    assert_eq!((id.len(), answer.text()), (32, &*format!("\"{id}\"\n\"{id}\"\n")));
    assert_eq!(running.post("/slow/7", "").await.text(), "true\n");
    running.stop().await;
}
