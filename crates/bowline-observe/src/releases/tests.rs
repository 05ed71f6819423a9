//! Figures of releases out of made-up series.

use super::*;
use crate::source::STALE;

/// Series with a sample every 5 s up to now, which is 100 s.
struct Made(Vec<Series>);

impl Source for Made {
    fn select(&self, matchers: &[Matcher], from_ms: i64, to_ms: i64, _: usize) -> Result<Vec<Series>, SourceError> {
        let passing = self.0.iter().filter(|series| matchers.iter().all(|matcher| matcher.is_matching(&series.labels)));
        let within = |series: &Series| Series {
            labels: series.labels.clone(),
            samples: series.samples.iter().copied().filter(|it| (from_ms..=to_ms).contains(&it.at_ms)).collect(),
        };
        Ok(passing.map(within).filter(|series| !series.samples.is_empty()).collect())
    }
}

const NOW_MS: i64 = 100_000;

fn series(name: &str, labels: &[(&str, &str)], values: &[f64]) -> Series {
    let pairs = labels.iter().copied().chain([(NAME, name), ("service", "order")]);
    let count = i64::try_from(values.len()).unwrap();
    let at = |number: usize| NOW_MS - (count - 1 - i64::try_from(number).unwrap()) * 5000;
    let samples =
        values.iter().enumerate().map(|(number, value)| Sample { at_ms: at(number), value: *value }).collect();
    Series { labels: Labels::new(pairs), samples }
}

fn served(version: &str, code: &str, values: &[f64]) -> Series {
    let labels = [("reporter", "server"), ("version", version), ("code", code), ("instance", "order-1")];
    series(names::REQUESTS_TOTAL, &labels, values)
}

fn attempts(reporter: &str, outcome: &str, values: &[f64]) -> Series {
    let labels = [("reporter", reporter), ("callee_version", "v2"), ("outcome", outcome)];
    series(names::ATTEMPTS_TOTAL, &labels, values)
}

/// The figures of v2 within the last 30 s: requests and the share that failed.
#[track_caller]
fn check(all: Vec<Series>, requests: f64, failed: f64) {
    let figures = ask(all, &[]);
    assert!((figures.requests - requests).abs() < 1e-9, "{figures:?}");
    assert!((figures.error_ratio * requests.max(1.0) - failed).abs() < 1e-9, "{figures:?}");
}

fn ask(all: Vec<Series>, quantiles: &[Quantile]) -> Figures {
    let service = ServiceName::new("order").unwrap();
    let window = Duration::from_secs(30);
    figures(&Made(all), Asked { service: &service, version: "v2", window, quantiles }, NOW_MS).unwrap()
}

#[test]
fn only_the_release_counts_and_only_the_window() {
    let old = served("v1", "500", &[0.0, 100.0]);
    check(vec![old.clone()], 0.0, 0.0);
    let long: Vec<f64> = (0..20).map(|at| f64::from(at) * 10.0).collect();
    check(vec![old, served("v2", "200", &long)], 60.0, 0.0);
}

#[test]
fn the_first_failure_of_a_release_counts() {
    check(vec![served("v2", "200", &[3.0, 4.0]), served("v2", "500", &[1.0])], 5.0, 1.0);
    // It was known before the window, so what it had is not new.
    let known = [&[7.0; 10][..], &[8.0]].concat();
    check(vec![served("v2", "503", &known)], 1.0, 1.0);
}

#[test]
fn a_counter_that_fell_began_anew_and_an_end_is_no_number() {
    check(vec![served("v2", "200", &[5.0, 9.0, STALE, 2.0, 3.0])], 12.0, 0.0);
}

#[test]
fn who_gives_no_answer_has_failed() {
    let all = vec![
        served("v2", "200", &[8.0]),
        attempts("gateway", "ok", &[8.0]),
        attempts("gateway", "timeout", &[1.0]),
        attempts("client", "reset", &[1.0]),
        attempts("client", "caller", &[5.0]),
    ];
    check(all, 10.0, 2.0);
}

#[test]
fn what_a_sidecar_answers_for_its_instance_has_failed_once() {
    let meshed = vec![served("v2", "200", &[8.0]), served("v2", "503", &[2.0]), attempts("client", "ok", &[8.0])];
    let with = |more: Vec<Series>| [meshed.clone(), more].concat();
    check(with(vec![attempts("client", "connect", &[2.0])]), 10.0, 2.0);
    // Whoever else called without being counted hides nothing that nobody served.
    check(with(vec![attempts("client", "server_error", &[2.0]), attempts("client", "timeout", &[3.0])]), 13.0, 5.0);
    check(with(vec![attempts("client", "connect", &[5.0])]), 13.0, 5.0);
}

/// What is asked of a source, from when to when.
#[derive(Default)]
struct Asking(std::sync::Mutex<Vec<(i64, i64)>>);

impl Source for Asking {
    fn select(&self, _: &[Matcher], from_ms: i64, to_ms: i64, _: usize) -> Result<Vec<Series>, SourceError> {
        self.0.lock().unwrap().push((from_ms, to_ms));
        Ok(Vec::new())
    }
}

#[test]
fn a_window_ends_a_day_back_and_is_read_hour_by_hour() {
    let (source, service) = (Asking::default(), ServiceName::new("order").unwrap());
    let asked = Asked { service: &service, version: "v2", window: Duration::from_hours(48), quantiles: &[] };
    figures(&source, asked, NOW_MS).unwrap();
    let hour = millis(Duration::from_hours(1));
    let each = |hours: i64| (NOW_MS - hours * hour, NOW_MS - (hours - 1) * hour);
    let mut expect: Vec<_> = (1..=24).rev().map(each).collect();
    for (from_ms, _) in &mut expect[1..] {
        *from_ms += 1;
    }
    expect[0].0 -= millis(LOOKBACK);
    assert_eq!(*source.0.lock().unwrap(), [expect.clone(), expect].concat());
}

#[test]
fn a_counter_counts_once_over_many_hours() {
    // One more every 5 s, for two hours and a half; what it had before is not new.
    let long: Vec<f64> = (0..1801).map(f64::from).collect();
    let (service, all) = (ServiceName::new("order").unwrap(), Made(vec![served("v2", "200", &long)]));
    let asked = |window| Asked { service: &service, version: "v2", window, quantiles: &[] };
    for (minutes, expect) in [(90, 1080.0), (120, 1440.0), (1440, 1800.0)] {
        let found = figures(&all, asked(Duration::from_mins(minutes)), NOW_MS).unwrap().requests;
        assert!((found - expect).abs() < 1e-9, "{minutes}: {found}");
    }
}

#[test]
fn callers_stand_for_instances_that_report_nothing() {
    let all = vec![attempts("gateway", "ok", &[6.0]), attempts("gateway", "server_error", &[2.0])];
    check(all, 8.0, 2.0);
}

#[test]
fn quantiles_lie_within_their_bucket() {
    let bucket = |le: &str, count: f64| {
        let labels = [("reporter", "server"), ("version", "v2"), ("code", "200"), ("le", le)];
        series("bowline_request_duration_seconds_bucket", &labels, &[count])
    };
    let mut all = vec![served("v2", "200", &[100.0]), bucket("0.1", 50.0), bucket("0.5", 90.0), bucket("+Inf", 100.0)];
    let asked = [Quantile::P50, Quantile::P90, Quantile::P99];
    let times = ask(all.clone(), &asked).quantiles;
    let expect = [(Quantile::P50, 100), (Quantile::P90, 500), (Quantile::P99, 500)];
    assert_eq!(times, expect.map(|(quantile, millis)| (quantile, Duration::from_millis(millis))));
    all.truncate(1);
    assert_eq!(ask(all, &asked).quantiles, [], "nothing is known of them");
}
