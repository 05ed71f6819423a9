//! `bench balance`: what a pick costs at 10,000 instances, and an update, beside what the registry has.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Context, Row, build_examples, example, median, mesh::complete, pinned};

const ROUNDS: usize = 3;
const ROUNDS_LONG: usize = 9;

/// What is measured in each round.
const KINDS: [&str; 3] = ["picks", "updates", "tables"];

/// Id, what it says, its unit, the peer, the budget.
type Figure = (&'static str, &'static str, &'static str, Option<&'static str>, Option<f64>);

const FIGURES: [Figure; 22] = [
    ("balance.rr", "a pick of 10,000, round robin", "ns", None, Some(15.0)),
    ("balance.p2c", "P2C peak EWMA", "ns", None, Some(60.0)),
    ("balance.maglev", "Maglev", "ns", None, Some(30.0)),
    ("balance.random", "random", "ns", None, None),
    ("balance.weighted", "weighted", "ns", None, None),
    ("balance.least", "least connections", "ns", None, None),
    ("balance.ring", "ring", "ns", None, None),
    ("balance.ring.bounded", "ring with headroom", "ns", None, None),
    ("balance.load", "taking the snapshot, which each call does besides", "ns", None, None),
    ("balance.p2c.tower", "snapshot, P2C pick, request begun and ended", "ns", Some("tower"), Some(1.0)),
    ("balance.maglev.peer", "key hashed, snapshot, Maglev pick, of 500", "ns", Some("maglev"), None),
    ("balance.ring.ketama", "key hashed, snapshot, ring pick", "ns", Some("pingora-ketama"), None),
    ("balance.ring.hashring", "the same, of whom it has one point each", "ns", Some("hashring"), None),
    ("balance.update", "one of 10,000 changes, P2C", "µs", None, Some(100.0)),
    ("balance.update.rr", "the same, round robin", "µs", None, Some(100.0)),
    ("balance.update.weighted", "the same, weighted", "µs", None, Some(100.0)),
    ("balance.update.whole", "the same, told by a list of all", "µs", None, None),
    ("balance.table.maglev.100", "making Maglev's table for 100", "ms", None, None),
    ("balance.table.maglev.500", "for 500", "ms", Some("maglev"), None),
    ("balance.table.maglev.10000", "for 10,000", "ms", None, None),
    ("balance.table.ring.100", "making the ring for 100", "ms", None, None),
    ("balance.table.ring.10000", "for 10,000", "ms", Some("pingora-ketama"), None),
];

/// What the program says.
#[derive(Debug, Deserialize)]
struct Said {
    id: String,
    ours: f64,
    peer: Option<f64>,
}

/// The rounds of a figure.
#[derive(Debug, Default)]
struct Rounds {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    build_examples(context, &[("bowline-balance", "bench_balance")])?;
    let program = example(context, "bench_balance")?;
    let mut said: BTreeMap<String, Rounds> = BTreeMap::new();
    for _ in 0..if context.is_long { ROUNDS_LONG } else { ROUNDS } {
        for kind in KINDS {
            for line in complete(pinned(&program).arg(kind))?.lines() {
                let Said { id, ours, peer } =
                    serde_json::from_str(line).with_context(|| format!("the program said {line:?}"))?;
                println!("{id}: {ours:.3}");
                let rounds = said.entry(id).or_default();
                rounds.ours.push(ours);
                rounds.peer.extend(peer);
            }
        }
    }
    FIGURES.iter().map(|figure| row(figure, &said)).collect()
}

fn row(figure: &Figure, said: &BTreeMap<String, Rounds>) -> anyhow::Result<Row> {
    let (id, text, unit, peer_name, budget) = figure;
    let Rounds { ours, peer } = said.get(*id).with_context(|| format!("the program did not say {id}"))?;
    let row = Row::less_is_better(id, text, unit, median(ours.clone()));
    let row = peer_name.iter().fold(row, |row, name| row.against_rounds(name, ours, peer));
    Ok(budget.iter().fold(row, |row, budget| row.budget(*budget)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_of_its_rounds() {
        let rounds = |ours: &[f64], peer: &[f64]| Rounds { ours: ours.to_vec(), peer: peer.to_vec() };
        let said = BTreeMap::from([
            ("balance.rr".to_owned(), rounds(&[12.0, 14.0, 13.0], &[])),
            ("balance.p2c.tower".to_owned(), rounds(&[200.0, 300.0, 250.0], &[400.0, 600.0, 500.0])),
        ]);
        let alone = row(&FIGURES[0], &said).unwrap();
        assert_eq!((alone.ours, alone.ratio, alone.budget), (13.0, None, Some(15.0)));
        let tower = row(&FIGURES[9], &said).unwrap();
        assert_eq!((tower.ours, tower.peer, tower.ratio), (250.0, Some(500.0), Some(0.5)));
        assert!(row(&FIGURES[1], &said).is_err(), "the program did not say it");
    }
}
