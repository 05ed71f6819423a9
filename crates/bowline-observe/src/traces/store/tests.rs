//! Tests of the store on a disk that fails.

use std::sync::atomic::AtomicBool;

use bowline_disk::Operation;
use bowline_runtime::metric::Registry;
use bowline_telemetry::{SpanId, SpanKind, Status};

use super::*;

fn trace_id(number: u128) -> TraceId {
    TraceId::new(number).unwrap()
}

fn span(trace: u128) -> SpanData {
    SpanData {
        trace_id: trace_id(trace),
        span_id: SpanId::new(1).unwrap(),
        parent_span_id: None,
        service: "a".into(),
        instance: "a-1".into(),
        name: "b".into(),
        kind: SpanKind::Server,
        start_unix_nanos: 1,
        duration_nanos: 1,
        status: Status::Unset,
        attributes: vec![],
        events: vec![],
        links: vec![],
    }
}

fn dropped(metrics: &Registry, reason: &str) -> u64 {
    let series = format!("bowline_traces_spans_dropped_total{{reason=\"{reason}\"}} ");
    let page = metrics.render();
    page.lines().find_map(|line| line.strip_prefix(&*series)).unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn after_its_writer_failed_the_store_takes_nothing_and_counts_all() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = Settings { metrics: metrics.clone(), ..Settings::new(dir.path()) };
    let disk = Disk::faulty(|operation| match operation {
        Operation::Write { .. } => panic!("the writer fails, as the test says"),
        _ => Ok(()),
    });
    let store = TraceStore::open_on(disk, settings).unwrap();
    assert_eq!(store.append(vec![span(1), span(2)]), 2);
    assert!(matches!(store.flush().await, Err(Error::Closed)));
    assert_eq!(dropped(&metrics, "write_failed"), 2);
    assert_eq!(store.append(vec![span(3), span(4), span(5)]), 0);
    assert_eq!(dropped(&metrics, "queue_full"), 3);
    assert!(matches!(store.trace(trace_id(1)).await, Err(Error::Closed)));
}

#[tokio::test]
async fn what_waits_when_the_writer_fails_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = Settings { metrics: metrics.clone(), ..Settings::new(dir.path()) };
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new((begun, may_go_on));
    let disk = Disk::faulty(move |_| {
        let gate = gate.lock().unwrap();
        gate.0.send(()).unwrap();
        gate.1.recv().unwrap();
        panic!("the writer fails, as the test says");
    });
    let store = TraceStore::open_on(disk, settings).unwrap();
    store.append(vec![span(1)]);
    let flushed = task::spawn({
        let store = store.clone();
        async move { store.flush().await }
    });
    task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
    assert_eq!(store.append(vec![span(2), span(3)]), 2);
    go_on.send(()).unwrap();
    assert!(matches!(flushed.await.unwrap(), Err(Error::Closed)));
    assert_eq!(dropped(&metrics, "write_failed"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_flush_fails_until_the_disk_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let is_bad = Arc::new(AtomicBool::new(true));
    let disk = Disk::faulty({
        let is_bad = Arc::clone(&is_bad);
        move |operation| match operation {
            Operation::Sync { .. } if is_bad.load(Ordering::Relaxed) => Err(std::io::Error::other("bad disk")),
            _ => Ok(()),
        }
    });
    let store = TraceStore::open_on(disk, Settings::new(dir.path())).unwrap();
    store.append(vec![span(1)]);
    for _ in 0..3 {
        assert!(matches!(store.flush().await, Err(Error::NotSynced)));
    }
    // Reading does not wait for the disk.
    assert_eq!(store.trace(trace_id(1)).await.unwrap(), Some(vec![span(1)]));
    is_bad.store(false, Ordering::Relaxed);
    store.flush().await.unwrap();
}

#[tokio::test]
async fn four_searches_read_at_once_and_others_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = TraceStore::open(Settings::new(dir.path())).unwrap();
    store.append(vec![span(1)]);
    store.flush().await.unwrap();
    let running = || store.0.shared.metrics.searches_running.get();
    let search = || {
        let store = store.clone();
        task::spawn(async move { store.search(&Query::default()).await })
    };
    let index = store.0.shared.index.clone();
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (let_go, may_let_go) = std::sync::mpsc::channel::<()>();
    let holder = task::spawn_blocking(move || {
        let _index = index.lock();
        held.send(()).unwrap();
        may_let_go.recv().unwrap();
    });
    is_held.await.unwrap();
    let searches: Vec<_> = (0..20).map(|_| search()).collect();
    // One whose caller gave up goes on reading, and keeps its place.
    while running() < 4 {
        tokio::task::yield_now().await;
    }
    searches[0].abort();
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert_eq!(running(), 4);
    }
    assert_eq!(store.0.shared.searches.available_permits(), 0);
    let_go.send(()).unwrap();
    holder.await.unwrap();
    for search in searches.into_iter().skip(1) {
        assert_eq!(search.await.unwrap().unwrap().len(), 1);
    }
    // The one that was given up may be the last.
    while running() > 0 {
        tokio::task::yield_now().await;
    }
}
