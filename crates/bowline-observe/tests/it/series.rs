//! The series store as its users see it.

mod bounds;
mod crash;
mod query;

use std::{collections::BTreeMap, path::Path};

use bowline_observe::{
    labels::{Labels, Matcher},
    series::{BYTES_MAX_MIN, SeriesStore, Settings},
    source::{STALE, Series, SeriesRef, Source as _},
};
use bowline_runtime::{metric::Registry, rand, time};

fn settings(dir: &Path) -> Settings {
    Settings { bytes_max: BYTES_MAX_MIN, ..Settings::new(dir) }
}

fn open(dir: &Path) -> SeriesStore {
    SeriesStore::open(settings(dir)).unwrap()
}

fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap()
}

fn labels(name: &str, number: usize) -> Labels {
    Labels::new([
        ("__name__", name.to_owned()),
        ("instance", format!("service-{number}")),
        ("job", format!("service-{}", number % 3)),
    ])
}

fn everything(store: &SeriesStore) -> Vec<Series> {
    store.select(&[], i64::MIN, i64::MAX, usize::MAX).unwrap()
}

/// What a store should hold, by the text of the labels: times and bits.
type Model = BTreeMap<String, BTreeMap<i64, u64>>;

fn model_of(series: &[Series]) -> Model {
    let samples = |series: &Series| {
        assert!(series.samples.is_sorted_by(|a, b| a.at_ms < b.at_ms), "in order, no time twice");
        series.samples.iter().map(|sample| (sample.at_ms, sample.value.to_bits())).collect()
    };
    series.iter().map(|series| (series.labels.to_string(), samples(series))).collect()
}

/// Appends what scrapes of some series find, and notes it.
struct Scrapes {
    series: Vec<(SeriesRef, Labels, f64)>,
    at_ms: i64,
    model: Model,
}

impl Scrapes {
    fn new(store: &SeriesStore, count: usize, from_ms: i64) -> Self {
        let mut scrapes = Self { series: Vec::new(), at_ms: from_ms, model: Model::new() };
        scrapes.series = (0..count)
            .map(|number| {
                let labels = labels("requests_total", number);
                (store.intern(&labels).unwrap(), labels, 0.0)
            })
            .collect();
        scrapes
    }

    /// Interns anew, after a restart.
    fn reopen(&mut self, store: &SeriesStore) {
        for (reference, labels, _) in &mut self.series {
            *reference = store.intern(labels).unwrap();
        }
    }

    fn scrape(&mut self, store: &SeriesStore) {
        self.at_ms += 5000 + i64::try_from(rand::below(3)).unwrap();
        let mut samples = Vec::new();
        for (number, (reference, labels, value)) in self.series.iter_mut().enumerate() {
            match number % 4 {
                0 => {}
                1 => *value += f64::from(u32::try_from(rand::below(100)).unwrap()),
                2 => *value = rand::unit(),
                _ => *value = f64::from(u32::try_from(rand::below(1000)).unwrap()) / 100.0,
            }
            samples.push((*reference, *value));
            self.model.entry(labels.to_string()).or_default().insert(self.at_ms, value.to_bits());
        }
        let appended = store.append(self.at_ms, &samples);
        assert_eq!(appended.kept, samples.len(), "{appended:?}");
    }
}

fn counted(metrics: &Registry, series: &str) -> u64 {
    crate::metric(metrics, series)
}

#[tokio::test(start_paused = true)]
async fn what_was_appended_is_read_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut scrapes = Scrapes::new(&store, 10, now_ms() - 1_000_000);
    for round in 0..150 {
        scrapes.scrape(&store);
        if round % 50 == 0 {
            assert_eq!(model_of(&everything(&store)), scrapes.model);
        }
    }
    store.close().await;
    let store = open(dir.path());
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    scrapes.reopen(&store);
    scrapes.scrape(&store);
    store.close().await;
    let store = open(dir.path());
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn after_two_hours_there_is_a_block_and_nothing_is_lost_or_there_twice() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let store = SeriesStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    let mut scrapes = Scrapes::new(&store, 9, now_ms() - 7 * 3_600_000);
    for round in 0..4500 {
        scrapes.scrape(&store);
        if round % 500 == 0 {
            store.flush().await.unwrap();
        }
    }
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    store.flush().await.unwrap();
    assert!(counted(&metrics, "bowline_series_blocks") >= 2);
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    store.close().await;
    let store = open(dir.path());
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_out_of_order_twice_or_in_the_future_is_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let store = SeriesStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    let series = store.intern(&labels("up", 1)).unwrap();
    let now = now_ms();
    assert_eq!(store.append(now, &[(series, 1.0)]).kept, 1);
    assert_eq!(store.append(now, &[(series, 1.0)]).kept, 1);
    assert_eq!(store.append(now, &[(series, 2.0)]).duplicate, 1);
    assert_eq!(store.append(now - 1, &[(series, 2.0)]).out_of_order, 1);
    assert_eq!(store.append(now + 700_000, &[(series, 2.0)]).too_new, 1);
    assert_eq!(store.append(now + 500_000, &[(series, STALE)]).kept, 1);
    assert_eq!(everything(&store)[0].samples.len(), 2);
    for reason in ["duplicate", "out_of_order", "too_new"] {
        let name = format!("bowline_series_samples_dropped_total{{reason=\"{reason}\"}}");
        assert_eq!(counted(&metrics, &name), 1, "{reason}");
    }
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_says_so_and_lets_the_folder_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let other = store.clone();
    let series = store.intern(&labels("up", 1)).unwrap();
    store.append(now_ms(), &[(series, 1.0)]);
    assert!(matches!(SeriesStore::open(settings(dir.path())), Err(bowline_observe::series::Error::Locked { .. })));
    store.close().await;
    assert_eq!(other.append(now_ms() + 1, &[(series, 1.0)]).refused, 1);
    assert!(matches!(other.flush().await, Err(bowline_observe::series::Error::Closed)));
    assert!(other.select(&[], 0, i64::MAX, 10).is_err());
    let store = open(dir.path());
    assert_eq!(everything(&store).len(), 1);
    drop(store);
    // Dropped, it closes in its own time.
    loop {
        match SeriesStore::open(settings(dir.path())) {
            Ok(_) => return,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
