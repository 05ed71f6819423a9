//! `bench examples`: what the example systems do with the whole platform on, and how much of the CPU is the platform's.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{
    Context, Row, build_release,
    idle::api_of,
    mesh::{complete, text},
    up::address_of,
};
use crate::process::{CpuByProgram, Process};

/// How long a system may take until it is ready: it looks whether its programs are built.
const READY_MAX: Duration = Duration::from_mins(1);

/// For how long the shop and the bank are under load.
const SECONDS: [&[&str]; 2] = [&["--seconds", "20"], &["--seconds", "120"]];

/// How long a document that was published may take until all instances have it.
const TAKEN_IN: Duration = Duration::from_secs(2);

/// A system of `examples`, and the program that puts it under load.
struct Example {
    name: &'static str,
    /// Its services' packages, as its file builds them.
    services: &'static [&'static str],
    load: &'static str,
    /// What the program counts.
    counts: &'static str,
    /// How much it does, and with `--long`, then all else that it is told.
    amount: [&'static [&'static str]; 2],
    arguments: &'static [&'static str],
    /// A document of configuration that is published first, and its text.
    document: Option<(&'static str, &'static str)>,
}

const EXAMPLES: &[Example] = &[
    Example {
        name: "shop",
        services: &["shop-user", "shop-order", "shop-payment", "shop-bank", "shop-notify"],
        load: "shop-load",
        counts: "orders",
        amount: SECONDS,
        arguments: &["--clients", "32"],
        document: None,
    },
    Example {
        name: "bank",
        services: &["bank-account", "bank-transaction", "bank-risk", "bank-ml"],
        load: "bank-load",
        counts: "transfers",
        amount: SECONDS,
        arguments: &["--clients", "64"],
        // Else most of them are declined: who pays all the time looks like a fraud.
        document: Some(("bank/risk", "threshold = 1.0\nfallback_amount = 1000000\nfallback_count_1h = 500\n")),
    },
    // Its broker listens on the port of the file, 1883, which has to be free. The broker acknowledges what it has in its
    // journal, far faster than the rest follows: so it is the days of some devices, until all of them are in the series.
    Example {
        name: "iot",
        services: &["iot-broker", "iot-device", "iot-data", "iot-analytics", "iot-ml"],
        load: "iot-sim",
        counts: "readings",
        amount: [&["--devices", "250"], &["--devices", "1000"]],
        arguments: &["--days", "6", "--seed", "1"],
        document: None,
    },
];

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    build_release(context, &["bowline-cli"])?;
    // One selection after the other: each has features of its own, and `bowline up` is to find what it would build.
    for example in EXAMPLES {
        build_release(context, &[example.load])?;
        build_release(context, example.services)?;
    }
    let rows: Vec<Vec<Row>> =
        EXAMPLES.iter().map(|example| measure(context, example)).collect::<anyhow::Result<_>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// Starts a system, puts it under load, and stops it.
fn measure(context: &Context<'_>, example: &Example) -> anyhow::Result<Vec<Row>> {
    let data = tempfile::tempdir()?;
    let folder = context.workspace.root.join("examples").join(example.name);
    let (process, api, gateway) = start(context, &folder, data.path())?;
    if let Some((name, text)) = example.document {
        publish(context, &api, name, text)?;
    }
    let mut load = Command::new(context.workspace.release_binary(example.load));
    load.args(["--gateway", &gateway]).args(example.amount[usize::from(context.is_long)]).args(example.arguments);
    let (before, begun) = (process.cpu_by_program()?, Instant::now());
    let output = complete(&mut load)?;
    let (after, took) = (process.cpu_by_program()?, begun.elapsed());
    process.stop()?;
    println!("{output}");
    let said = Said::read(&output, example.counts).with_context(|| format!("{} said:\n{output}", example.load))?;
    Ok(rows(example, &said, &Cpu::between(&before, &after), took))
}

/// Starts a system; where its API is, and its gateway.
pub(super) fn start(context: &Context<'_>, folder: &Path, data: &Path) -> anyhow::Result<(Process, String, String)> {
    let mut command = Command::new(context.workspace.release_binary("bowline"));
    command.arg("up").arg(folder).args(["--data-dir", text(data)?]);
    command.args(["--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--otlp-grpc", "off", "--otlp-http", "off"]);
    let mut process = Process::start(command.env("NO_COLOR", "1"))?;
    // Once everything is ready, in this order.
    let gateway = process.wait_for(READY_MAX, |line| address_of("gateway", line))?;
    let api = process.wait_for(READY_MAX, api_of)?;
    Ok((process, api, gateway))
}

fn publish(context: &Context<'_>, api: &str, name: &str, document: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("document.toml");
    fs::write(&path, document)?;
    let mut command = Command::new(context.workspace.release_binary("bowline"));
    complete(command.args(["config", "set", name, text(&path)?, "--api", api]))?;
    thread::sleep(TAKEN_IN);
    Ok(())
}

/// What a load program says of its run.
#[derive(Debug, PartialEq)]
struct Said {
    count: f64,
    per_second: f64,
    p99_ms: f64,
    /// Until all of it was found at its end, where that is later than its answer.
    settled_s: Option<f64>,
}

impl Said {
    fn read(output: &str, counts: &str) -> anyhow::Result<Self> {
        let rated = format!("{counts}/s");
        let line = output.lines().find(|line| line.ends_with(&rated)).context("no line has the rate")?;
        let mut words = line.split_whitespace();
        let count = words.next().context("no count")?.parse().context("the count is no number")?;
        let per_second = words.rev().nth(1).context("no rate")?.parse().context("the rate is no number")?;
        let p99 = output.lines().find_map(|line| line.trim().strip_prefix("p99 ")).context("no line has the p99")?;
        let p99_ms = p99.trim().parse().context("the p99 is no number")?;
        let settled = output.lines().find_map(|line| line.trim().strip_prefix("begun and found in the series within "));
        let settled = settled.and_then(|rest| rest.strip_suffix(" s")).map(str::parse).transpose();
        Ok(Self { count, per_second, p99_ms, settled_s: settled.context("the time until all was found is no number")? })
    }
}

/// CPU time of a run.
#[derive(Debug, PartialEq)]
struct Cpu {
    /// Server, gateway, sidecars: everything that is the program `bowline`.
    platform: Duration,
    services: Duration,
}

impl Cpu {
    fn between(before: &CpuByProgram, after: &CpuByProgram) -> Self {
        let mut cpu = Self { platform: Duration::ZERO, services: Duration::ZERO };
        for (program, time) in after {
            let used = time.saturating_sub(before.get(program).copied().unwrap_or_default());
            *(if program == "bowline" { &mut cpu.platform } else { &mut cpu.services }) += used;
        }
        cpu
    }
}

fn rows(example: &Example, said: &Said, cpu: &Cpu, took: Duration) -> Vec<Row> {
    let Example { name, counts, .. } = example;
    let (platform, services) = (cpu.platform.as_secs_f64(), cpu.services.as_secs_f64());
    let one = counts.trim_end_matches('s');
    let cores = format!("{:.2} cores busy", (platform + services) / took.as_secs_f64());
    let settled = said.settled_s.map(|settled| {
        let figure = format!("{counts} answered, until all are kept");
        Row::more_is_better(&format!("examples.{name}.kept"), &figure, "/s", said.count / settled)
    });
    let rows = [
        Row::more_is_better(&format!("examples.{name}.rate"), &format!("{counts} answered"), "/s", said.per_second)
            .note(cores),
        Row::less_is_better(&format!("examples.{name}.p99"), "99th percentile", "ms", said.p99_ms),
        Row::less_is_better(
            &format!("examples.{name}.share"),
            "CPU that is the platform's",
            "%",
            platform / (platform + services) * 100.0,
        ),
        Row::less_is_better(
            &format!("examples.{name}.cpu"),
            &format!("CPU of the platform, by {one}"),
            "µs",
            platform / said.count * 1e6,
        ),
    ];
    rows.into_iter().chain(settled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_load_program_says_is_read() {
        let output = "\n8501 orders in 20.0 s: 425 orders/s\n5xx 0   other refusals 0\nlatency, ms\n  p50  \
                      68.10\n  p99        222.31\n  p99.9     301.00\n";
        let said = Said::read(output, "orders").unwrap();
        assert_eq!(said, Said { count: 8501.0, per_second: 425.0, p99_ms: 222.31, settled_s: None });
        let settled = format!("{output}  begun and found in the series within 54.1 s\n");
        assert_eq!(Said::read(&settled, "orders").unwrap().settled_s, Some(54.1));
        assert!(Said::read(output, "transfers").is_err());
    }

    #[test]
    fn the_platform_is_what_is_called_bowline() {
        let of = |bowline, order| {
            let times = [("bowline", bowline), ("shop-order", order)];
            times.map(|(name, seconds)| (name.to_owned(), Duration::from_secs(seconds))).into_iter().collect()
        };
        let cpu = Cpu::between(&of(1, 2), &of(4, 4));
        assert_eq!(cpu, Cpu { platform: Duration::from_secs(3), services: Duration::from_secs(2) });
        let said = Said { count: 100.0, per_second: 10.0, p99_ms: 5.0, settled_s: Some(20.0) };
        let figures: Vec<f64> =
            rows(&EXAMPLES[0], &said, &cpu, Duration::from_secs(10)).iter().map(|row| row.ours).collect();
        assert_eq!(figures, [10.0, 5.0, 60.0, 30_000.0, 5.0]);
    }
}
