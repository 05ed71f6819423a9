//! `cargo xtask bench NAME`: measures against real peers, in one run, and writes `target/bench/NAME.json`.
//!
//! A bench returns [`Row`]s; this frame prints them, writes them and judges their budgets.

mod ask;
mod balance;
mod cache;
mod check;
mod examples;
mod idle;
mod mesh;
mod messaging;
mod metrics;
mod nats;
mod overload;
mod proxy;
mod resilience;
mod traces;
mod up;

use std::{
    fs,
    process::{Command, ExitStatus},
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;

use self::proxy::median;
use crate::{
    packages::{self, Package},
    workspace::{Workspace, cargo, is_on_path},
};

/// Which bench, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to measure.
    name: Name,
    /// Only print: exit 0 where a budget is exceeded, too.
    #[arg(long)]
    report: bool,
    /// Measure longer than the usual 150 s, for steadier figures.
    #[arg(long)]
    long: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// What a pick of 10,000 instances costs, and an update, beside tower's balance and others.
    Balance,
    /// What a hit of a cache costs and how often there is one, beside `quick_cache`, moka and a plain LRU.
    Cache,
    /// Time to prove a generated system of 2,000 services.
    Check,
    /// What the example systems do with the whole platform on, and how much of the CPU is the platform's.
    Examples,
    /// Memory, time to ready and CPU of `bowline up` on an empty system.
    Idle,
    /// CPU and delay that a pair of sidecars with mutual TLS adds, beside a pair of Envoys.
    Mesh,
    /// Publishing durably and consuming, beside NATS JetStream.
    Messaging,
    /// Scraping, keeping and querying samples, beside Debian's Prometheus.
    Metrics,
    /// What is left of a service's peak when twice as much is asked of it, beside the same without `shed`.
    Overload,
    /// CPU per proxied request, beside Debian's nginx.
    Proxy,
    /// What the patterns of resilience cost, beside failsafe, recloser and what tower has.
    Resilience,
    /// Taking in, keeping and finding spans, beside Rotel, which keeps none.
    Traces,
}

/// What a bench is given.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) workspace: &'a Workspace,
    /// Whether it may take longer than 150 s.
    pub(crate) is_long: bool,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Fixed over time, `proxy.h1.nginx`.
    pub(crate) id: String,
    /// What is measured, for people.
    pub(crate) figure: String,
    pub(crate) unit: String,
    pub(crate) ours: f64,
    /// The same figure of the peer, measured in the same run.
    pub(crate) peer: Option<f64>,
    pub(crate) peer_name: Option<String>,
    /// Below 1 we are ahead, whichever direction is better.
    pub(crate) ratio: Option<f64>,
    /// What the ratio (what `ours`, where there is no peer) must not exceed; none until an issue demands it.
    pub(crate) budget: Option<f64>,
    /// Printed beside it, not written.
    #[serde(skip)]
    pub(crate) note: String,
    #[serde(skip)]
    is_more_better: bool,
}

impl Row {
    /// A figure of which less is better.
    pub(crate) fn less_is_better(id: &str, figure: &str, unit: &str, ours: f64) -> Self {
        Self {
            id: id.to_owned(),
            figure: figure.to_owned(),
            unit: unit.to_owned(),
            ours,
            peer: None,
            peer_name: None,
            ratio: None,
            budget: None,
            note: String::new(),
            is_more_better: false,
        }
    }

    /// A figure of which more is better.
    pub(crate) fn more_is_better(id: &str, figure: &str, unit: &str, ours: f64) -> Self {
        Self { is_more_better: true, ..Self::less_is_better(id, figure, unit, ours) }
    }

    /// What the peer takes of the same.
    pub(crate) fn against(mut self, peer_name: &str, peer: f64) -> Self {
        self.peer = Some(peer);
        self.peer_name = Some(peer_name.to_owned());
        self.ratio = Some(self.ratio_of(self.ours, peer));
        self
    }

    /// Medians of rounds that were taken in pairs, and the median of the pairs' ratios.
    pub(crate) fn against_rounds(mut self, peer_name: &str, ours: &[f64], peer: &[f64]) -> Self {
        self.ours = median(ours.to_vec());
        let ratios = ours.iter().zip(peer).map(|(ours, peer)| self.ratio_of(*ours, *peer)).collect();
        let mut row = self.against(peer_name, median(peer.to_vec()));
        row.ratio = Some(median(ratios));
        row
    }

    fn ratio_of(&self, ours: f64, peer: f64) -> f64 {
        if self.is_more_better { peer / ours } else { ours / peer }
    }

    /// What must not be exceeded by the ratio or, without a peer, by the figure; of which more is better must
    /// not be less.
    pub(crate) fn budget(mut self, budget: f64) -> Self {
        self.budget = Some(budget);
        self
    }

    /// What to print beside it.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether its budget, if it has one, is exceeded. What is not a number exceeds every budget.
    fn is_exceeded(&self) -> bool {
        let judged = self.ratio.unwrap_or(self.ours);
        let is_least = self.is_more_better && self.ratio.is_none();
        let is_over = |budget| if is_least { judged < budget } else { judged > budget };
        self.budget.is_some_and(|budget| judged.is_nan() || is_over(budget))
    }
}

/// Runs one bench; true when no budget is exceeded, or when only a report is asked for.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<bool> {
    let context = Context { workspace, is_long: arguments.long };
    let (name, rows) = match arguments.name {
        Name::Balance => ("balance", balance::run(&context)?),
        Name::Cache => ("cache", cache::run(&context)?),
        Name::Check => ("check", check::run(&context)?),
        Name::Examples => ("examples", examples::run(&context)?),
        Name::Idle => ("idle", idle::run(&context)?),
        Name::Mesh => ("mesh", mesh::run(&context)?),
        Name::Messaging => ("messaging", messaging::run(&context)?),
        Name::Metrics => ("metrics", metrics::run(&context)?),
        Name::Overload => ("overload", overload::run(&context)?),
        Name::Proxy => ("proxy", proxy::run(&context)?),
        Name::Resilience => ("resilience", resilience::run(&context)?),
        Name::Traces => ("traces", traces::run(&context)?),
    };
    let path = write(workspace, name, &rows)?;
    print!("\n{}", table(&rows));
    println!("\nwritten to {path}");
    let exceeded: Vec<&str> = rows.iter().filter(|row| row.is_exceeded()).map(|row| row.id.as_str()).collect();
    if !exceeded.is_empty() {
        println!("over budget: {}", exceeded.join(", "));
    }
    Ok(exceeded.is_empty() || arguments.report)
}

/// Builds packages as users run them.
pub(crate) fn build_release(context: &Context<'_>, packages: &[&str]) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--bins"]).current_dir(&context.workspace.root);
    for package in packages {
        command.args(["--package", package]);
    }
    let status: ExitStatus = command.status().context("start cargo build")?;
    if !status.success() {
        bail!("the release build failed");
    }
    Ok(())
}

/// Builds examples, each of a package, as users' programs are built.
pub(crate) fn build_examples(context: &Context<'_>, examples: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["build", "--release", "--locked"]).current_dir(&context.workspace.root);
    for (package, example) in examples {
        command.args(["--package", package, "--example", example]);
    }
    let status = command.status().context("start cargo build")?;
    ensure!(status.success(), "the release build failed");
    Ok(())
}

/// Where an example was built.
pub(crate) fn example(context: &Context<'_>, name: &str) -> anyhow::Result<String> {
    let binary = context.workspace.release_binary("examples").join(name);
    Ok(binary.to_str().context("the target folder's name is not text")?.to_owned())
}

/// A program on one core, where that can be said.
pub(crate) fn pinned(program: &str) -> Command {
    if !is_on_path("taskset") {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]);
    command
}

/// Installs what a bench needs, or says what to install.
pub(crate) fn install(packages: &[Package]) -> anyhow::Result<()> {
    let absent = packages::install(packages)?;
    if !absent.is_empty() {
        bail!("install first, or run as root:\n  {}", absent.join("\n  "));
    }
    Ok(())
}

/// Always under the checkout, so that whoever compares benches knows where to look.
fn write(workspace: &Workspace, name: &str, rows: &[Row]) -> anyhow::Result<String> {
    let folder = workspace.bench_dir();
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_vec_pretty(rows)?).with_context(|| format!("write {}", path.display()))?;
    Ok(workspace.relative(&path).display().to_string())
}

fn table(rows: &[Row]) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let head = ["id", "figure", "unit", "ours", "peer", "peer name", "ratio", "budget", ""].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let note = if row.is_exceeded() { format!("OVER BUDGET {}", row.note) } else { row.note.clone() };
        let peer_name = row.peer_name.clone().unwrap_or_else(|| "-".to_owned());
        let [id, figure, unit] = [&row.id, &row.figure, &row.unit].map(Clone::clone);
        [id, figure, unit, shown(Some(row.ours)), shown(row.peer), peer_name, shown(row.ratio), shown(row.budget), note]
    });
    let lines: Vec<[String; 9]> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 9] = std::array::from_fn(width);
    let padded = |line: &[String; 9]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(padded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_keys_that_others_read() {
        let row =
            Row::less_is_better("proxy.h1.nginx", "CPU per request", "µs", 12.0).against("nginx", 10.0).budget(1.5);
        let json = serde_json::to_value(&row).unwrap();
        let expect = serde_json::json!({
            "id": "proxy.h1.nginx", "figure": "CPU per request", "unit": "µs",
            "ours": 12.0, "peer": 10.0, "peer_name": "nginx", "ratio": 1.2, "budget": 1.5,
        });
        assert_eq!(json, expect);
        let alone = serde_json::to_value(Row::less_is_better("idle.rss", "memory", "MiB", 30.0)).unwrap();
        assert!(alone["peer"].is_null() && alone["ratio"].is_null() && alone["budget"].is_null());
    }

    #[test]
    fn the_budget_judges_the_ratio_or_else_the_figure() {
        let row = |ours| Row::less_is_better("a", "b", "c", ours);
        assert!(!row(12.0).against("p", 10.0).budget(1.5).is_exceeded());
        assert!(row(16.0).against("p", 10.0).budget(1.5).is_exceeded());
        assert!(row(41.0).budget(40.0).is_exceeded());
        assert!(row(0.0).against("p", 0.0).budget(1.5).is_exceeded(), "not a number");
        assert!(!row(1e9).is_exceeded(), "no budget");
    }

    #[test]
    fn below_1_we_are_ahead_where_more_is_better_too() {
        let row = |ours| Row::more_is_better("a", "b", "c", ours);
        assert_eq!(row(20.0).against("p", 10.0).ratio, Some(0.5));
        assert!(row(10.0).against("p", 20.0).budget(1.0).is_exceeded());
        assert!(row(10.0).budget(11.0).is_exceeded() && !row(12.0).budget(11.0).is_exceeded());
        let paired = row(0.0).against_rounds("p", &[10.0, 20.0, 40.0], &[5.0, 5.0, 5.0]);
        assert_eq!((paired.ours, paired.peer, paired.ratio), (20.0, Some(5.0), Some(0.25)));
    }

    #[test]
    fn the_table_is_aligned() {
        let rows = [
            Row::less_is_better("a.b", "CPU", "µs", 1.0).against("nginx", 2.0),
            Row::less_is_better("longer.id", "CPU", "µs", 3.0).budget(2.0).note("why"),
        ];
        let expect = "\
id         figure  unit  ours   peer   peer name  ratio  budget
a.b        CPU     µs    1.000  2.000  nginx      0.500  -
longer.id  CPU     µs    3.000  -      -          -      2.000   OVER BUDGET why
";
        assert_eq!(table(&rows), expect);
    }
}
