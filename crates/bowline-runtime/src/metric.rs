//! Metric cells: counters, gauges and histograms that cost one atomic addition, and their text.
//!
//! A [`Registry`] is handed to whoever has something to count; it renders the Prometheus text
//! format. Cells are cheap to clone and are looked up once, not on the hot path.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::task;

/// The most label sets one metric keeps; further ones share the cell labelled `overflow="true"`.
pub const SERIES_MAX: usize = 2000;

/// Upper bounds of the buckets of a duration histogram, in seconds.
pub const DURATION_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0];

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<Padded<AtomicU64>>);

/// A number that only grows, for what several threads count all the time: each of the first threads that count has a
/// cell of its own in it, so that counting takes no atomic addition; all further ones share one.
///
/// It takes 2 KiB.
#[derive(Debug, Clone, Default)]
pub struct Striped(Arc<[Padded<AtomicU64>; STRIPES]>);

/// The cells of a [`Striped`] counter.
const STRIPES: usize = 16;

/// The cell of all threads that have none of their own.
const SHARED: usize = STRIPES - 1;

/// A number that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<Padded<AtomicI64>>);

/// Durations, counted in [`DURATION_BUCKETS`].
#[derive(Debug, Clone, Default)]
pub struct Histogram(Arc<Padded<HistogramCells>>);

/// On a cache line of its own, so that cores do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

#[derive(Debug, Default)]
struct HistogramCells {
    buckets: [AtomicU64; DURATION_BUCKETS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Counter {
    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds so many.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.0.fetch_add(count, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.0.load(Relaxed)
    }
}

impl Striped {
    /// Adds one, and answers how many this thread's cell had before: good for taking every n-th.
    #[inline]
    pub fn increment(&self) -> u64 {
        let stripe = stripe();
        let cell = &self.0[stripe].0;
        if stripe == SHARED {
            return cell.fetch_add(1, Relaxed);
        }
        // No other thread writes to it.
        let before = cell.load(Relaxed);
        cell.store(before.wrapping_add(1), Relaxed);
        before
    }

    /// The number now; while it is counted on, of some moment in between.
    pub fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum, cell| sum.wrapping_add(cell.0.load(Relaxed)))
    }
}

/// The cell of this thread, no other's but [`SHARED`].
#[inline]
fn stripe() -> usize {
    task::thread_number().min(SHARED)
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.0.store(value, Relaxed);
    }

    /// Adds so many, or takes them away.
    #[inline]
    pub fn add(&self, value: i64) {
        self.0.0.fetch_add(value, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.0.load(Relaxed)
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = DURATION_BUCKETS.partition_point(|bound| *bound < seconds);
        self.0.0.buckets[at].fetch_add(1, Relaxed);
        self.0.0.sum_nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.0.buckets.iter().map(|cell| cell.load(Relaxed)).sum()
    }
}

#[derive(Debug, Clone)]
enum Cell {
    Counter(Counter),
    Striped(Striped),
    Gauge(Gauge),
    Histogram(Histogram),
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    series: BTreeMap<String, Cell>,
}

/// The metrics of one process, or of one test. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    families: Arc<Mutex<BTreeMap<&'static str, Family>>>,
    /// Labels of all that is counted through this handle, as text; mostly none.
    labels: Arc<str>,
}

/// Label names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Registry {
    /// The same metrics through a handle that adds a label to whatever is looked up by it.
    #[must_use]
    pub fn with_label(&self, name: &str, value: &str) -> Self {
        let labels = joined(&self.labels, &render_labels(&[(name, value)]));
        Self { families: Arc::clone(&self.families), labels: labels.into() }
    }

    /// The counter of that name and labels; names end in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Counter {
        match self.cell(name, help, labels, || Cell::Counter(Counter::default())) {
            Cell::Counter(cell) => cell,
            Cell::Striped(_) | Cell::Gauge(_) | Cell::Histogram(_) => panic!("{name} is not a counter"),
        }
    }

    /// The striped counter of that name and labels; names end in `_total`, and to readers it is a counter.
    pub fn striped(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Striped {
        match self.cell(name, help, labels, || Cell::Striped(Striped::default())) {
            Cell::Striped(cell) => cell,
            Cell::Counter(_) | Cell::Gauge(_) | Cell::Histogram(_) => panic!("{name} is not a striped counter"),
        }
    }

    /// Shows a striped counter under a further name and labels, unless something is shown there already.
    pub fn also_striped(&self, name: &'static str, help: &'static str, labels: Labels<'_>, cell: &Striped) {
        self.cell(name, help, labels, || Cell::Striped(cell.clone()));
    }

    /// The gauge of that name and labels.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Gauge {
        match self.cell(name, help, labels, || Cell::Gauge(Gauge::default())) {
            Cell::Gauge(cell) => cell,
            Cell::Counter(_) | Cell::Striped(_) | Cell::Histogram(_) => panic!("{name} is not a gauge"),
        }
    }

    /// The histogram of that name and labels; names end in `_seconds`.
    pub fn histogram(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Histogram {
        match self.cell(name, help, labels, || Cell::Histogram(Histogram::default())) {
            Cell::Histogram(cell) => cell,
            Cell::Counter(_) | Cell::Striped(_) | Cell::Gauge(_) => panic!("{name} is not a histogram"),
        }
    }

    /// Forgets the counter of that name and labels, unless somebody holds it still.
    pub fn forget_counter(&self, name: &'static str, labels: Labels<'_>) {
        self.forget(name, labels, |cell| matches!(cell, Cell::Counter(Counter(cell)) if Arc::strong_count(cell) == 1));
    }

    /// Forgets the gauge of that name and labels, unless somebody holds it still: its series ends.
    pub fn forget_gauge(&self, name: &'static str, labels: Labels<'_>) {
        self.forget(name, labels, |cell| matches!(cell, Cell::Gauge(Gauge(cell)) if Arc::strong_count(cell) == 1));
    }

    fn forget(&self, name: &'static str, labels: Labels<'_>, is_forgotten: impl FnOnce(&Cell) -> bool) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(family) = families.get_mut(name) else { return };
        let key = joined(&render_labels(labels), &self.labels);
        if family.series.get(&key).is_some_and(is_forgotten) {
            family.series.remove(&key);
        }
    }

    fn cell(&self, name: &'static str, help: &'static str, labels: Labels<'_>, make: impl FnOnce() -> Cell) -> Cell {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name).or_insert_with(|| Family { help, series: BTreeMap::new() });
        let mut key = joined(&render_labels(labels), &self.labels);
        if family.series.len() >= SERIES_MAX && !family.series.contains_key(&key) {
            key = render_labels(&[("overflow", "true")]);
        }
        family.series.entry(key).or_insert_with(make).clone()
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, family) in families.iter() {
            let kind = match family.series.values().next() {
                Some(Cell::Counter(_) | Cell::Striped(_)) | None => "counter",
                Some(Cell::Gauge(_)) => "gauge",
                Some(Cell::Histogram(_)) => "histogram",
            };
            let head = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
            head.expect("a String takes everything");
            for (labels, cell) in &family.series {
                render_cell(&mut text, name, labels, cell).expect("a String takes everything");
            }
        }
        text
    }
}

fn render_cell(text: &mut String, name: &str, labels: &str, cell: &Cell) -> fmt::Result {
    let braced = |labels: &str| if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    match cell {
        Cell::Counter(cell) => writeln!(text, "{name}{} {}", braced(labels), cell.get()),
        Cell::Striped(cell) => writeln!(text, "{name}{} {}", braced(labels), cell.get()),
        Cell::Gauge(cell) => writeln!(text, "{name}{} {}", braced(labels), cell.get()),
        Cell::Histogram(cell) => {
            let comma = if labels.is_empty() { "" } else { "," };
            let mut count = 0;
            for (at, bucket) in cell.0.0.buckets.iter().enumerate() {
                count += bucket.load(Relaxed);
                let bound = DURATION_BUCKETS.get(at).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
                writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}")?;
            }
            let sum = Duration::from_nanos(cell.0.0.sum_nanos.load(Relaxed)).as_secs_f64();
            writeln!(text, "{name}_sum{} {sum}\n{name}_count{} {count}", braced(labels), braced(labels))
        }
    }
}

/// Labels as text, those of both.
fn joined(labels: &str, others: &str) -> String {
    let comma = if labels.is_empty() || others.is_empty() { "" } else { "," };
    format!("{labels}{comma}{others}")
}

fn render_labels(labels: Labels<'_>) -> String {
    let escape = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus_text() {
        let registry = Registry::default();
        registry.counter("a_total", "Counts.", &[("k", "v\"1")]).add(2);
        registry.gauge("b", "Level.", &[]).set(-1);
        registry.histogram("c_seconds", "Times.", &[]).record(Duration::from_millis(3));
        let text = registry.render();
        assert!(text.contains("# TYPE a_total counter\na_total{k=\"v\\\"1\"} 2\n"), "{text}");
        assert!(text.contains("b -1\n"));
        assert!(text.contains("c_seconds_bucket{le=\"0.0025\"} 0\nc_seconds_bucket{le=\"0.005\"} 1\n"));
        assert!(text.contains("c_seconds_bucket{le=\"+Inf\"} 1\nc_seconds_sum 0.003\nc_seconds_count 1\n"));
    }

    #[test]
    fn a_handle_adds_its_label_and_counts_in_the_same_place() {
        let registry = Registry::default();
        let labelled = registry.with_label("version", "v2");
        labelled.counter("a_total", "Counts.", &[("k", "1")]).increment();
        labelled.counter("b_total", "Counts.", &[]).increment();
        registry.counter("a_total", "Counts.", &[("k", "1")]).add(2);
        let text = registry.render();
        assert!(text.contains("a_total{k=\"1\"} 2\na_total{k=\"1\",version=\"v2\"} 1\n"), "{text}");
        assert!(text.contains("b_total{version=\"v2\"} 1\n"), "{text}");
    }

    #[test]
    fn a_striped_counter_counts_over_threads_and_is_shown_as_a_counter() {
        let registry = Registry::default();
        let striped = registry.striped("a_total", "Counts.", &[("k", "1")]);
        registry.also_striped("b_total", "Counts too.", &[], &striped);
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| (0..1000).for_each(|_| _ = striped.increment()));
            }
        });
        assert_eq!(striped.get(), 32_000);
        let text = registry.render();
        assert!(text.contains("# TYPE a_total counter\na_total{k=\"1\"} 32000\n"), "{text}");
        assert!(text.contains("# TYPE b_total counter\nb_total 32000\n"), "{text}");
    }

    #[test]
    fn what_nobody_holds_can_be_forgotten() {
        let registry = Registry::default();
        let labels: Labels<'_> = &[("k", "1")];
        let held = registry.with_label("of", "x").counter("a_total", "Counts.", labels);
        held.increment();
        registry.counter("a_total", "Counts.", labels).increment();
        registry.forget_counter("a_total", labels);
        registry.with_label("of", "x").forget_counter("a_total", labels);
        registry.forget_counter("b_total", labels);
        let text = registry.render();
        assert!(text.contains("a_total{k=\"1\",of=\"x\"} 1\n") && !text.contains("a_total{k=\"1\"}"), "{text}");
        drop(held);
        registry.with_label("of", "x").forget_counter("a_total", labels);
        assert!(!registry.render().contains("a_total{"));
    }

    #[test]
    fn so_can_a_gauge() {
        let registry = Registry::default();
        let labels: Labels<'_> = &[("k", "1")];
        let held = registry.gauge("a", "Level.", labels);
        held.set(1);
        registry.forget_gauge("a", labels);
        registry.forget_counter("a", labels);
        assert!(registry.render().contains("a{k=\"1\"} 1\n"));
        drop(held);
        registry.forget_gauge("a", labels);
        assert!(!registry.render().contains("a{"));
    }

    #[test]
    fn label_sets_are_bounded() {
        let registry = Registry::default();
        for i in 0..SERIES_MAX + 10 {
            registry.counter("a_total", "Counts.", &[("i", &i.to_string())]).increment();
        }
        let text = registry.render();
        assert!(text.lines().count() <= SERIES_MAX + 4);
        assert!(text.contains("a_total{overflow=\"true\"} 10"));
    }
}
