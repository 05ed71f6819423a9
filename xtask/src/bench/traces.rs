//! `bench traces`: spans taken in over OTLP, kept and found, beside Rotel, which takes them in and keeps none.
//!
//! A sender on one core, the server on the other. The sender posts requests of about 600 spans over four
//! connections, as fast as they are taken; `bowline up` keeps the spans and reads the service graph off
//! them, Rotel's exporter is the black hole. Rounds alternate.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Context, Row,
    ask::{counted, get},
    build_examples, build_release, example, install,
    mesh::{complete, text},
    proxy::{Pins, READY_MAX, free_addr, median, pinned},
    up::Up,
};
use crate::{
    packages::{FOR_TRACES_BENCH, install_from_pypi},
    process::Process,
};

/// The version that Python 3.11 gets, too.
const PACKAGE: &str = "rotel==0.0.1a15";

/// Pairs of rounds, and how long each half takes.
const ROUNDS: usize = 5;
const ROUNDS_LONG: usize = 15;
const ROUND: Duration = Duration::from_secs(6);
const WARM_UP: Duration = Duration::from_secs(2);

/// After a round, for what goes on behind the answers; and how long what was accepted may take until it is kept.
const SETTLE: Duration = Duration::from_millis(1500);
const KEPT_WITHIN: Duration = Duration::from_secs(15);

/// So much that nothing is deleted while bytes are counted.
const TRACES_MAX: &str = "4GiB";

/// What is searched after each of our rounds.
const SEARCH: &str = "/v1/traces?service=bank&min_duration=25ms";

/// A collector under measurement.
struct Collector {
    name: &'static str,
    process: Process,
    addr: String,
    /// Spans a second of each round, and microseconds of CPU a span.
    rates: Vec<f64>,
    costs: Vec<f64>,
    /// In all rounds: spans accepted, the share of them kept that was least, and requests sent again.
    accepted: u64,
    kept_min: f64,
    again: u64,
}

/// What the sender says.
#[derive(Debug, Deserialize)]
struct Sent {
    accepted: u64,
    again: u64,
    seconds: f64,
}

/// What our store holds.
#[derive(Debug, Default)]
struct Kept {
    spans: f64,
    bytes: f64,
    deleted: f64,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    install(FOR_TRACES_BENCH)?;
    build_release(context, &["bowline-cli"])?;
    build_examples(context, &[("bowline-otlp", "send")])?;
    let rotel = install_from_pypi(&context.workspace.bench_dir().join("rotel"), PACKAGE, "rotel/rotel-agent")?;
    let sender = example(context, "send")?;
    let folder = tempfile::tempdir()?;
    let pins = Pins::new();
    let mut peer = start_peer(&rotel, folder.path(), &pins)?;
    let system = "name = \"empty\"\n";
    let up = Up::start(context, &folder.path().join("ours"), system, &["--traces-max", TRACES_MAX], &pins.proxy)?;
    let Up { process, api, otlp } = up;
    let mut ours = Collector::new("bowline", process, otlp);
    for collector in [&ours, &peer] {
        send(&sender, &collector.addr, WARM_UP, &pins)?;
    }
    thread::sleep(SETTLE);
    let mut searches = Vec::new();
    for round in 0..if context.is_long { ROUNDS_LONG } else { ROUNDS } {
        for is_ours in [round % 2 == 0, round % 2 != 0] {
            if is_ours {
                let before = kept(&api)?;
                ours.measure(&sender, &pins, |accepted| wait_until_kept(&api, before.spans, accepted))?;
                searches.push(search(&api)?);
            } else {
                peer.measure(&sender, &pins, Ok)?;
            }
        }
        println!("round {}: {}, {}", round + 1, ours.told(round), peer.told(round));
    }
    let rows = rows(&ours, &peer, &kept(&api)?, searches);
    for process in [ours.process, peer.process] {
        process.stop()?;
    }
    rows
}

/// Rotel on one core, with nowhere to send spans to.
fn start_peer(program: &Path, folder: &Path, pins: &Pins) -> anyhow::Result<Collector> {
    let [grpc, http] = [free_addr()?.to_string(), free_addr()?.to_string()];
    let mut command = pinned(&pins.proxy, text(program)?);
    command.args(["start", "--exporter", "blackhole", "--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http]);
    let process = Process::start(command.arg("--pid-file").arg(folder.join("rotel.pid")))?;
    let begun = Instant::now();
    while std::net::TcpStream::connect(&http).is_err() {
        ensure!(begun.elapsed() < READY_MAX, "rotel does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(Collector::new("rotel", process, http))
}

impl Collector {
    fn new(name: &'static str, process: Process, addr: String) -> Self {
        Self { name, process, addr, rates: Vec::new(), costs: Vec::new(), accepted: 0, kept_min: 1.0, again: 0 }
    }

    /// One round; of the spans that were accepted those count that are kept, and the time until they are.
    #[expect(clippy::cast_precision_loss, reason = "a round has far fewer than 2^52 spans")]
    fn measure(
        &mut self,
        sender: &str,
        pins: &Pins,
        kept: impl FnOnce(f64) -> anyhow::Result<f64>,
    ) -> anyhow::Result<()> {
        let before = self.process.usage()?.cpu;
        let sent = send(sender, &self.addr, ROUND, pins).with_context(|| format!("send to {}", self.name))?;
        let (ended, accepted) = (Instant::now(), sent.accepted as f64);
        let spans = kept(accepted)?;
        let seconds = sent.seconds + ended.elapsed().as_secs_f64();
        thread::sleep(SETTLE);
        let used = self.process.usage()?.cpu.saturating_sub(before);
        ensure!(spans > 0.0 && !used.is_zero(), "{} took no spans", self.name);
        self.rates.push(spans / seconds);
        self.costs.push(used.as_secs_f64() * 1e6 / spans);
        self.kept_min = self.kept_min.min(spans / accepted);
        self.accepted += sent.accepted;
        self.again += sent.again;
        Ok(())
    }

    fn told(&self, round: usize) -> String {
        format!("{} {:.0} spans/s at {:.2} µs", self.name, self.rates[round], self.costs[round])
    }
}

fn send(sender: &str, addr: &str, time: Duration, pins: &Pins) -> anyhow::Result<Sent> {
    let said = complete(pinned(&pins.others, sender).args([addr, &time.as_secs().to_string()]))?;
    serde_json::from_str(&said).with_context(|| format!("the sender said {said:?}"))
}

fn kept(api: &str) -> anyhow::Result<Kept> {
    let page = get(api, "/metrics")?;
    let counted = |name: &str| counted(&page, name);
    Ok(Kept {
        spans: counted("bowline_traces_spans_written_total"),
        bytes: counted("bowline_traces_bytes"),
        deleted: counted("bowline_traces_segments_deleted_total"),
    })
}

/// Until so many spans more are written; answers how many of them are.
fn wait_until_kept(api: &str, before: f64, accepted: f64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    loop {
        let spans = kept(api)?.spans - before;
        if spans >= accepted || begun.elapsed() > KEPT_WITHIN {
            return Ok(spans.min(accepted));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// How long a search takes, in milliseconds; it must find something.
fn search(api: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let answer = get(api, SEARCH)?;
    let took = begun.elapsed();
    let found: Value = serde_json::from_str(&answer)?;
    let found = found["traces"].as_array().map_or(0, Vec::len);
    ensure!(found > 0, "a search found nothing: {answer}");
    Ok(took.as_secs_f64() * 1e3)
}

fn rows(ours: &Collector, peer: &Collector, kept: &Kept, searches: Vec<f64>) -> anyhow::Result<Vec<Row>> {
    let Kept { spans, bytes, deleted } = *kept;
    ensure!(deleted <= 0.0, "segments were deleted: bytes a span cannot be told");
    let note = format!(
        "goal 100000; {:.1} % of what we accepted is kept, nothing of what rotel did; {} and {} spans, {} and {} requests \
         sent again",
        ours.kept_min * 100.0,
        ours.accepted,
        peer.accepted,
        ours.again,
        peer.again
    );
    Ok(vec![
        Row::more_is_better("traces.ingest", "spans taken in and kept", "1/s", f64::NAN)
            .against_rounds(peer.name, &ours.rates, &peer.rates)
            .note(note),
        Row::less_is_better("traces.cpu", "CPU of the server per span", "µs", f64::NAN)
            .against_rounds(peer.name, &ours.costs, &peer.costs)
            .note("rotel throws spans away once they are decoded"),
        Row::less_is_better("traces.bytes", "disk per span", "B", bytes / spans)
            .note(format!("goal 60; {spans} spans")),
        Row::less_is_better("traces.search", "search by service and duration, after a round", "ms", median(searches)),
    ])
}
