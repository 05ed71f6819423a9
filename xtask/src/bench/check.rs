//! `bench check`: how long it takes to prove a system that is larger than any that is run.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{Context, Row, build_examples, example, median};

/// What the issue demands, in seconds.
const BUDGET: f64 = 1.0;

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    build_examples(context, &[("bowline-model", "bench_check")])?;
    let output = Command::new(example(context, "bench_check")?).output().context("start bench_check")?;
    ensure!(output.status.success(), "bench_check failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let seconds = |line: &str| line.parse().with_context(|| format!("bench_check said {line:?}"));
    let rounds: Vec<f64> = text.lines().map(seconds).collect::<anyhow::Result<_>>()?;
    Ok(vec![Row::less_is_better("check.2000", "proving 2,000 services, median", "s", median(rounds)).budget(BUDGET)])
}
