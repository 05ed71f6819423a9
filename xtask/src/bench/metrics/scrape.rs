//! What it costs to scrape.

use std::{fmt::Write as _, fs, path::Path, thread, time::Duration};

use anyhow::ensure;

use super::{
    exposition::{Exposition, READERS, SERIES, TARGETS},
    prometheus,
};
use crate::{
    bench::{
        Context, Row,
        ask::{counted, get},
        proxy::Pins,
        up::Up,
    },
    process::Process,
};

/// Until every series is known.
const WARM_UP: Duration = Duration::from_secs(6);

/// What a figure is taken of, and how many figures.
const SLICE: Duration = Duration::from_secs(6);
const SLICES: usize = 5;
const SLICES_LONG: usize = 30;

/// The share of the samples given that must be kept: what is under way at the borders is counted once only.
const KEPT_MIN: f64 = 0.95;

/// Both scrape side by side, each target every second.
pub(super) fn run(context: &Context<'_>, folder: &Path, pins: &Pins) -> anyhow::Result<Row> {
    let exposition = Exposition::start()?;
    let folder = folder.join("scrape");
    fs::create_dir(&folder)?;
    let addr = exposition.addr.to_string();
    let up = Up::start(context, &folder.join("ours"), &system(&addr)?, &[], &pins.proxy)?;
    let (peer, peer_addr) = prometheus(&folder, &configuration(&addr)?, &folder.join("blocks"), pins)?;
    thread::sleep(WARM_UP);
    let kept = || -> anyhow::Result<[f64; 2]> {
        Ok([
            counted(&up.metrics()?, "bowline_scrape_samples_total"),
            counted(&get(&peer_addr, "/metrics")?, "prometheus_tsdb_head_samples_appended_total"),
        ])
    };
    let (first, kept_first) = (exposition.served(), kept()?);
    let mut costs = [Vec::new(), Vec::new()];
    for slice in 0..if context.is_long { SLICES_LONG } else { SLICES } {
        let (served, cpu) = (exposition.served(), cpu(&up.process, &peer)?);
        thread::sleep(SLICE);
        let (served_then, cpu_then) = (exposition.served(), self::cpu(&up.process, &peer)?);
        for reader in 0..READERS.len() {
            let samples = samples(served_then[reader] - served[reader]);
            ensure!(samples > 0.0, "{} did not scrape", READERS[reader]);
            costs[reader].push((cpu_then[reader] - cpu[reader]) / samples);
        }
        println!("slice {}: bowline {:.3} µs, prometheus {:.3} µs", slice + 1, costs[0][slice], costs[1][slice]);
    }
    let (last, kept_last) = (exposition.served(), kept()?);
    for reader in 0..READERS.len() {
        let (given, kept) = (samples(last[reader] - first[reader]), kept_last[reader] - kept_first[reader]);
        ensure!(kept >= given * KEPT_MIN, "{} kept {kept} of {given} samples", READERS[reader]);
    }
    up.process.stop()?;
    peer.stop()?;
    let note = format!("{TARGETS} targets of {SERIES} series, every second");
    let [ours, theirs] = costs;
    Ok(Row::less_is_better("metrics.scrape", "CPU per sample scraped", "µs", f64::NAN)
        .against_rounds("prometheus", &ours, &theirs)
        .note(note))
}

/// In microseconds.
fn cpu(ours: &Process, peer: &Process) -> anyhow::Result<[f64; 2]> {
    Ok([ours.usage()?.cpu.as_secs_f64() * 1e6, peer.usage()?.cpu.as_secs_f64() * 1e6])
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 samples")]
fn samples(count: u64) -> f64 {
    count as f64
}

fn system(addr: &str) -> anyhow::Result<String> {
    let mut text = "name = \"scrape\"\n\n[metrics]\nevery = \"1s\"\n".to_owned();
    for target in 0..TARGETS {
        write!(
            text,
            "\n[[metrics.targets]]\njob = \"shop-{target}\"\naddress = \"{addr}\"\npath = \"/{}/{target}\"\n",
            READERS[0]
        )?;
    }
    Ok(text)
}

fn configuration(addr: &str) -> anyhow::Result<String> {
    let mut text = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n".to_owned();
    for target in 0..TARGETS {
        write!(
            text,
            "- job_name: shop-{target}\n  metrics_path: /{}/{target}\n  static_configs:\n  - targets: ['{addr}']\n",
            READERS[1]
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_given_every_target() {
        let system: toml::Table = system("127.0.0.1:1").unwrap().parse().unwrap();
        assert_eq!(system["metrics"]["targets"].as_array().unwrap().len(), TARGETS);
        assert_eq!(configuration("127.0.0.1:1").unwrap().matches("metrics_path: /peer/").count(), TARGETS);
    }
}
