//! An hour of a busy system under a small cap.

use bowline_observe::traces::TraceSummary;

use super::{shop::ORDER_SPANS, *};

const MIB: u64 = 1024 * 1024;
const CAP: u64 = 64 * MIB;
/// What the issue allows on the disk at any moment.
const CEILING: u64 = 80 * MIB;
const SPANS_PER_SECOND: usize = 2000;
/// How many seconds of the hour are run, unless `BOWLINE_TEST_LONG` asks for all: enough for a
/// smaller cap to be passed several times.
const SECONDS: usize = 60;
const CAP_OF_SECONDS: u64 = 2 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_of_spans_stays_under_its_cap_and_a_lower_cap_gives_the_disk_back() {
    let is_whole = std::env::var_os("BOWLINE_TEST_LONG").is_some();
    let (seconds, cap) = if is_whole { (3600, CAP) } else { (SECONDS, CAP_OF_SECONDS) };
    let ceiling = cap * CEILING / CAP;
    rand::seed(1);
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = |bytes_max| Settings { bytes_max, metrics: metrics.clone(), ..settings(dir.path()) };
    let store = TraceStore::open(settings(cap)).unwrap();
    let begun = 1_767_225_600_000_000_000;
    let mut last = trace_id(1);
    let mut most = 0;
    for second in 0..seconds as u64 {
        let orders = SPANS_PER_SECOND / ORDER_SPANS;
        let at = |order: usize| begun + second * 1_000_000_000 + order as u64 * 1_000_000;
        let spans: Vec<_> = (0..orders).flat_map(|order| shop::order(at(order))).collect();
        last = spans[0].trace_id;
        let count = spans.len();
        assert_eq!(store.append(spans), count);
        // At once, and while it is written.
        most = most.max(folder_bytes(dir.path()));
        store.flush().await.unwrap();
        most = most.max(folder_bytes(dir.path()));
        assert!(most <= cap, "{most} bytes after {second} s");
    }
    assert!(most > cap * 13 / 16 && most <= ceiling, "{most}");
    assert!(metric(&metrics, "bowline_traces_segments_deleted_total") >= 16);
    assert!(store.trace(last).await.unwrap().is_some());
    store.close().await;
    let store = TraceStore::open(settings(cap / 2)).unwrap();
    assert!(folder_bytes(dir.path()) <= cap / 2);
    let newest: Vec<TraceSummary> = store.search(&Query::default()).await.unwrap().traces;
    assert_eq!(newest.len(), 20);
    assert!(store.trace(last).await.unwrap().is_some());
    store.close().await;
}

fn folder_bytes(dir: &Path) -> u64 {
    // A segment may be deleted while the folder is listed.
    std::fs::read_dir(dir).unwrap().filter_map(|entry| Some(entry.unwrap().metadata().ok()?.len())).sum()
}
