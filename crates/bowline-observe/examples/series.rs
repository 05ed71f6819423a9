//! Measures the series store on this machine: a scrape pattern in, a range out, a restart.
//!
//! Arguments: series (10 000), scrapes of each (1440, two hours of them every 5 s), and a folder, where the
//! store is to stay: as `metrics` in it, beside the same samples as `samples.om`, which is `OpenMetrics`.
//! Prints JSON.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement fails loudly and prints what it found")]

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
};

use bowline_observe::{
    labels::{Labels, Matcher},
    series::{SeriesStore, Settings},
    source::{SeriesRef, Source as _},
};
use bowline_runtime::{
    rand, task,
    time::{self, Instant},
};

/// How many series one target has.
const TARGET_SERIES: usize = 500;
const INTERVAL_MS: i64 = 5000;
/// How many series the range has at most.
const RANGE_SERIES: usize = 1000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (series, scrapes): (usize, usize) = (next(10_000), next(1440));
    let folder = arguments.next().map(PathBuf::from);
    task::shared_runtime(2).unwrap().block_on(measure(series.div_ceil(TARGET_SERIES), scrapes, folder));
}

async fn measure(targets: usize, scrapes: usize, folder: Option<PathBuf>) {
    rand::seed(1);
    let temporary = tempfile::tempdir().unwrap();
    let dir = folder.as_ref().map_or_else(|| temporary.path().to_owned(), |folder| folder.join("metrics"));
    let mut text = folder.map(|folder| Text::new(&folder));
    let store = SeriesStore::open(Settings::new(&dir)).unwrap();
    let mut targets: Vec<_> = (0..targets).map(|number| Target::new(&store, number)).collect();
    // Whole intervals: phases keep samples off the borders of ranges that begin at whole seconds.
    let now_ms = i64::try_from(time::unix_millis_now()).unwrap() / INTERVAL_MS * INTERVAL_MS;
    let from_ms = now_ms - i64::try_from(scrapes).unwrap() * INTERVAL_MS;
    let (mut appending, mut writing) = (time::Duration::ZERO, time::Duration::ZERO);
    let begun = time::now();
    for scrape in 0..scrapes {
        for target in &mut targets {
            let at_ms = target.scrape(from_ms + i64::try_from(scrape).unwrap() * INTERVAL_MS);
            appending += append(&store, at_ms, &target.samples).await;
            if let Some(text) = &mut text {
                writing += text.write(at_ms, target);
            }
        }
    }
    store.flush().await.unwrap();
    let elapsed = begun.elapsed().saturating_sub(writing);
    if let Some(text) = text {
        text.finish();
    }
    let samples = count(targets.len() * TARGET_SERIES * scrapes);
    let head_bytes = store.bytes_on_disk();
    let (range_seconds, range_samples) = range(&store, from_ms, now_ms);
    let (hour_seconds, hour_samples) = range(&store, now_ms - 3_600_000, now_ms);
    store.close().await;
    let begun = time::now();
    let store = SeriesStore::open(Settings::new(&dir)).unwrap();
    let restart = begun.elapsed().as_secs_f64();
    let (cold_seconds, cold_samples) = range(&store, from_ms, now_ms);
    assert_eq!(cold_samples, range_samples, "a restart changes nothing");
    println!(
        "{{\"series\":{},\"from_ms\":{from_ms},\"to_ms\":{now_ms},\"samples\":{samples},\"samples_per_second_appending\":{:.0},\"samples_per_second\":{:.0},\
         \"bytes_on_disk\":{head_bytes},\"bytes_per_sample\":{:.3},\
         \"range_samples\":{range_samples},\"range_seconds\":{range_seconds:.4},\"range_cold_seconds\":{cold_seconds:.4},\
         \"hour_samples\":{hour_samples},\"hour_seconds\":{hour_seconds:.4},\"restart_seconds\":{restart:.3}}}",
        targets.len() * TARGET_SERIES,
        samples / appending.as_secs_f64(),
        samples / elapsed.as_secs_f64(),
        count(usize::try_from(head_bytes).unwrap()) / samples,
    );
    store.close().await;
}

/// Appends, and lets the writer do its work when it says that too much waits.
async fn append(store: &SeriesStore, at_ms: i64, samples: &[(SeriesRef, f64)]) -> time::Duration {
    let begun: Instant = time::now();
    let mut appended = store.append(at_ms, samples);
    let took = begun.elapsed();
    while appended.refused > 0 {
        store.flush().await.unwrap();
        appended = store.append(at_ms, samples);
    }
    assert_eq!(appended.kept, samples.len());
    took
}

fn range(store: &SeriesStore, from_ms: i64, to_ms: i64) -> (f64, usize) {
    let targets = (0..RANGE_SERIES / TARGET_SERIES).map(|number| number.to_string()).collect::<Vec<_>>().join("|");
    let matchers = [Matcher::regex("instance", &format!("service-({targets})")).unwrap()];
    let begun = time::now();
    let series = store.select(&matchers, from_ms, to_ms, 50_000_000).unwrap();
    (begun.elapsed().as_secs_f64(), series.iter().map(|series| series.samples.len()).sum())
}

#[expect(clippy::cast_precision_loss, reason = "is printed with three digits")]
fn count(count: usize) -> f64 {
    count as f64
}

/// The same samples for others to read.
struct Text(BufWriter<File>);

impl Text {
    fn new(folder: &std::path::Path) -> Self {
        Self(BufWriter::with_capacity(1 << 20, File::create(folder.join("samples.om")).unwrap()))
    }

    fn write(&mut self, at_ms: i64, target: &Target) -> time::Duration {
        let begun = time::now();
        let (seconds, millis) = (at_ms / 1000, at_ms % 1000);
        for ((_, value), labels) in target.samples.iter().zip(&target.labels) {
            // Readers multiply seconds by 1000 and cut: half a millisecond keeps them from the one before.
            writeln!(self.0, "{labels} {value} {seconds}.{millis:03}5").unwrap();
        }
        begun.elapsed()
    }

    fn finish(mut self) {
        self.0.write_all(b"# EOF\n").unwrap();
        self.0.flush().unwrap();
    }
}

/// What is scraped: mostly histograms that hardly move, some counters and gauges.
struct Target {
    phase_ms: i64,
    samples: Vec<(SeriesRef, f64)>,
    kinds: Vec<Kind>,
    /// As `OpenMetrics` writes them, with the name.
    labels: Vec<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Never changes.
    Constant,
    /// Grows by a few, now and then.
    Rare,
    /// Grows by about so many at each scrape.
    Counter(usize),
    /// A sum of seconds, counted in microseconds.
    Seconds,
    /// Goes up and down in whole numbers.
    Gauge,
    /// Anything, with all its digits.
    Float,
}

impl Target {
    fn new(store: &SeriesStore, number: usize) -> Self {
        let phase_ms = 5 + i64::try_from(rand::below(4990)).unwrap();
        let mut target = Self { phase_ms, samples: Vec::new(), kinds: Vec::new(), labels: Vec::new() };
        for at in 0..TARGET_SERIES {
            // Of twenty series one is a float, one a sum, two are gauges; half of the rest stands still.
            let (name, kind) = match at % 20 {
                0 => ("process_cpu_load", Kind::Float),
                1 => ("shop_request_duration_seconds_sum", Kind::Seconds),
                2 | 3 => ("process_open_connections", Kind::Gauge),
                4..=7 => ("shop_requests_total", Kind::Counter(50 * (at % 7 + 1))),
                8..=11 => ("shop_request_duration_seconds_bucket", Kind::Rare),
                _ => ("shop_request_duration_seconds_count", Kind::Constant),
            };
            let pairs = [
                ("__name__", name.to_owned()),
                ("instance", format!("service-{number}")),
                ("job", format!("service-{}", number % 10)),
                ("reporter", "server".to_owned()),
                ("route", format!("/v1/things/{}", at % 50)),
                ("code", format!("{}", 200 + at / 50)),
                ("le", format!("0.{at}")),
            ];
            let quoted: Vec<String> = pairs[1..].iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            target.labels.push(format!("{name}{{{}}}", quoted.join(",")));
            // Counters have counted for long.
            let first = if matches!(kind, Kind::Float | Kind::Gauge) { 0 } else { 1_000_000 };
            target.samples.push((store.intern(&Labels::new(pairs)).unwrap(), count(first + rand::below(1000))));
            target.kinds.push(kind);
        }
        target
    }

    /// The next values; gives their time.
    fn scrape(&mut self, at_ms: i64) -> i64 {
        for ((_, value), kind) in self.samples.iter_mut().zip(&self.kinds) {
            match kind {
                Kind::Constant => {}
                Kind::Rare if rand::below(20) > 0 => {}
                Kind::Rare => *value += count(1 + rand::below(3)),
                Kind::Counter(rate) => *value += count(rate - rate / 8 + rand::below(rate / 4 + 1)),
                Kind::Seconds => *value = ((*value * 1e6).round() + count(rand::below(400_000))) / 1e6,
                Kind::Gauge => *value = (*value + count(rand::below(7)) - 3.0).max(0.0),
                Kind::Float => *value = rand::unit(),
            }
        }
        // Timers are late by a millisecond or two.
        at_ms + self.phase_ms + i64::try_from(rand::below(3)).unwrap()
    }
}
