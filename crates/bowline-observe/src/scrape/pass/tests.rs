//! Pages of one target over time.

use bowline_runtime::metric::Registry;

use super::*;
use crate::scrape::{exposition::Format, fakes::Memory};

/// A book that is fed by a test.
struct Bench {
    sink: Memory,
    registry: Registry,
    metrics: Metrics,
    book: Book,
    at_ms: i64,
}

impl Bench {
    fn new() -> Self {
        let registry = Registry::default();
        let labels = Labels::new([("job", "j"), ("instance", "i")]);
        let (metrics, book) = (Metrics::new(&registry), Book::new(labels, Arc::default()));
        Self { sink: Memory::default(), registry, metrics, book, at_ms: 0 }
    }

    fn take(&mut self, body: &'static str) -> (Tally, Result<(), PageError>) {
        let outlet = Outlet { sink: &self.sink, metrics: &self.metrics, samples_max: 5 };
        self.at_ms += 1000;
        self.book.take(&Page { format: Format::Text, body: body.into() }, self.at_ms, outlet)
    }

    fn good(&mut self, body: &'static str) -> Tally {
        let (tally, taken) = self.take(body);
        taken.unwrap();
        tally
    }

    fn values(&self, name: &str) -> Vec<String> {
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let comma = if labels == "}" { "" } else { ", " };
        // Labels are sorted: those of the tests stand before `instance`.
        let labels = labels.trim_end_matches('}');
        self.sink.values(&format!("{name}{{{labels}{comma}instance=\"i\", job=\"j\"}}"))
    }

    fn counted(&self, series: &str) -> String {
        let page = self.registry.render();
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap_or("none").to_owned()
    }
}

#[test]
fn an_unchanged_page_is_interned_once_and_a_vanished_series_ends() {
    let mut bench = Bench::new();
    assert_eq!(bench.good("a 1\nb{c=\"d\"} 2\n# TYPE e gauge\ne 3\n").added, 3);
    let interned = bench.sink.interned();
    assert_eq!(bench.good("a 2\nb{c=\"d\"} 3\n# TYPE e gauge\ne 4\n"), Tally { scraped: 3, ..Tally::default() });
    // In another order, and with one less.
    assert_eq!(bench.good("e 5\na 3\n").added, 0);
    assert_eq!(bench.sink.interned(), interned);
    assert_eq!(bench.values("a"), ["1", "2", "3"]);
    assert_eq!(bench.values("b{c=\"d\"}"), ["2", "3", "stale"]);
    assert_eq!(bench.values("e"), ["3", "4", "5"]);
    // It comes again, as new.
    assert_eq!(bench.good("e 6\na 4\nb{c=\"d\"} 7\n").added, 1);
    assert_eq!(bench.values("b{c=\"d\"}"), ["2", "3", "stale", "7"]);
}

#[test]
fn what_the_target_says_of_itself_is_kept_as_exported() {
    let mut bench = Bench::new();
    bench.good("a{job=\"x\",instance=\"\",exported_job=\"y\"} 1\n");
    let expect = "a{exported_exported_job=\"x\", exported_job=\"y\", instance=\"i\", job=\"j\"}";
    assert_eq!(bench.sink.series(), [expect]);
}

#[test]
fn a_page_that_is_refused_ends_all_and_leaves_nothing() {
    let mut bench = Bench::new();
    bench.good("a 1\nb 1\n");
    let (tally, taken) = bench.take("a 2\nnew 1\nb one\n");
    assert_eq!(tally.scraped, 2);
    assert_eq!(chained(taken.unwrap_err()), "the page cannot be read: line 3 is malformed: the value is not a number");
    assert_eq!(bench.values("a"), ["1", "stale"]);
    assert_eq!(bench.sink.series().len(), 2, "nothing of it is interned");
    // That was told already.
    assert!(bench.take("a 3\nb 1\n\"").1.is_err());
    assert_eq!(bench.values("b"), ["1", "stale"]);
    // The same series go on, which are known.
    assert_eq!(bench.good("a 3\n").added, 0);
    assert_eq!(bench.values("a"), ["1", "stale", "3"]);
    let (tally, taken) = bench.take("a 4\nb 1\nc 1\nd 1\ne 1\nf 1\ng 1\n");
    assert_eq!((tally.scraped, taken), (7, Err(PageError::SampleLimit { samples_max: 5 })));
    assert_eq!(bench.values("a"), ["1", "stale", "3", "stale"]);
}

fn chained(error: PageError) -> String {
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

#[test]
fn of_a_series_that_comes_twice_the_first_counts() {
    let mut bench = Bench::new();
    assert_eq!(bench.good("a 1\na 2\nb 1\n").duplicate, 1);
    assert_eq!(bench.good("a 3\na 4\nb 1\n").duplicate, 1);
    assert_eq!(bench.values("a"), ["1", "3"]);
    assert_eq!(bench.counted("bowline_scrape_samples_dropped_total{reason=\"duplicate\"}"), "2");
}

#[test]
fn times_of_the_target_are_kept_and_need_no_end() {
    let mut bench = Bench::new();
    bench.good("a 1 500\na 2 300\nb 1\nfar 1 99999999\n");
    bench.good("b 1\n");
    let of = |name: &str| bench.sink.samples(&format!("{name}{{instance=\"i\", job=\"j\"}}"));
    assert_eq!(of("a"), [(300, "2".to_owned()), (500, "1".to_owned())]);
    assert_eq!(of("b"), [(1000, "1".to_owned()), (2000, "1".to_owned())]);
    assert!(of("far").is_empty());
    assert_eq!(bench.counted("bowline_scrape_samples_dropped_total{reason=\"future\"}"), "1");
}

#[test]
fn what_the_sink_does_not_take_is_counted_and_tried_again() {
    let mut bench = Bench::new();
    bench.sink.limit(1);
    assert_eq!(bench.good("a 1\nb 2\n").refused, 1);
    bench.sink.limit(9);
    assert_eq!(bench.good("a 1\nb 3\n").refused, 0);
    assert_eq!(bench.values("b"), ["3"]);
    assert_eq!(bench.counted("bowline_scrape_samples_dropped_total{reason=\"series_refused\"}"), "1");
}

#[test]
fn what_the_sink_has_forgotten_is_interned_again() {
    let mut bench = Bench::new();
    bench.good("a 1\nb 2\n");
    bench.sink.forget();
    bench.good("a 2\nb 3\n");
    assert_eq!((bench.values("a"), bench.values("b").len()), (vec!["1".to_owned(), "2".to_owned()], 2));
    assert_eq!(bench.counted("bowline_scrape_samples_dropped_total{reason=\"unknown_series\"}"), "0");
}

#[test]
fn reports_are_series_too_and_end_with_the_target() {
    let mut bench = Bench::new();
    let tally = bench.good("a 1\na 1\n");
    let outlet = Outlet { sink: &bench.sink, metrics: &bench.metrics, samples_max: 5 };
    bench.book.report(1000, true, Duration::from_millis(250), tally, outlet);
    bench.sink.forget();
    bench.book.report(2000, false, Duration::from_secs(1), Tally::default(), outlet);
    bench.book.end(3000, outlet);
    bench.book.end(4000, outlet);
    assert_eq!(bench.values("up"), ["1", "0", "stale"]);
    assert_eq!(bench.values("scrape_duration_seconds"), ["0.25", "1", "stale"]);
    assert_eq!(bench.values("scrape_samples_scraped"), ["2", "0", "stale"]);
    assert_eq!(bench.values("scrape_samples_post_metric_relabeling"), ["1", "0", "stale"]);
    assert_eq!(bench.values("scrape_series_added"), ["1", "0", "stale"]);
}

#[test]
fn descriptions_are_kept() {
    let mut bench = Bench::new();
    bench.good("# HELP a Of\\nlines.\n# TYPE a counter\na 1\n# TYPE b gauge\n");
    let mut all = std::collections::BTreeMap::new();
    bench.book.descriptions.join(&mut all);
    assert_eq!(
        (all["a"].help.as_str(), all["a"].kind.as_str(), all["b"].kind.as_str()),
        ("Of\nlines.", "counter", "gauge")
    );
}
