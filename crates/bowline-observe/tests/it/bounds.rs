//! What is bounded stays within its bounds, and says what it drops.

use bowline_observe::traces::Error;

use super::*;

fn folder_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test(start_paused = true)]
async fn the_folder_never_exceeds_the_cap() {
    let seed = 3;
    rand::seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let store = TraceStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    let mut last = 0;
    // Six times the cap, in batches of all sizes.
    while metric(&metrics, "bowline_traces_segments_deleted_total") < 6 * 16 {
        let batch = (0..=rand::below(60)).map(|_| {
            last += 1;
            SpanData { attributes: vec![("text".into(), random_text(rand::below(2000)).into())], ..span(last, 1) }
        });
        store.append(batch.collect());
        store.flush().await.unwrap();
        let bytes = folder_bytes(dir.path());
        assert!(bytes <= BYTES_MAX_MIN, "{bytes}, seed {seed}");
        assert_eq!(bytes, store.bytes_on_disk());
        assert_eq!(metric(&metrics, "bowline_traces_bytes"), bytes);
    }
    assert!(folder_bytes(dir.path()) > BYTES_MAX_MIN * 13 / 16);
    // The newest are there, the oldest are gone from the index as well.
    assert!(store.trace(trace_id(last)).await.unwrap().is_some());
    assert_eq!(store.trace(trace_id(1)).await.unwrap(), None);
    let found = store.search(&Query { limit: 1000, ..Query::default() }).await.unwrap();
    assert_eq!(found[0].trace_id, trace_id(last));
    for found in found {
        assert!(store.trace(found.trace_id).await.unwrap().is_some(), "{}, seed {seed}", found.trace_id);
    }
    let indexed = metric(&metrics, "bowline_traces_indexed");
    store.close().await;
    let metrics = Registry::default();
    let store = TraceStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    assert_eq!(metric(&metrics, "bowline_traces_indexed"), indexed);
    assert!(folder_bytes(dir.path()) <= BYTES_MAX_MIN);
    drop(store);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = Settings { queue_bytes_max: 10_000, metrics: metrics.clone(), ..settings(dir.path()) };
    let store = TraceStore::open(settings).unwrap();
    // The writer has no turn in between: this is one poll.
    let taken: usize = (1..=100).map(|number| store.append(vec![span(number, 1)])).sum();
    assert!((10..60).contains(&taken), "{taken}");
    let dropped = metric(&metrics, "bowline_traces_spans_dropped_total{reason=\"queue_full\"}");
    assert_eq!(dropped, 100 - taken as u64);
    store.flush().await.unwrap();
    assert_eq!(metric(&metrics, "bowline_traces_spans_written_total"), taken as u64);
    assert_eq!(store.append(vec![span(1000, 1)]), 1);
    // All or nothing; but of what can never fit as a whole, what fits.
    let batch = |count| (1..=count).map(|number| span(number, 2)).collect::<Vec<_>>();
    assert_eq!(store.append(batch(taken as u128)), 0);
    store.flush().await.unwrap();
    assert_eq!(store.append(batch(1000)), taken);
}

#[tokio::test(start_paused = true)]
async fn a_span_larger_than_a_segment_is_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let store = TraceStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    let large = |size| SpanData { attributes: vec![("a".into(), random_text(size).into())], ..span(2, 1) };
    store.append(vec![span(1, 1), large(200_000), span(3, 1)]);
    store.flush().await.unwrap();
    assert_eq!(metric(&metrics, "bowline_traces_spans_dropped_total{reason=\"too_large\"}"), 1);
    assert_eq!(store.trace(trace_id(2)).await.unwrap(), None);
    assert!(store.trace(trace_id(1)).await.unwrap().is_some() && store.trace(trace_id(3)).await.unwrap().is_some());
    store.append(vec![large(60_000)]);
    assert!(store.trace(trace_id(2)).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn one_trace_does_not_fill_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = Settings { bytes_max: 16 * BYTES_MAX_MIN, metrics: metrics.clone(), ..settings(dir.path()) };
    let store = TraceStore::open(settings).unwrap();
    for batch in 0..21 {
        let spans = (1..=1000).map(|id| span(1, batch * 1000 + id)).chain([span(2, batch + 1)]);
        store.append(spans.collect());
        store.flush().await.unwrap();
    }
    assert_eq!(store.trace(trace_id(1)).await.unwrap().unwrap().len(), 20_000);
    assert_eq!(store.trace(trace_id(2)).await.unwrap().unwrap().len(), 21);
    assert_eq!(metric(&metrics, "bowline_traces_spans_dropped_total{reason=\"trace_full\"}"), 1000);
}

#[tokio::test(start_paused = true)]
async fn the_index_forgets_the_oldest_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = Settings { traces_max: 10, metrics: metrics.clone(), ..settings(dir.path()) };
    let store = TraceStore::open(settings).unwrap();
    store.append((1..=25).map(|number| span(number, 1)).collect());
    let found = store.search(&Query { limit: 100, ..Query::default() }).await.unwrap();
    assert_eq!(found.iter().map(|found| found.trace_id.get()).collect::<Vec<_>>(), (16..=25).rev().collect::<Vec<_>>());
    assert_eq!(store.trace(trace_id(1)).await.unwrap(), None);
    assert_eq!(metric(&metrics, "bowline_traces_forgotten_total"), 15);
    assert_eq!(metric(&metrics, "bowline_traces_indexed"), 10);
}

#[tokio::test]
async fn a_cap_that_is_too_small_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = TraceStore::open(Settings { bytes_max: BYTES_MAX_MIN - 1, ..settings(dir.path()) }).unwrap_err();
    assert!(matches!(error, Error::CapTooSmall { .. }));
    assert!(!error.retryable());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_costs_spans_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("traces");
    let metrics = Registry::default();
    let store = TraceStore::open(Settings { metrics: metrics.clone(), ..settings(&path) }).unwrap();
    let fill = |trace| (1..=100).map(move |id| span_of_a_kilobyte(trace, id)).collect::<Vec<_>>();
    store.append(fill(1));
    store.flush().await.unwrap();
    // The next segment cannot be made.
    std::fs::remove_dir_all(&path).unwrap();
    store.append(fill(2));
    store.flush().await.unwrap();
    let dropped = metric(&metrics, "bowline_traces_spans_dropped_total{reason=\"write_failed\"}");
    assert!(dropped > 0);
    assert!(store.trace(trace_id(1)).await.unwrap().is_some());
    std::fs::create_dir(&path).unwrap();
    store.append(fill(3));
    store.flush().await.unwrap();
    assert_eq!(store.trace(trace_id(3)).await.unwrap().unwrap().len(), 100);
    assert_eq!(metric(&metrics, "bowline_traces_spans_dropped_total{reason=\"write_failed\"}"), dropped);
}

fn span_of_a_kilobyte(trace: u128, id: u64) -> SpanData {
    SpanData { attributes: vec![("text".into(), random_text(1000).into())], ..span(trace, id) }
}
