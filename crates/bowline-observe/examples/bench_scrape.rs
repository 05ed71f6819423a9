//! Measures what a scrape costs besides its connection: reading a page, warm and cold, on one core.
//!
//! Prints one JSON object: samples a second of an unchanged page, of one whose series are all new, and of the parser
//! alone, which reads every label.

#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench prints and fails")]

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bowline_observe::{
    labels::Labels,
    scrape::{
        Collector, Fetch, FetchError, MetricsCollector as _, Page, Settings, Sink, SinkError, Target,
        exposition::{Entry, Exposition, Format, parse_labels},
    },
    source::{Appended, SeriesRef},
};
use bowline_runtime::{
    BoxFuture,
    time::{self, Duration},
};
use tokio::sync::watch;

/// Samples of a page.
const SAMPLES: usize = 50_000;
/// How often it is scraped warm.
const ROUNDS: usize = 40;

/// Gives each series a number, and forgets its samples.
#[derive(Debug, Default)]
struct Nowhere(AtomicU64);

impl Sink for Nowhere {
    fn intern(&self, _: &Labels) -> Result<SeriesRef, SinkError> {
        Ok(SeriesRef(self.0.fetch_add(1, Ordering::Relaxed)))
    }

    fn append(&self, _: i64, samples: &[(SeriesRef, f64)]) -> Appended {
        Appended { kept: samples.len(), ..Appended::default() }
    }
}

/// Answers with the same page.
#[derive(Debug)]
struct Same(Page);

impl Fetch for Same {
    fn fetch<'a>(&'a self, _: &'a Target, _: Duration) -> BoxFuture<'a, Result<Page, FetchError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

fn page() -> Page {
    let mut text =
        String::from("# HELP bowline_request_duration_seconds Times.\n# TYPE bowline_requests_total counter\n");
    for at in 0..SAMPLES {
        let (route, code, le) = (at / 100, 200 + at % 5, (at / 5) % 20);
        writeln!(
            text,
            "bowline_request_duration_seconds_bucket{{reporter=\"server\",service=\"payment\",route=\"route-{route}\",\
             code=\"{code}\",le=\"0.{le:02}\"}} {}",
            at * 37
        )
        .unwrap();
    }
    Page { format: Format::Text, body: text.into() }
}

fn parse(page: &Page) -> usize {
    let mut lines = Exposition::new(page.format, &page.body).unwrap();
    let mut bytes = 0;
    while let Some(entry) = lines.next_entry().unwrap() {
        if let Entry::Sample { series, .. } = entry {
            bytes += parse_labels(series, |name, value| bytes += name.len() + value.len()).unwrap().len();
        }
    }
    bytes
}

fn per_second(samples: usize, took: Duration) -> u64 {
    let rate = samples as f64 / took.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is small and positive")]
    let rate = rate as u64;
    rate
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let page = page();
    let begun = time::now();
    let mut read = 0;
    for _ in 0..ROUNDS / 4 {
        read += std::hint::black_box(parse(&page)).min(1) * SAMPLES;
    }
    let parser = per_second(read, begun.elapsed());
    let (_list, list) = watch::channel(Arc::from([Target::process("bench", "1")]));
    let settings = Settings { interval: Duration::from_hours(1), ..Settings::default() };
    let fetch = Arc::new(Same(page.clone()));
    let collector = Collector::start(settings, &list, fetch, Arc::<Nowhere>::default());
    let begun = time::now();
    collector.collect().await.unwrap();
    let cold = per_second(SAMPLES, begun.elapsed());
    let begun = time::now();
    for _ in 0..ROUNDS {
        assert_eq!(collector.collect().await.unwrap().samples, SAMPLES);
    }
    let warm = per_second(SAMPLES * ROUNDS, begun.elapsed());
    let bytes = page.body.len();
    println!(
        "{{\"samples\":{SAMPLES},\"page_bytes\":{bytes},\"warm_per_second\":{warm},\"cold_per_second\":{cold},\"parser_per_second\":{parser}}}"
    );
}
