//! The trace store and scraping as their users see them.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

mod alerts;
mod bounds;
mod crash;
mod hour;
mod observed;
mod promql;
mod scrape;
mod search;
mod series;
mod shop;
mod tap;

use std::{
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use bowline_observe::traces::{BYTES_MAX_MIN, Query, Settings, TraceStore};
use bowline_runtime::{fs, metric::Registry, rand};
use bowline_telemetry::{SpanData, SpanId, SpanKind, Status, TraceId};

fn settings(dir: &Path) -> Settings {
    Settings { bytes_max: BYTES_MAX_MIN, ..Settings::new(dir) }
}

fn open(dir: &Path) -> TraceStore {
    TraceStore::open(settings(dir)).unwrap()
}

fn trace_id(number: u128) -> TraceId {
    TraceId::new(number).unwrap()
}

/// A span whose names and times follow from its numbers.
fn span(trace: u128, id: u64) -> SpanData {
    SpanData {
        trace_id: trace_id(trace),
        span_id: SpanId::new(id).unwrap(),
        parent_span_id: SpanId::new(id - 1),
        service: format!("service-{}", id % 3).into(),
        instance: format!("service-{}-1", id % 3).into(),
        name: format!("operation-{}", id % 5).into(),
        kind: SpanKind::Server,
        start_unix_nanos: u64::try_from(trace).unwrap() * 1_000_000 + id,
        duration_nanos: 1000,
        status: Status::Unset,
        attributes: vec![("trace".into(), trace.to_string().into()), ("id".into(), id.into())],
        events: vec![],
        links: vec![],
    }
}

/// A text that is neither kept once nor compressed well.
fn random_text(length: usize) -> String {
    (0..length).map(|_| char::from(b'!' + u8::try_from(rand::below(94)).unwrap())).collect()
}

/// A metric's value on the page.
fn metric(metrics: &Registry, series: &str) -> u64 {
    let page = metrics.render();
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not on the page\n{page}")).parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn only_its_owner_can_read_it_though_the_folder_was_open_to_all() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("traces");
    std::fs::DirBuilder::new().mode(0o755).create(&dir).unwrap();
    let store = open(&dir);
    store.append(vec![span(1, 1)]);
    store.flush().await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "a lock and a segment: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_appended_is_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.trace(trace_id(1)).await.unwrap(), None);
    for number in 1..50 {
        let spans = vec![span(number, 2), span(number, 1)];
        assert_eq!(store.append(spans.clone()), 2);
        let read = store.trace(trace_id(number)).await.unwrap().unwrap();
        assert_eq!(read, [spans[1].clone(), spans[0].clone()]);
        store.append(vec![span(number, 3)]);
        assert_eq!(store.search(&Query::default()).await.unwrap()[0].span_count, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn spans_of_many_appends_share_records_and_survive_closing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 1..100 {
        store.append(vec![span(number % 10 + 1, u64::try_from(number).unwrap())]);
    }
    store.close().await;
    let store = open(dir.path());
    assert_eq!(store.search(&Query::default()).await.unwrap().len(), 10);
    let read = store.trace(trace_id(4)).await.unwrap().unwrap();
    assert_eq!(
        read.iter().map(|span| span.span_id.get()).collect::<Vec<_>>(),
        (3..100).step_by(10).collect::<Vec<_>>()
    );
    let bytes = store.bytes_on_disk();
    assert!(bytes < 10_000, "{bytes}");
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_span_reported_twice_is_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(vec![span(1, 1), span(1, 2)]);
    store.flush().await.unwrap();
    store.append(vec![span(1, 2), span(1, 1)]);
    assert_eq!(store.trace(trace_id(1)).await.unwrap().unwrap(), [span(1, 1), span(1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_says_so_and_lets_the_folder_go() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let store = TraceStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    let other = store.clone();
    store.append(vec![span(1, 1)]);
    assert!(matches!(TraceStore::open(settings(dir.path())), Err(bowline_observe::traces::Error::Locked { .. })));
    store.close().await;
    assert_eq!(other.append(vec![span(2, 1)]), 0);
    assert!(matches!(other.trace(trace_id(1)).await, Err(bowline_observe::traces::Error::Closed)));
    assert!(matches!(other.flush().await, Err(bowline_observe::traces::Error::Closed)));
    assert_eq!(metric(&metrics, "bowline_traces_spans_dropped_total{reason=\"queue_full\"}"), 1);
    let store = open(dir.path());
    assert!(store.trace(trace_id(1)).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_appended_is_written_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(vec![span(1, 1)]);
    bowline_runtime::time::sleep(std::time::Duration::from_millis(150)).await;
    while store.bytes_on_disk() == 0 {
        tokio::task::yield_now().await;
    }
    store.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_reads_his_own_writes_while_old_segments_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let writers = (1..=4).map(|writer| {
        let store = store.clone();
        bowline_runtime::task::spawn(async move {
            for round in 1..=60 {
                let trace = writer * 1000 + round;
                let text = random_text(3000);
                let large = |id| SpanData {
                    attributes: vec![("text".into(), format!("{id}{text}").into())],
                    ..span(trace, id)
                };
                let spans: Vec<_> = (1..=5).map(large).collect();
                assert_eq!(store.append(spans.clone()), 5);
                assert_eq!(store.trace(trace_id(trace)).await.unwrap().unwrap(), spans);
                let found = store.search(&Query { limit: 1000, ..Query::default() }).await.unwrap();
                assert!(found.iter().any(|found| found.trace_id == trace_id(trace)));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert!(store.bytes_on_disk() <= BYTES_MAX_MIN);
}
