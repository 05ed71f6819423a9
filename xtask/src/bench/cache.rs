//! `bench cache`: what a hit costs and how often there is one, beside `quick_cache`, `moka` and a plain LRU.

use std::{collections::BTreeMap, process::Command};

use anyhow::Context as _;
use serde::Deserialize;

use super::{Context, Row, build_examples, example, mesh::complete, pinned};

const ROUNDS: usize = 6;
const ROUNDS_LONG: usize = 16;

/// What is measured in each round; the ratios are the same each time.
const TIMED: [&str; 3] = ["hits", "scaling", "misses"];

/// Id, what it says, its unit, the peer, the budget.
type Figure = (&'static str, &'static str, &'static str, &'static str, Option<f64>);

const FIGURES: [Figure; 11] = [
    ("cache.hit.quick_cache", "`get` that hits, each waits for the one before", "ns", "quick_cache", Some(1.1)),
    ("cache.hit.moka", "the same", "ns", "moka", Some(1.0)),
    ("cache.hit.async", "`get_or_load` that hits, polled once", "ns", "quick_cache", Some(1.25)),
    ("cache.hit.ahead", "`get` that hits, where the processor looks ahead", "ns", "quick_cache", Some(1.4)),
    ("cache.ratio.zipf.1", "share of misses, Zipf 0.8, room for 1 % of the keys", "share", "LRU", Some(1.0)),
    ("cache.ratio.zipf.10", "the same, room for 10 %", "share", "LRU", Some(1.0)),
    ("cache.ratio.moka", "the same, room for 10 %", "share", "moka", None),
    ("cache.ratio.scan", "share of misses, Zipf 0.9 with scans of twice the room", "share", "LRU", Some(0.9)),
    ("cache.ratio.scan.moka", "the same", "share", "moka", None),
    ("cache.miss", "a load that is ready at once", "µs", "moka", None),
    (SCALING, "hits a second of two threads by those of one", "factor", "quick_cache", None),
];

/// The one figure of which more is better.
const SCALING: &str = "cache.scaling";

/// What the program says.
#[derive(Debug, Deserialize)]
struct Said {
    id: String,
    ours: f64,
    peer: f64,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    build_examples(context, &[("bowline-cache", "bench_cache")])?;
    let program = example(context, "bench_cache")?;
    let mut said: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    let mut measure = |what: &str, is_ours_last: bool| -> anyhow::Result<()> {
        let order = if is_ours_last { "last" } else { "first" };
        for line in complete(command(&program, what).arg(order))?.lines() {
            let Said { id, ours, peer } =
                serde_json::from_str(line).with_context(|| format!("the program said {line:?}"))?;
            println!("{id}: {ours:.3}, peer {peer:.3}");
            let [all_ours, all_peer] = said.entry(id).or_default();
            all_ours.push(ours);
            all_peer.push(peer);
        }
        Ok(())
    };
    measure("ratios", false)?;
    for round in 0..if context.is_long { ROUNDS_LONG } else { ROUNDS } {
        TIMED.iter().try_for_each(|what| measure(what, round % 2 == 1))?;
    }
    FIGURES.iter().map(|figure| row(figure, &said)).collect()
}

/// On one core, unless what is measured is more than one.
fn command(program: &str, what: &str) -> Command {
    let mut command = if what == "scaling" { Command::new(program) } else { pinned(program) };
    command.arg(what);
    command
}

fn row(figure: &Figure, said: &BTreeMap<String, [Vec<f64>; 2]>) -> anyhow::Result<Row> {
    let (id, text, unit, peer_name, budget) = figure;
    let [ours, peer] = said.get(*id).with_context(|| format!("the program did not say {id}"))?;
    let is_more_better = *id == SCALING;
    let make = if is_more_better { Row::more_is_better } else { Row::less_is_better };
    let row = make(id, text, unit, f64::NAN).against_rounds(peer_name, ours, peer);
    Ok(budget.iter().fold(row, |row, budget| row.budget(*budget)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_of_its_rounds() {
        let said = BTreeMap::from([
            ("cache.hit.moka".to_owned(), [vec![40.0, 50.0, 45.0], vec![80.0, 90.0, 90.0]]),
            (SCALING.to_owned(), [vec![1.8], vec![1.9]]),
        ]);
        let hit = row(&FIGURES[1], &said).unwrap();
        assert_eq!((hit.ours, hit.peer, hit.ratio, hit.budget), (45.0, Some(90.0), Some(0.5), Some(1.0)));
        let scaling = row(&FIGURES[10], &said).unwrap();
        assert!(scaling.ratio.unwrap() > 1.0, "more is better: {scaling:?}");
        assert!(row(&FIGURES[0], &said).is_err(), "the program did not say it");
    }
}
