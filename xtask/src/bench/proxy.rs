//! `bench proxy`: CPU per proxied request, beside Debian's nginx on the same upstream.
//!
//! One nginx worker answers 1 KiB from memory; before it stand, in turn, our gateway with one worker
//! and every policy on, and nginx with a plain `proxy_pass`; `wrk` keeps 64 connections busy. What
//! counts is the CPU time of the proxy's process divided by the requests, and of that the ratio of
//! each round's pair: rounds alternate, so that a machine that slows down slows both.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{Context, Row, build_examples, example, install};
use crate::{packages::FOR_PROXY_BENCH, process::Process, workspace::is_on_path};

/// Pairs of rounds, and how long each half takes.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS_LONG: usize = 15;

/// Before the first round: pools are filled, code is paged in.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long a program may take until it listens.
pub(super) const READY_MAX: Duration = Duration::from_secs(10);

/// Connections that are kept busy.
pub(super) const CONNECTIONS: usize = 64;

/// Bytes of each answer.
pub(super) const ANSWER_BYTES: usize = 1024;

/// The most that CPU per request may be, as a multiple of nginx's.
const BUDGET: f64 = 1.5;

/// What a browser's request carries, beside `Host`.
pub(super) const HEADERS: [&str; 5] = [
    "Host: bench.localhost",
    "User-Agent: wrk/4 (bench)",
    "Accept: application/json, text/plain, */*",
    "Accept-Language: en-GB,en;q=0.8",
    "X-Request-Source: bench",
];

/// A proxy under measurement.
struct Proxy {
    name: &'static str,
    process: Process,
    addr: SocketAddr,
    /// CPU per request of each round, in microseconds.
    costs: Vec<f64>,
    requests: u64,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    install(FOR_PROXY_BENCH)?;
    build_examples(context, &[("bowline-gateway", "bench_gateway"), ("bowline-proxy", "bench_matcher")])?;
    let gateway = example(context, "bench_gateway")?;
    let folder = tempfile::tempdir()?;
    let pins = Pins::new();
    let answer = format!("location / {{ return 200 \"{}\"; }}", "x".repeat(ANSWER_BYTES));
    let (upstream, upstream_addr) = nginx(folder.path(), "upstream", &answer, "", &pins.others)?;
    let pass = "location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\"; }";
    let behind = format!(
        "upstream behind {{ server {upstream_addr}; keepalive {CONNECTIONS}; keepalive_requests 1000000000; }}"
    );
    let (process, addr) = nginx(folder.path(), "proxy", pass, &behind, &pins.proxy)?;
    let mut peer = Proxy { name: "nginx", process, addr, costs: Vec::new(), requests: 0 };
    let mut command = pinned(&pins.proxy, &gateway);
    let mut process = Process::start(command.arg(upstream_addr.to_string()))?;
    let addr = process.wait_for(READY_MAX, |line| line.strip_prefix("listening on ")?.parse().ok())?;
    let mut ours = Proxy { name: "bowline", process, addr, costs: Vec::new(), requests: 0 };
    for proxy in [&ours, &peer] {
        load(proxy.addr, WARM_UP, &pins.others, &HEADERS)?;
    }
    let rounds = if context.is_long { ROUNDS_LONG } else { ROUNDS };
    for round in 0..rounds {
        let pair = if round % 2 == 0 { [&mut ours, &mut peer] } else { [&mut peer, &mut ours] };
        for proxy in pair {
            proxy.measure(&pins.others)?;
        }
        println!("round {}: bowline {:.2} µs, nginx {:.2} µs", round + 1, ours.costs[round], peer.costs[round]);
    }
    let mut rows = vec![cost(&ours, &peer), memory(&ours, &peer)?];
    for process in [ours.process, peer.process, upstream] {
        process.stop()?;
    }
    rows.extend(matching(context)?);
    Ok(rows)
}

/// How long it takes to find one of 10,000 routes.
fn matching(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    let output = Command::new(example(context, "bench_matcher")?).output().context("start bench_matcher")?;
    let text = String::from_utf8(output.stdout)?;
    let row = |line: &str| {
        let (how, rest) = line.split_once(": ")?;
        let nanos = rest.strip_suffix(" ns")?.parse().ok()?;
        let id = format!("proxy.match.{}", how.strip_prefix("by ")?);
        Some(Row::less_is_better(&id, &format!("route of 10,000, {how}"), "ns", nanos).note("goal 1000"))
    };
    text.lines().map(|line| row(line).with_context(|| format!("bench_matcher said {line:?}"))).collect()
}

/// CPU per request: medians of the rounds, and the median of the pairs' ratios.
fn cost(ours: &Proxy, peer: &Proxy) -> Row {
    let ratios = ours.costs.iter().zip(&peer.costs).map(|(ours, peer)| ours / peer);
    let ratio = median(ratios.collect());
    let mut row = Row::less_is_better("proxy.h1.nginx", "CPU per request", "µs", median(ours.costs.clone()))
        .against("nginx", median(peer.costs.clone()))
        .budget(BUDGET)
        .note(format!("{} and {} requests", ours.requests, peer.requests));
    row.ratio = Some(ratio);
    row
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn memory(ours: &Proxy, peer: &Proxy) -> anyhow::Result<Row> {
    let mib = |proxy: &Proxy| Ok::<_, anyhow::Error>(proxy.process.usage()?.memory_bytes as f64 / f64::from(1 << 20));
    let figure = format!("memory after {CONNECTIONS} connections");
    Ok(Row::less_is_better("proxy.h1.memory.nginx", &figure, "MiB", mib(ours)?).against("nginx", mib(peer)?))
}

impl Proxy {
    fn measure(&mut self, pin: &[String]) -> anyhow::Result<()> {
        let before = self.process.usage()?.cpu;
        let requests = load(self.addr, ROUND, pin, &HEADERS).with_context(|| format!("load {}", self.name))?;
        let used = self.process.usage()?.cpu.saturating_sub(before);
        ensure!(!used.is_zero() && requests > 0, "{} used no CPU or answered nothing", self.name);
        #[expect(clippy::cast_precision_loss, reason = "a round has far fewer than 2^52 requests")]
        self.costs.push(used.as_secs_f64() * 1e6 / requests as f64);
        self.requests += requests;
        Ok(())
    }
}

/// Runs `wrk` against a proxy; answers how many requests were answered, all of them well.
pub(super) fn load(addr: SocketAddr, time: Duration, pin: &[String], headers: &[&str]) -> anyhow::Result<u64> {
    let mut command = pinned(pin, "wrk");
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", time.as_secs())]);
    for header in headers {
        command.args(["-H", header]);
    }
    let output = command.arg(format!("http://{addr}/orders/17/items")).output().context("start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    answered(&text)
}

/// The requests that `wrk` reports; one that failed spoils the measurement.
fn answered(report: &str) -> anyhow::Result<u64> {
    if let Some(line) = report.lines().map(str::trim).find(|l| l.starts_with("Non-2xx") || l.starts_with("Socket err"))
    {
        bail!("not every request was answered well: {line}");
    }
    let count = report.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    count.with_context(|| format!("wrk did not say how many requests there were:\n{report}"))
}

/// Starts one nginx process, without a master, and waits until it listens.
pub(super) fn nginx(
    folder: &Path,
    name: &str,
    server: &str,
    http: &str,
    pin: &[String],
) -> anyhow::Result<(Process, SocketAddr)> {
    let addr = free_addr()?;
    let dir = folder.join(name);
    fs::create_dir(&dir)?;
    let dir = dir.to_str().context("the temporary folder's name is not text")?;
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|what| format!("{what}_temp_path {dir}/{what};\n")).concat();
    let settings = format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_timeout 600s; keepalive_requests 1000000000;\n{temporary}{http}\n\
         server {{ listen {addr} backlog=1024; server_name bench.localhost; {server} }} }}\n"
    );
    let file = format!("{dir}/nginx.conf");
    fs::write(&file, settings)?;
    let process = Process::start(pinned(pin, "nginx").args(["-e", &format!("{dir}/error.log"), "-c", &file]))?;
    let deadline = Instant::now() + READY_MAX;
    while TcpStream::connect(addr).is_err() {
        if Instant::now() > deadline {
            bail!("nginx does not listen: {}", fs::read_to_string(format!("{dir}/error.log")).unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok((process, addr))
}

/// nginx cannot tell which port it got, so we ask for a free one first.
pub(super) fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Which CPU the proxies run on, and which the rest: figures are steadier when they do not move.
pub(super) struct Pins {
    pub(super) proxy: Vec<String>,
    pub(super) others: Vec<String>,
}

impl Pins {
    pub(super) fn new() -> Self {
        let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let pin = |cpu: &str| match cpus {
            2.. if is_on_path("taskset") => ["taskset", "-c", cpu].map(str::to_owned).to_vec(),
            _ => Vec::new(),
        };
        Self { proxy: pin("0"), others: pin("1") }
    }
}

pub(super) fn pinned(pin: &[String], program: &str) -> Command {
    match pin {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 0 => f64::midpoint(values[count / 2 - 1], values[count / 2]),
        count => values[count / 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clean_report_counts() {
        let report =
            "Running 4s test\n  2 threads\n  123456 requests in 4.00s, 150.00MB read\nRequests/sec:  30864.00\n";
        assert_eq!(answered(report).unwrap(), 123_456);
        assert!(answered(&format!("{report}  Non-2xx or 3xx responses: 7\n")).is_err());
        assert!(answered(&format!("{report}  Socket errors: connect 0, read 1, write 0, timeout 0\n")).is_err());
        assert!(answered("nothing").is_err());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }
}
