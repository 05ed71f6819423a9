//! `bench mesh`: what a pair of sidecars with mutual TLS adds, beside a pair of Envoys on the same work.
//!
//! Client → outbound sidecar → TLS 1.3 with certificates of ECDSA P-256 on both sides → inbound
//! sidecar → nginx over a Unix socket, which answers 1 KiB from memory. What counts of CPU is the
//! time of both sidecars' processes divided by the requests, under `wrk` with 64 connections and at
//! a fixed rate; of time, what the pair adds to going to nginx directly, at the fixed rate. Rounds
//! alternate, so that a machine that slows down slows all.

mod envoy;
mod ours;
mod paced;

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, ensure};

use self::paced::Delays;
use super::{
    Context, Row, build_release, install,
    proxy::{ANSWER_BYTES, CONNECTIONS, HEADERS, Pins, READY_MAX, load, median, nginx},
};
use crate::{
    packages::FOR_MESH_BENCH,
    process::{Process, cpu_time},
};

/// Rounds of each of the three ways, and how long their parts take.
const ROUNDS: usize = 5;
const ROUNDS_LONG: usize = 15;
const SATURATED: Duration = Duration::from_secs(4);
const PACED: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(2);

/// What the ratio to the pair of Envoys must not exceed.
const BUDGET: f64 = 1.0;

/// Has our side keep no trace, as the Envoys keep none: the caller decided against it.
const UNTRACED: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// The least that a pair is taken to add, in microseconds: below, clocks are measured.
const ADDED_MIN: f64 = 1.0;

/// Two sidecars, and what was measured of them.
pub(super) struct Pair {
    name: &'static str,
    /// The sidecars themselves: what they run beside them is not theirs.
    pids: [u32; 2],
    /// Where the client asks.
    addr: SocketAddr,
    measured: Measured,
    /// Whatever must live as long.
    _processes: Vec<Process>,
}

/// A figure of each round: CPU per request and delays, in microseconds.
#[derive(Default)]
struct Measured {
    saturated: Vec<f64>,
    paced: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    install(FOR_MESH_BENCH)?;
    build_release(context, &["bowline-cli"])?;
    let program = envoy::install(context.workspace)?;
    let folder = tempfile::tempdir()?;
    let pins = Pins::new();
    let socket = folder.path().join("upstream.sock");
    let answer = answering(Some(&socket));
    let (upstream, direct) = nginx(folder.path(), "upstream", &answer, "", &pins.others)?;
    let mut peer = envoy::start(&program, folder.path(), &socket, &pins)?;
    let mut ours = ours::start(context, folder.path(), &pins)?;
    for pair in [&ours, &peer] {
        load(pair.addr, WARM_UP, &pins.others, &headers())?;
    }
    let mut straight = Measured::default();
    for round in 0..if context.is_long { ROUNDS_LONG } else { ROUNDS } {
        straight.told(&paced::ask(direct, PACED)?);
        let pairs = if round % 2 == 0 { [&mut ours, &mut peer] } else { [&mut peer, &mut ours] };
        for pair in pairs {
            pair.measure(&pins).with_context(|| format!("measure {}", pair.name))?;
        }
        println!("round {}: {}, {}", round + 1, ours.told(round), peer.told(round));
    }
    let rows = rows(&ours.measured, &peer.measured, &straight);
    upstream.stop()?;
    Ok(rows)
}

/// How nginx answers; at a socket, too, where there is one.
fn answering(socket: Option<&Path>) -> String {
    let listen = socket.map_or_else(String::new, |socket| format!("listen unix:{};", socket.display()));
    format!("{listen} location / {{ return 200 \"{}\"; }}", "x".repeat(ANSWER_BYTES))
}

/// What each request carries.
fn headers() -> Vec<&'static str> {
    HEADERS.into_iter().chain([UNTRACED]).collect()
}

impl Pair {
    fn new(name: &'static str, pids: [u32; 2], addr: SocketAddr, processes: Vec<Process>) -> Self {
        Self { name, pids, addr, measured: Measured::default(), _processes: processes }
    }

    fn measure(&mut self, pins: &Pins) -> anyhow::Result<()> {
        let (used, requests) = self.cost(|addr| load(addr, SATURATED, &pins.others, &headers()))?;
        self.measured.saturated.push(used / requests);
        let mut delays = None;
        let (used, requests) = self.cost(|addr| {
            let asked = paced::ask(addr, PACED)?;
            Ok(delays.insert(asked).count())
        })?;
        self.measured.paced.push(used / requests);
        self.measured.told(&delays.context("nothing was asked")?);
        Ok(())
    }

    /// The microseconds of CPU that both took, and for how many requests.
    #[expect(clippy::cast_precision_loss, reason = "a round has far fewer than 2^52 requests")]
    fn cost(&self, ask: impl FnOnce(SocketAddr) -> anyhow::Result<u64>) -> anyhow::Result<(f64, f64)> {
        let before = self.cpu()?;
        let requests = ask(self.addr)?;
        let used = self.cpu()?.saturating_sub(before);
        ensure!(!used.is_zero() && requests > 0, "{} used no CPU or answered nothing", self.name);
        Ok((used.as_secs_f64() * 1e6, requests as f64))
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        let cpu = |pid: &u32| cpu_time(*pid).with_context(|| format!("{} is gone", self.name));
        self.pids.iter().map(cpu).sum()
    }

    fn told(&self, round: usize) -> String {
        let Measured { saturated, paced, p50, p99 } = &self.measured;
        format!(
            "{} {:.1} µs a request, {:.1} µs at the fixed rate, delays {:.0} and {:.0} µs",
            self.name, saturated[round], paced[round], p50[round], p99[round]
        )
    }
}

impl Measured {
    fn told(&mut self, delays: &Delays) {
        let [p50, p99] = delays.percentiles([50.0, 99.0]);
        self.p50.push(p50);
        self.p99.push(p99);
    }
}

fn rows(ours: &Measured, peer: &Measured, direct: &Measured) -> Vec<Row> {
    let rate = paced::RATE;
    let added = |id: &str, figure: String, pick: fn(&Measured) -> &Vec<f64>| {
        // Beyond what the same round took directly.
        let over = |it: &Measured| {
            let rounds = pick(it).iter().zip(pick(direct));
            rounds.map(|(through, direct)| (through - direct).max(ADDED_MIN)).collect()
        };
        row(id, &figure, over(ours), over(peer)).note(format!("directly {:.0}", median(pick(direct).clone())))
    };
    let cpu = "CPU of a sidecar pair per request";
    vec![
        row(
            "mesh.pair.cpu.envoy",
            &format!("{cpu}, {CONNECTIONS} connections"),
            ours.saturated.clone(),
            peer.saturated.clone(),
        ),
        row("mesh.pair.cpu_paced.envoy", &format!("{cpu}, at {rate}/s"), ours.paced.clone(), peer.paced.clone()),
        added("mesh.pair.p50.envoy", format!("median delay that a pair adds, at {rate}/s"), |it| &it.p50),
        added("mesh.pair.p99.envoy", format!("99th percentile that a pair adds, at {rate}/s"), |it| &it.p99),
    ]
}

/// Medians of the rounds, and the median of their ratios.
fn row(id: &str, figure: &str, ours: Vec<f64>, peer: Vec<f64>) -> Row {
    let ratio = median(ours.iter().zip(&peer).map(|(ours, peer)| ours / peer).collect());
    let mut row = Row::less_is_better(id, figure, "µs", median(ours)).against("envoy", median(peer)).budget(BUDGET);
    row.ratio = Some(ratio);
    row
}

/// Runs a program to its end.
pub(super) fn complete(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("start {name}"))?;
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A path as text, for files that name it.
pub(super) fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a temporary folder's name is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(figures: [f64; 4]) -> Measured {
        let [saturated, paced, p50, p99] = figures.map(|figure| vec![figure; 3]);
        Measured { saturated, paced, p50, p99 }
    }

    #[test]
    fn delays_count_beyond_going_directly() {
        let (direct, ours) = (measured([0.0, 0.0, 100.0, 300.0]), measured([60.0, 90.0, 200.0, 500.0]));
        let rows = rows(&ours, &measured([120.0, 180.0, 300.0, 700.0]), &direct);
        let ids = ["mesh.pair.cpu.envoy", "mesh.pair.cpu_paced.envoy", "mesh.pair.p50.envoy", "mesh.pair.p99.envoy"];
        assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ids);
        for (row, (ours, peer)) in rows.iter().zip([(60.0, 120.0), (90.0, 180.0), (100.0, 200.0), (200.0, 400.0)]) {
            assert_eq!(
                (Some(row.ours), row.peer, row.ratio, row.budget),
                (Some(ours), Some(peer), Some(0.5), Some(1.0))
            );
        }
    }
}
