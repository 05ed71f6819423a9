//! The way of spans to a server that is there, away, slow or unwilling.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_provider_remote::{RemoteReporter, wire::SpanBatch};
use bowline_runtime::{metric::Registry, time};
use bowline_telemetry::{Always, SpanKind, Tracer, queue};
use bowline_testkit::{Answer, HttpServer};

use crate::BOUND;

fn end_spans(tracer: &Tracer, count: usize) {
    for _ in 0..count {
        tracer.start("work", SpanKind::Internal, None).end();
    }
}

/// How many spans each request brought.
fn batches(server: &HttpServer) -> Vec<usize> {
    let length = |body: &[u8]| serde_json::from_slice::<SpanBatch>(body).unwrap().spans.len();
    server.requests().iter().map(|request| length(&request.body)).collect()
}

fn dropped(metrics: &Registry) -> u64 {
    dropped_for("server_away", metrics)
}

fn dropped_for(reason: &'static str, metrics: &Registry) -> u64 {
    metrics.counter("bowline_spans_dropped_total", "", &[("reason", reason)]).get()
}

/// A reporter to that address, and the tracer that feeds it.
fn reporter(addr: std::net::SocketAddr, metrics: &Registry) -> (Tracer, RemoteReporter) {
    let (sender, spans) = queue(10_000, metrics);
    let tracer = Tracer::new("order", "order-1", Always, sender);
    (tracer, RemoteReporter::start(addr, None, spans, metrics))
}

#[tokio::test]
async fn spans_are_sent_in_batches() {
    let metrics = Registry::default();
    let server = HttpServer::start(|_| Answer::status(204));
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    end_spans(&tracer, 1200);
    bowline_testkit::eventually(BOUND, || batches(&server).iter().sum::<usize>() == 1200).await;
    assert_eq!(batches(&server), [512, 512, 176]);
    let request = server.requests().remove(0);
    assert_eq!((&*request.method, &*request.path), ("POST", "/v1/spans"));
    reporter.flush(BOUND).await;
    assert_eq!(dropped(&metrics), 0);
}

#[tokio::test]
async fn a_batch_is_sent_again_while_that_may_help() {
    let metrics = Registry::default();
    let count = Arc::new(AtomicUsize::new(0));
    let asked = count.clone();
    let server = HttpServer::start(move |_| match asked.fetch_add(1, Relaxed) {
        0 => Answer::Close,
        1 => Answer::status(503),
        _ => Answer::status(204),
    });
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    end_spans(&tracer, 3);
    bowline_testkit::eventually(BOUND, || count.load(Relaxed) >= 3).await;
    reporter.flush(BOUND).await;
    assert_eq!(batches(&server), [3, 3, 3]);
    assert_eq!(dropped(&metrics), 0);
}

#[tokio::test]
async fn what_the_server_refuses_is_dropped_and_counted() {
    let metrics = Registry::default();
    let server = HttpServer::start(|_| Answer::status(422));
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    end_spans(&tracer, 3);
    bowline_testkit::eventually(BOUND, || dropped(&metrics) == 3).await;
    reporter.flush(BOUND).await;
    assert_eq!(batches(&server), [3], "the same is refused again");
}

#[tokio::test]
async fn a_batch_is_no_larger_than_the_server_takes() {
    let metrics = Registry::default();
    let server = HttpServer::start(|_| Answer::status(204));
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    for _ in 0..512 {
        let mut span = tracer.start("work", SpanKind::Internal, None);
        for key in ["a", "b", "c", "d", "e"] {
            span.set(key, "x".repeat(3500));
        }
    }
    bowline_testkit::eventually(BOUND, || batches(&server).iter().sum::<usize>() == 512).await;
    for request in server.requests() {
        assert!(request.body.len() < 5 << 20, "{}", request.body.len());
    }
    reporter.flush(BOUND).await;
    assert_eq!((dropped(&metrics), dropped_for("too_large", &metrics)), (0, 0));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_in_parts() {
    let metrics = Registry::default();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let server = HttpServer::start(move |request| {
        let batch: SpanBatch = serde_json::from_slice(&request.body).unwrap();
        if batch.spans.len() > 3 || batch.spans.iter().any(|span| span.name == "huge") {
            return Answer::status(413);
        }
        count.fetch_add(batch.spans.len(), Relaxed);
        Answer::status(204)
    });
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    end_spans(&tracer, 5);
    tracer.start("huge", SpanKind::Internal, None).end();
    end_spans(&tracer, 5);
    bowline_testkit::eventually(BOUND, || taken.load(Relaxed) == 10).await;
    reporter.flush(BOUND).await;
    assert_eq!((dropped(&metrics), dropped_for("too_large", &metrics)), (0, 1));
}

#[tokio::test]
async fn a_flush_sends_what_waits() {
    let metrics = Registry::default();
    let server = HttpServer::start(|_| Answer::status(204));
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    end_spans(&tracer, 600);
    reporter.flush(BOUND).await;
    assert_eq!(batches(&server).iter().sum::<usize>(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_a_server_that_is_away() {
    let metrics = Registry::default();
    let (tracer, reporter) = reporter(bowline_testkit::free_addr(), &metrics);
    end_spans(&tracer, 600);
    let begun = time::now();
    reporter.flush(BOUND).await;
    assert!(time::now() - begun < Duration::from_secs(5));
    assert_eq!(dropped(&metrics), 600);
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_out_a_backoff() {
    let metrics = Registry::default();
    let server = HttpServer::start(|_| Answer::status(503));
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    end_spans(&tracer, 1);
    // The waits grow: after the third failure it is at least 400 ms.
    bowline_testkit::eventually(BOUND, || server.requests().len() >= 3).await;
    let begun = time::now();
    reporter.flush(BOUND).await;
    assert!(time::now() - begun < Duration::from_millis(400));
    assert_eq!(server.requests().len(), 4, "a last attempt");
    assert_eq!(dropped(&metrics), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flush_is_bounded() {
    let metrics = Registry::default();
    let server = HttpServer::start(|_| Answer::Hang);
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    end_spans(&tracer, 1);
    let begun = time::now();
    reporter.flush(Duration::from_millis(100)).await;
    assert!(time::now() - begun < Duration::from_secs(3));
}

#[tokio::test]
async fn a_reporter_that_is_dropped_sends_what_waits() {
    let metrics = Registry::default();
    let server = HttpServer::start(|_| Answer::status(204));
    let (tracer, reporter) = reporter(server.addr(), &metrics);
    end_spans(&tracer, 600);
    drop(reporter);
    bowline_testkit::eventually(BOUND, || batches(&server).iter().sum::<usize>() == 600).await;
}
