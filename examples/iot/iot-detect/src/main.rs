//! The detector as a program: over a file in the shape of the Numenta Anomaly Benchmark, or over simulated devices.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use bowline_runtime::fs;
use clap::{Args, Parser, Subcommand};
use iot_detect::{
    DAY_MS, Detector, Season, Settings,
    evaluation::{Episode, Report, episodes},
    generator::{Device, Plan},
    labels,
    series::{self, Series, time},
    simulation,
};

/// Finds spikes, shifts, drifts, stuck values and dropouts in series of a timestamp and a value
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    judge: Option<Judge>,
}

#[derive(Debug, Args)]
struct Judge {
    /// A file whose first line is `timestamp,value`
    file: PathBuf,
    /// What is known to be wrong with it: `{"file.csv": [["FROM", "TO"]]}`
    #[arg(long, value_name = "FILE.json")]
    labels: Option<PathBuf>,
    /// All days are alike: learns from 3 days instead of 14
    #[arg(long)]
    daily: bool,
    /// The least difference that the sensor shows
    #[arg(long, default_value_t = 0.0, value_parser = resolution)]
    resolution: f64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generates devices with faults, watches them, and prints what was found; fails below the floors
    Simulate {
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        devices: u32,
        /// Two weeks are learned from, and the first fault comes after 15 days
        #[arg(long, default_value_t = 28, value_parser = clap::value_parser!(i64).range(17..=3660))]
        days: i64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Writes one generated device whose days are all alike, with its labels
    Generate {
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i64).range(6..=366))]
        days: i64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the readings go
        file: PathBuf,
        /// Where the labels go
        labels: PathBuf,
    },
}

fn resolution(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number of 0 or more is expected".to_owned())
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match (arguments.command, arguments.judge) {
        (Some(Command::Simulate { devices, days, seed }), _) => simulate(devices, days, seed),
        (Some(Command::Generate { days, seed, file, labels }), _) => generate(days, seed, &file, &labels),
        (None, Some(judged)) => judge(&judged),
        (None, None) => bail!("name a file, or a command: `iot-detect --help` lists them"),
    }
}

fn simulate(devices: u32, days: i64, seed: u64) -> anyhow::Result<ExitCode> {
    let outcome = simulation::run(seed, devices, Plan { days, ..Plan::default() });
    let head = format!("seed {seed}: {devices} devices, {days} days, {} readings\n\n", outcome.readings);
    print(&format!("{head}{}", outcome.report))?;
    let misses = outcome.misses();
    for miss in &misses {
        complain(miss)?;
    }
    Ok(if misses.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn generate(days: i64, seed: u64, file: &Path, labels: &Path) -> anyhow::Result<ExitCode> {
    let device = Device::new(seed, 0, Plan::of_equal_days(days));
    let name = file.file_name().and_then(|name| name.to_str()).context("the file has no name of letters")?;
    let faults = device.faults();
    let write = |path: &Path, text: String| {
        fs::replace(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    };
    write(labels, labels::write(name, &faults))?;
    write(file, series::write(device))?;
    Ok(ExitCode::SUCCESS)
}

fn judge(judged: &Judge) -> anyhow::Result<ExitCode> {
    let path = judged.file.display();
    let series = match series::read(&text(&judged.file)?) {
        Ok(series) => series,
        Err(mistakes) => {
            for mistake in mistakes {
                complain(&format!("{path}:{mistake}"))?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let season = if judged.daily { Season::Daily } else { Season::Weekly };
    let mut detector = Detector::new(Settings { season, resolution: judged.resolution });
    let readings = series.readings.iter();
    let events: Vec<_> = readings.flat_map(|reading| detector.observe(reading.at_ms, reading.value)).collect();
    let episodes = episodes(events);
    print(&told(&series, season, &episodes))?;
    if let Some(labels) = &judged.labels {
        let faults = labels::read(&text(labels)?, &path.to_string());
        let faults = faults.with_context(|| format!("cannot use the labels of {}", labels.display()))?;
        let mut report = Report::default();
        let span_ms = span(&series).map_or(0, |(first_ms, last_ms)| last_ms.saturating_sub(first_ms));
        report.add(&faults, &episodes, span_ms.saturating_sub(season.warm_up_ms()).max(0));
        print(&format!("\n{report}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is said of a file.
fn told(series: &Series, season: Season, episodes: &[Episode]) -> String {
    let Series { readings, late_count, empty_count } = series;
    let mut lines = vec![format!(
        "{} readings, {late_count} not later than one before and left out, {empty_count} lines without a value",
        readings.len()
    )];
    if let Some((first_ms, last_ms)) = span(series) {
        let judged_ms = first_ms.saturating_add(season.warm_up_ms());
        lines.push(format!("from {} to {}", time(first_ms), time(last_ms)));
        lines.push(if judged_ms > last_ms {
            let days = season.warm_up_ms() / DAY_MS;
            format!("less than the {days} days that are learned from: only stuck values and dropouts were looked for")
        } else {
            format!("spikes, shifts and drifts from {} on", time(judged_ms))
        });
    }
    lines.push(format!("\n{:<21}{:<21}{:<9}score", "began", "ended", "episode"));
    for Episode { kind, from_ms, to_ms, score } in episodes {
        let ended = to_ms.map_or_else(|| "-".to_owned(), time);
        lines.push(format!("{:<21}{ended:<21}{kind:<9}{score:.2}", time(*from_ms)));
    }
    lines.join("\n") + "\n"
}

/// The first time of a series, and the last.
fn span(series: &Series) -> Option<(i64, i64)> {
    let times = || series.readings.iter().map(|reading| reading.at_ms);
    Some((times().min()?, times().max()?))
}

/// The text of a file that is not too large.
fn text(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = fs::File::open(path).with_context(cannot)?;
    file.take(series::BYTES_MAX + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() as u64 > series::BYTES_MAX {
        bail!("{} is larger than {} MiB, split it", path.display(), series::BYTES_MAX / 1024 / 1024);
    }
    String::from_utf8(bytes).with_context(|| format!("{} is no text in UTF-8", path.display()))
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to the standard output")
}

fn complain(line: &str) -> anyhow::Result<()> {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).context("cannot write to the standard error")
}
