//! `bench messaging`: messages published durably and consumed with acknowledgements, beside NATS JetStream.
//!
//! Our bus runs within the program that publishes and consumes; NATS is a process of its own, reached over loopback,
//! and syncs each message (`sync_interval: always`). Rounds alternate, each case by itself.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;
use serde::Deserialize;

use super::{
    Context, Row, build_examples, example,
    mesh::{complete, text},
    nats,
};

const ROUNDS: usize = 4;
const ROUNDS_LONG: usize = 10;

/// How long each side publishes in a round, in seconds.
const PUBLISH: &str = "3";

/// How many messages are consumed in a round.
const CONSUMED: &str = "20000";

/// Never slower than the peer, in no row.
const BUDGET: f64 = 1.0;

/// What is measured: its id, what it says, and how.
struct Case {
    id: &'static str,
    figure: &'static str,
    words: &'static [&'static str],
}

const CASES: [Case; 6] = [
    Case {
        id: "messaging.publish.64",
        figure: "published, each synced before it is answered, 64 publishers, 256 B",
        words: &["64", "256", PUBLISH],
    },
    Case { id: "messaging.publish.1", figure: "the same, one publisher", words: &["1", "256", PUBLISH] },
    Case { id: "messaging.publish.64.4k", figure: "the same, 64 publishers, 4 KiB", words: &["64", "4096", PUBLISH] },
    Case { id: "messaging.publish.1.4k", figure: "the same, one publisher, 4 KiB", words: &["1", "4096", PUBLISH] },
    Case {
        id: "messaging.consume.256",
        figure: "consumed, each acknowledged and that confirmed, 1,000 at a time, 256 B",
        words: &["256", CONSUMED],
    },
    Case { id: "messaging.consume.4k", figure: "the same, 4 KiB", words: &["4096", CONSUMED] },
];

/// What the program says.
#[derive(Debug, Deserialize)]
struct Said {
    count: f64,
    seconds: f64,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    let kept = context.workspace.bench_dir().join("nats");
    let server = nats::program(&kept)?;
    build_examples(context, &[("bowline-messaging", "bus")])?;
    let program = example(context, "bus")?;
    // Not where folders of memory may be: what is measured is the disk.
    let folder = tempfile::tempdir_in(context.workspace.bench_dir())?;
    let ours = folder.path().join("ours");
    fill(&program, &server, folder.path())?;
    let (process, addr) = nats::start(&server, folder.path(), "always")?;
    let sides = [("ours", text(&ours)?.to_owned()), ("nats", addr)];
    let mut rates: [[Vec<f64>; 2]; CASES.len()] = Default::default();
    for round in 0..if context.is_long { ROUNDS_LONG } else { ROUNDS } {
        for (case, rates) in CASES.iter().zip(&mut rates) {
            for at in [round % 2, 1 - round % 2] {
                rates[at].push(measure(&program, case, &sides[at])?);
            }
            let [ours, peer] = rates.each_ref().map(|rates| rates.last().copied().unwrap_or_default());
            println!("round {}, {}: bowline {ours:.0}/s, NATS {peer:.0}/s", round + 1, case.id);
        }
    }
    process.stop()?;
    Ok(CASES.iter().zip(&rates).map(|(case, rates)| row(case, rates)).collect())
}

/// Fills what is consumed; the peer may take its time to sync meanwhile.
fn fill(program: &str, server: &Path, folder: &Path) -> anyhow::Result<()> {
    let (process, addr) = nats::start(server, folder, "2m")?;
    for bytes in ["256", "4096"] {
        complete(Command::new(program).args(["fill", "nats", &addr, bytes, CONSUMED]))?;
        let ours = folder.join("ours");
        complete(Command::new(program).args(["consume", "ours", text(&ours)?, bytes, CONSUMED]))?;
    }
    process.stop()
}

/// Messages a second.
fn measure(program: &str, case: &Case, (whose, place): &(&str, String)) -> anyhow::Result<f64> {
    let is_publishing = case.id.starts_with("messaging.publish");
    let what = if is_publishing { "publish" } else { "consume" };
    // What was published before is not to be read first.
    let fresh = format!("{place}-{what}");
    let place = if is_publishing && *whose == "ours" { &fresh } else { place };
    let said = complete(Command::new(program).args([what, whose, place]).args(case.words))?;
    if *place == fresh {
        fs::remove_dir_all(place).with_context(|| format!("delete {place}"))?;
    }
    let said: Said = serde_json::from_str(&said).with_context(|| format!("the program said {said:?}"))?;
    Ok(said.count / said.seconds)
}

fn row(case: &Case, [ours, peer]: &[Vec<f64>; 2]) -> Row {
    let row = Row::more_is_better(case.id, case.figure, "1/s", f64::NAN);
    row.against_rounds("NATS JetStream", ours, peer).budget(BUDGET)
}
