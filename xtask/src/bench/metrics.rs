//! `bench metrics`: samples scraped, kept and queried, beside Debian's Prometheus on the same samples.
//!
//! Three parts. Both scrape the same server side by side, and what counts is the CPU time of each
//! process by the samples it was given. Our store takes samples in one process, on one core. And both
//! are asked the same query over the same samples, in turns, and must give the same answer.

mod exposition;
mod query;
mod scrape;
mod store;

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

use super::{
    Context, Row,
    ask::get,
    build_examples, build_release, install,
    proxy::{Pins, READY_MAX, free_addr, pinned},
};
use crate::{packages::FOR_METRICS_BENCH, process::Process};

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    install(FOR_METRICS_BENCH)?;
    build_release(context, &["bowline-cli"])?;
    build_examples(context, &[("bowline-observe", "series")])?;
    let folder = tempfile::tempdir()?;
    let pins = Pins::new();
    let mut rows = vec![store::appending(context, &pins)?];
    let data = store::Data::make(context, folder.path(), &pins)?;
    rows.push(data.bytes());
    rows.push(query::run(context, folder.path(), &data, &pins)?);
    rows.push(scrape::run(context, folder.path(), &pins)?);
    Ok(rows)
}

/// Starts Prometheus with that configuration and data, and waits until it is ready.
fn prometheus(folder: &Path, config: &str, data: &Path, pins: &Pins) -> anyhow::Result<(Process, String)> {
    let file = folder.join("prometheus.yml");
    fs::write(&file, config)?;
    let addr = free_addr()?.to_string();
    let mut command: Command = pinned(&pins.proxy, "prometheus");
    command.args(["--log.level=warn", &format!("--web.listen-address={addr}")]);
    command.arg(format!("--config.file={}", file.display())).arg(format!("--storage.tsdb.path={}", data.display()));
    let process = Process::start(&mut command)?;
    let begun = Instant::now();
    while get(&addr, "/-/ready").is_err() {
        ensure!(begun.elapsed() < READY_MAX, "prometheus is not ready");
        thread::sleep(Duration::from_millis(50));
    }
    Ok((process, addr))
}
