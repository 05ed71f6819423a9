//! What is bounded stays within its bounds, and says what it drops.

use bowline_model::Code;
use bowline_observe::series::Error;
use time::Duration;

use super::*;

fn folder_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Appends random bits, which nothing compresses, until so many bytes were.
async fn fill(store: &SeriesStore, from_ms: i64, bytes: usize, check: impl Fn()) -> i64 {
    let series: Vec<_> = (0..100).map(|number| store.intern(&labels("noise", number)).unwrap()).collect();
    let mut at_ms = from_ms;
    for _ in 0..bytes / 8 / series.len() {
        at_ms += 1000;
        let samples: Vec<_> = series.iter().map(|series| (*series, rand::unit())).collect();
        while store.append(at_ms, &samples).refused > 0 {
            store.flush().await.unwrap();
            check();
        }
    }
    store.flush().await.unwrap();
    check();
    at_ms
}

#[tokio::test(start_paused = true)]
async fn the_folder_never_exceeds_the_cap_and_the_newest_stays() {
    rand::seed(5);
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let store = SeriesStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    let check = || {
        let bytes = folder_bytes(dir.path());
        assert!(bytes <= BYTES_MAX_MIN, "{bytes}");
    };
    let last = fill(&store, now_ms() - 30_000_000, 8 * 1024 * 1024, check).await;
    // The writer goes on by itself: what it made just now is told at the end of its round.
    while store.bytes_on_disk() != folder_bytes(dir.path()) {
        store.flush().await.unwrap();
    }
    assert!(store.bytes_on_disk() > BYTES_MAX_MIN / 2);
    assert!(counted(&metrics, "bowline_series_blocks_deleted_total{reason=\"cap\"}") > 0);
    let newest = store.select(&[], last, last, usize::MAX).unwrap();
    assert_eq!(newest.len(), 100);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lowered_cap_holds_from_the_first_moment() {
    rand::seed(6);
    let dir = tempfile::tempdir().unwrap();
    let store = SeriesStore::open(Settings { bytes_max: 4 * BYTES_MAX_MIN, ..settings(dir.path()) }).unwrap();
    let last = fill(&store, now_ms() - 30_000_000, 12 * 1024 * 1024, || {}).await;
    store.close().await;
    assert!(folder_bytes(dir.path()) > 2 * BYTES_MAX_MIN);
    let store = open(dir.path());
    assert!(folder_bytes(dir.path()) <= BYTES_MAX_MIN);
    assert_eq!(store.bytes_on_disk(), folder_bytes(dir.path()));
    assert_eq!(store.select(&[], last, last, usize::MAX).unwrap().len(), 100);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_cap_that_is_too_small_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { bytes_max: BYTES_MAX_MIN - 1, ..settings(dir.path()) };
    let error = SeriesStore::open(settings).unwrap_err();
    assert!(matches!(error, Error::CapTooSmall { .. }) && error.code() == Code::InvalidArgument && !error.retryable());
}

#[tokio::test(start_paused = true)]
async fn blocks_older_than_the_retention_go() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let hours = Duration::from_hours(10);
    let keeping = Settings { retention: hours, metrics: metrics.clone(), ..settings(dir.path()) };
    let store = SeriesStore::open(keeping).unwrap();
    let mut scrapes = Scrapes::new(&store, 3, now_ms() - 20 * 3_600_000);
    for round in 0..14_000 {
        scrapes.scrape(&store);
        if round % 700 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.flush().await.unwrap();
    assert!(counted(&metrics, "bowline_series_blocks_deleted_total{reason=\"retention\"}") >= 2);
    let oldest = everything(&store)[0].samples[0].at_ms;
    let age_hours = (now_ms() - oldest) / 3_600_000;
    assert!((10..=13).contains(&age_hours), "{age_hours}");
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn more_series_than_may_be_are_refused_until_some_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = Settings { series_max: 10, metrics: metrics.clone(), ..settings(dir.path()) };
    let store = SeriesStore::open(settings).unwrap();
    let series: Vec<_> = (0..10).map(|number| store.intern(&labels("up", number)).unwrap()).collect();
    let error = store.intern(&labels("up", 10)).unwrap_err();
    assert!(matches!(error, Error::TooManySeries { series_max: 10 }) && error.retryable());
    assert_eq!(store.intern(&labels("up", 9)).unwrap(), series[9]);
    assert_eq!(counted(&metrics, "bowline_series_refused_total"), 1);
    let now = now_ms();
    store.append(now, &series.iter().map(|series| (*series, 1.0)).collect::<Vec<_>>());
    store.append(now + 1, &[(series[0], STALE), (series[1], STALE)]);
    store.flush().await.unwrap();
    // The ended ones have left; their references mean nothing any more, also when their places are taken.
    let new = store.intern(&labels("up", 10)).unwrap();
    assert_eq!(store.append(now + 2, &[(series[0], 1.0), (series[1], 1.0)]).unknown, 2);
    assert_eq!(store.append(now + 2, &[(new, 1.0), (series[5], 1.0)]).kept, 2);
    assert_eq!(everything(&store).len(), 11);
    assert_eq!(counted(&metrics, "bowline_series_samples_appended_total"), 14);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn series_without_samples_leave_the_head_and_are_found_in_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let store = SeriesStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    let mut scrapes = Scrapes::new(&store, 5, now_ms() - 8 * 3_600_000);
    scrapes.scrape(&store);
    let gone = scrapes.series.pop().unwrap().0;
    for round in 0..4000 {
        scrapes.scrape(&store);
        if round % 400 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.flush().await.unwrap();
    assert_eq!(counted(&metrics, "bowline_series_live"), 4);
    assert_eq!(store.append(now_ms(), &[(gone, 1.0)]).unknown, 1);
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn labels_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let long_name = "n".repeat(129);
    let long_value = "v".repeat(1025);
    let pairs = [
        ("a b", "x"),
        ("1a", "x"),
        ("ü", "x"),
        ("a:b", "x"),
        ("__name__", "a-b"),
        (&*long_name, "x"),
        ("a", &*long_value),
    ];
    for (name, value) in pairs {
        let error = store.intern(&Labels::new([(name, value)])).unwrap_err();
        assert!(matches!(error, Error::InvalidLabels { .. }), "{name}={value}");
    }
    assert!(store.intern(&Labels::default()).is_err());
    assert!(store.intern(&Labels::new((0..49).map(|at| (format!("n{at}"), "x")))).is_err());
    store.intern(&Labels::new((0..48).map(|at| (format!("n{at}"), "x")))).unwrap();
    store.intern(&Labels::new([("__name__", "job:requests:rate5m"), ("_a1", "ü any \n text")])).unwrap();
    store.close().await;
}
