//! Tests of the queue.

use std::borrow::Cow;

use bowline_runtime::task;

use super::*;
use crate::{SpanId, SpanKind, Status, TraceId};

const WAIT: Duration = Duration::from_millis(100);

fn span(number: u64) -> SpanData {
    SpanData {
        trace_id: TraceId::new(1).unwrap(),
        span_id: SpanId::new(number).unwrap(),
        parent_span_id: None,
        service: "order".into(),
        instance: "order-1".into(),
        name: Cow::Borrowed("a"),
        kind: SpanKind::Internal,
        start_unix_nanos: 0,
        duration_nanos: 0,
        status: Status::Unset,
        attributes: vec![],
        events: vec![],
        links: vec![],
    }
}

fn numbers(batch: Option<Vec<SpanData>>) -> Option<Vec<u64>> {
    batch.map(|batch| batch.iter().map(|span| span.span_id.get()).collect())
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_comes_at_once_and_a_part_after_the_wait() {
    let metrics = Registry::default();
    let (reporter, mut queue) = queue(10, &metrics);
    (1..=5).for_each(|number| reporter.report(span(number)));
    let start = time::now();
    assert_eq!(numbers(queue.next_batch(3, WAIT).await), Some(vec![1, 2, 3]));
    assert_eq!(time::now(), start);
    assert_eq!(numbers(queue.next_batch(3, WAIT).await), Some(vec![4, 5]));
    assert_eq!(time::now() - start, WAIT);
    let taking = task::spawn(async move { numbers(queue.next_batch(2, WAIT).await) });
    task::yield_now().await;
    reporter.report(span(6));
    task::yield_now().await;
    reporter.report(span(7));
    assert_eq!(taking.await.unwrap(), Some(vec![6, 7]));
    assert_eq!(time::now() - start, WAIT);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_dropped_and_counted() {
    let metrics = Registry::default();
    let (reporter, mut queue) = queue(2, &metrics);
    (1..=5).for_each(|number| reporter.report(span(number)));
    assert!(metrics.render().contains("bowline_spans_dropped_total{reason=\"queue_full\"} 3"));
    assert_eq!(numbers(queue.next_batch(10, WAIT).await), Some(vec![1, 2]));
    reporter.report(span(6));
    drop(queue);
    reporter.report(span(7));
    assert!(metrics.render().contains("bowline_spans_dropped_total{reason=\"queue_closed\"} 2"));
    assert!(metrics.render().contains("bowline_spans_queued 0"));
}

#[tokio::test(start_paused = true)]
async fn cancelling_loses_nothing() {
    let (reporter, mut queue) = queue(10, &Registry::default());
    reporter.report(span(1));
    assert!(time::timeout(WAIT / 2, queue.next_batch(5, WAIT)).await.is_err());
    reporter.report(span(2));
    assert_eq!(numbers(queue.next_batch(5, WAIT).await), Some(vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn the_rest_comes_out_when_the_last_reporter_is_gone() {
    let (reporter, mut queue) = queue(10, &Registry::default());
    let other = reporter.clone();
    reporter.report(span(1));
    drop(reporter);
    other.report(span(2));
    drop(other);
    let start = time::now();
    assert_eq!(numbers(queue.next_batch(5, WAIT).await), Some(vec![1, 2]));
    assert_eq!(numbers(queue.next_batch(5, WAIT).await), None);
    assert_eq!(time::now(), start);
}
