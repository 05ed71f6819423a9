//! The load program of the devices: over MQTT, with progress, latencies, an audit of the series, and what analytics
//! found.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use bowline_runtime::{fs, rand, time};
use clap::Parser;
use example_load::{quietly, say};
use iot_sim::{BATCH_MAX, Counts, DAYS_MAX, DEVICES_MAX, Fleet, Live, Patience, Settings, audit, compare, play};

/// Simulates devices over MQTT, then holds the series against every reading that was acknowledged.
///
/// They first play some days, as fast as these are acknowledged, so that they end about now; then they may go on as time
/// passes. What is wrong with them is known, and compared with what the system found.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// The gateway
    #[arg(long, default_value = "127.0.0.1:8080")]
    gateway: SocketAddr,
    /// The MQTT broker
    #[arg(long, default_value = "127.0.0.1:1883")]
    mqtt: SocketAddr,
    /// The API key of whoever may provision devices
    #[arg(long, default_value = "iot-demo-operator")]
    key: String,
    /// How many devices; odd ones speak MQTT 3.1.1, the others 5
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_MAX)))]
    devices: u32,
    /// Devices of the same seed are the same [default: by chance]
    #[arg(long)]
    seed: Option<u32>,
    /// The days that are played, of one reading in five minutes; the first fault comes after four
    #[arg(long, default_value_t = DAYS_MAX, value_parser = clap::value_parser!(i64).range(0..=DAYS_MAX))]
    days: i64,
    /// For so many seconds after them, readings as time passes
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    live_s: u64,
    /// New readings for so many seconds in all: as many of the days as can be, then as time passes
    #[arg(long = "for", value_name = "S", conflicts_with = "live_s", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Readings in a second, of all devices together, as time passes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Readings of one message, at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX as i64))]
    batch: u32,
    /// Where what is wrong with the devices is written, in the shape that `iot-detect --labels` reads
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Fails, too, where too little of what was wrong is found, or too much of what was not
    #[arg(long)]
    floors: bool,
}

/// How long analytics may have nothing new to tell until it has told everything.
const TOLD_AFTER: Duration = Duration::from_secs(15);

impl Args {
    fn settings(&self) -> anyhow::Result<Settings> {
        let live_s = self.seconds.unwrap_or(self.live_s);
        let settings = Settings::new(self.gateway, self.mqtt, &self.key)?.days(self.days);
        Ok(Settings {
            seed: self.seed.unwrap_or_else(|| u32::try_from(rand::below(1_000_000)).unwrap_or_default()),
            devices: self.devices,
            live: (live_s > 0).then(|| Live::new(self.rate, self.devices, Duration::from_secs(live_s))),
            length: self.seconds.map(Duration::from_secs),
            batch: usize::try_from(self.batch).unwrap_or(BATCH_MAX),
            ..settings
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    quietly(run(Args::parse()).await)
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings()?;
    say(format_args!("seed {}: {} devices", settings.seed, settings.devices))?;
    let fleet = Fleet::provision(&settings).await?;
    if let Some(path) = &args.labels {
        let labels = fleet.labels(&settings);
        fs::replace(path, labels.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let begun = time::now();
    let run = play(&settings, &fleet, Counts::new()).await?;
    say(format_args!("\n{run}"))?;
    let verdict = audit(&settings, &run, Patience::default()).await?;
    say(&verdict)?;
    // The broker acknowledges what is durable there: how fast the system is as a whole, the audit has seen.
    say(format_args!("  begun and found in the series within {:.1} s", (time::now() - begun).as_secs_f64()))?;
    // What was found is a matter of success where that is asked for; the audit always is.
    let is_found =
        match compare(&settings, &fleet, &run, Patience { quiet_max: TOLD_AFTER, ..Patience::default() }).await {
            Ok(Some(compared)) => {
                say(format_args!("\n{compared}"))?;
                let misses = compared.misses();
                if args.floors {
                    for miss in &misses {
                        say(miss)?;
                    }
                }
                misses.is_empty()
            }
            Ok(None) => {
                say("\nless was read than a detector learns from: what it found is not compared")?;
                false
            }
            Err(error) => {
                say(format_args!("\nwhat a detector found is not compared: {error:#}"))?;
                false
            }
        };
    Ok(if verdict.is_good() && (is_found || !args.floors) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
