//! `bench idle`: what `bowline up` of an empty system costs while nothing happens.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{Context, Row, build_release};
use crate::process::Process;

/// How long a start may take before we give up.
const READY_MAX: Duration = Duration::from_secs(20);

/// Between ready and the first measurement: what is left of the start is over.
const SETTLE: Duration = Duration::from_secs(2);

/// How long idleness is watched.
const WATCH: Duration = Duration::from_secs(10);

/// The same, when it may take long.
const WATCH_LONG: Duration = Duration::from_mins(1);

/// Starts are measured this often; the median counts.
const STARTS: usize = 5;

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    build_release(context, &["bowline-cli"])?;
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        let (process, ready, _data) = start(context)?;
        starts.push(ready);
        process.stop()?;
    }
    let (process, ready, _data) = start(context)?;
    starts.push(ready);
    starts.sort();
    println!("ready after {starts:?}");
    thread::sleep(SETTLE);
    let watch = if context.is_long { WATCH_LONG } else { WATCH };
    let before = process.usage()?;
    thread::sleep(watch);
    let after = process.usage()?;
    process.stop()?;
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / watch.as_secs_f64() * 100.0;
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
    let memory = after.memory_bytes as f64 / f64::from(1 << 20);
    Ok(vec![
        Row::less_is_better("idle.rss", "memory of the process tree", "MiB", memory).note("goal 40"),
        Row::less_is_better("idle.ready", "start to ready, median", "s", starts[STARTS / 2].as_secs_f64())
            .note("goal 0.3"),
        Row::less_is_better("idle.cpu", "CPU while idle", "%", cpu).note("goal 0.5"),
    ])
}

/// An empty system, ready; the folder holds its file and its data.
fn start(context: &Context<'_>) -> anyhow::Result<(Process, Duration, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("bowline.toml"), "name = \"empty\"\n")?;
    let mut command = Command::new(context.workspace.release_binary("bowline"));
    command.arg("up").arg(folder.path()).args(["--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]);
    command.args(["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(folder.path().join("data")).env("NO_COLOR", "1");
    let start = Instant::now();
    let mut process = Process::start(&mut command)?;
    let api = process.wait_for(READY_MAX, api_of)?;
    wait_until_ready(&api, start + READY_MAX)?;
    Ok((process, start.elapsed(), folder))
}

/// The API's address in the summary that `bowline up` prints when it is ready.
pub(super) fn api_of(line: &str) -> Option<String> {
    let is_api = line.to_lowercase().contains("api");
    let (_, rest) = line.split_once("http://").filter(|_| is_api)?;
    let end = rest.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

/// The line is printed for people; `/readyz` is what counts.
fn wait_until_ready(api: &str, deadline: Instant) -> anyhow::Result<()> {
    loop {
        let status = readyz(api).unwrap_or_default();
        if status.starts_with("HTTP/1.1 200 ") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{api}/readyz answers {status:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn readyz(api: &str) -> anyhow::Result<String> {
    let mut connection = TcpStream::connect(api).context("connect")?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(connection, "GET /readyz HTTP/1.1\r\nhost: {api}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_api_is_found() {
        assert_eq!(api_of("  API      http://127.0.0.1:7117"), Some("127.0.0.1:7117".to_owned()));
        assert_eq!(api_of("api http://[::1]:7117/ ready"), Some("[::1]:7117".to_owned()));
        assert_eq!(api_of("gateway http://127.0.0.1:8080"), None);
        assert_eq!(api_of("starting the API"), None);
    }
}
