//! `bench resilience`: what the patterns cost, beside failsafe, recloser and what tower has.

use std::{collections::BTreeMap, process::Command};

use anyhow::Context as _;
use serde::Deserialize;

use super::{Context, Row, build_examples, example, mesh::complete, pinned, proxy::median};

const ROUNDS: usize = 5;
const ROUNDS_LONG: usize = 15;

/// Id, what it says, its unit, the peer (empty: none), the budget.
type Figure = (&'static str, &'static str, &'static str, &'static str, Option<f64>);

const FIGURES: [Figure; 18] = [
    (CALL, "a guarded call (breaker, bulkhead, timeout) that is ready at once", "ns", "", Some(60.0)),
    ("resilience.call.retry", "the same with a retry budget", "ns", "", None),
    ("resilience.call.yield", "a guarded call that yields once", "ns", STACK, Some(1.0)),
    ("resilience.yield", "the yield alone", "ns", "", None),
    ("resilience.call.threads2", "guarded calls of two threads by those of one", "factor", "", None),
    ("resilience.breaker.failsafe", "a call through a breaker, with its clock", "ns", "failsafe", None),
    ("resilience.breaker.recloser", "the same, without a clock", "ns", "recloser", None),
    (THREADS, "calls of two threads through one breaker by those of one", "factor", "", Some(1.0)),
    ("resilience.breaker.threads2.failsafe", "the same", "factor", "failsafe", None),
    ("resilience.bulkhead", "a place taken and given back", "ns", "tokio's semaphore", Some(1.0)),
    ("resilience.bulkhead.handed", "a place handed over to one that waits", "ns", "tokio's semaphore", None),
    ("resilience.shed", "a request admitted", "ns", "tokio's semaphore", None),
    ("resilience.timeout", "a timeout around what is ready", "ns", "tokio's timeout", Some(1.0)),
    ("resilience.budget", "a deposit and a withdrawal", "ns", "tower's `TpsBudget`", Some(1.0)),
    ("resilience.hedge", "a hedged call that is ready at once", "ns", "", None),
    ("resilience.rate", "a check of the cell rate, one key", "ns", "", None),
    ("resilience.rate.sliding", "a check of the sliding window, one key", "ns", "", None),
    ("resilience.outcome", "a status classified", "ns", "", None),
];

/// Those that have a budget of their own, beside a peer.
const AGAINST: [(&str, Figure); 2] = [
    ("resilience.call.tower", (CALL, "a guarded call that is ready at once", "ns", STACK, Some(1.0))),
    ("resilience.breaker.threads2.recloser", (THREADS, "two threads by one", "factor", "recloser", None)),
];

const CALL: &str = "resilience.call";
const THREADS: &str = "resilience.breaker.threads2";
const STACK: &str = "tower and failsafe";

/// What the program says.
#[derive(Debug, Deserialize)]
struct Said {
    id: String,
    ours: f64,
    peer: Option<f64>,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    build_examples(context, &[("bowline-resilience", "bench_resilience")])?;
    let program = example(context, "bench_resilience")?;
    let mut said: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    for _ in 0..if context.is_long { ROUNDS_LONG } else { ROUNDS } {
        for what in ["alone", "threads"] {
            for line in complete(&mut command(&program, what))?.lines() {
                let Said { id, ours, peer } =
                    serde_json::from_str(line).with_context(|| format!("the program said {line:?}"))?;
                let [all_ours, all_peer] = said.entry(id).or_default();
                all_ours.push(ours);
                all_peer.extend(peer);
            }
        }
    }
    let mut rows: Vec<Row> = FIGURES.iter().map(|figure| row(figure, &said)).collect::<anyhow::Result<_>>()?;
    for (id, against) in AGAINST {
        rows.push(Row { id: id.to_owned(), ..row(&against, &said)? });
    }
    Ok(rows)
}

/// On one core, unless what is measured is more than one.
fn command(program: &str, what: &str) -> Command {
    let mut command = if what == "alone" { pinned(program) } else { Command::new(program) };
    command.arg(what);
    command
}

fn row(figure: &Figure, said: &BTreeMap<String, [Vec<f64>; 2]>) -> anyhow::Result<Row> {
    let (id, text, unit, peer_name, budget) = figure;
    let [ours, peer] = said.get(*id).with_context(|| format!("the program did not say {id}"))?;
    let make = if *unit == "factor" { Row::more_is_better } else { Row::less_is_better };
    let row = match *peer_name {
        "" => make(id, text, unit, median(ours.clone())),
        peer_name => make(id, text, unit, f64::NAN).against_rounds(peer_name, ours, peer),
    };
    Ok(budget.iter().fold(row, |row, budget| row.budget(*budget)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_of_its_rounds_with_and_without_a_peer() {
        let said = BTreeMap::from([
            (CALL.to_owned(), [vec![40.0, 50.0, 45.0], vec![80.0, 90.0, 90.0]]),
            (THREADS.to_owned(), [vec![1.8], vec![1.9]]),
        ]);
        let call = row(&FIGURES[0], &said).unwrap();
        assert_eq!((call.ours, call.peer, call.budget), (45.0, None, Some(60.0)));
        let against = row(&(CALL, "", "ns", STACK, Some(1.0)), &said).unwrap();
        assert_eq!((against.peer, against.ratio), (Some(90.0), Some(0.5)));
        assert!(row(&AGAINST[1].1, &said).unwrap().ratio.unwrap() > 1.0, "more is better");
    }
}
