//! The same query over the same samples.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{prometheus, store::Data};
use crate::bench::{
    Context, Row,
    ask::{escaped, get},
    proxy::Pins,
    up::Up,
};

/// One of five series, all of their samples; each route has two instances.
const QUERY: &str = "sum by (route) (rate(shop_requests_total[5m]))";
const STEP_SECONDS: i64 = 30;

/// Pairs of queries, after one of each that does not count.
const PAIRS: usize = 15;
const PAIRS_LONG: usize = 100;

/// How far values may differ, of their size.
const DIFFERENCE_MAX: f64 = 1e-9;

/// Series by their labels as JSON: times and values.
type Answer = BTreeMap<String, Vec<(f64, f64)>>;

pub(super) fn run(context: &Context<'_>, folder: &Path, data: &Data, pins: &Pins) -> anyhow::Result<Row> {
    let up = Up::start(context, &folder.join("ours"), "name = \"empty\"\n", &[], &pins.proxy)?;
    // Without targets, and what is in the folder stays in blocks of two hours.
    let (peer, peer_addr) = prometheus(folder, "global: {}\n", &data.blocks, pins)?;
    let [from, to] = data.seconds();
    let query = escaped(QUERY);
    let path = format!("/api/v1/query_range?query={query}&start={}&end={to}&step={STEP_SECONDS}", from + 600);
    let (answer, _) = ask(&up.api, &path)?;
    let (expect, _) = ask(&peer_addr, &path)?;
    let values = same(&read(&answer)?, &read(&expect)?)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..if context.is_long { PAIRS_LONG } else { PAIRS } {
        for is_ours in [pair % 2 == 0, pair % 2 != 0] {
            let (addr, times) = if is_ours { (&up.api, &mut ours) } else { (&peer_addr, &mut theirs) };
            times.push(ask(addr, &path)?.1.as_secs_f64() * 1e3);
        }
    }
    up.process.stop()?;
    peer.stop()?;
    Ok(Row::less_is_better("metrics.query", "range query over HTTP", "ms", f64::NAN)
        .against_rounds("prometheus", &ours, &theirs)
        .note(format!("goal: ratio 1; {QUERY} over {} h; {values} values agree", (to - from) / 3600)))
}

fn ask(addr: &str, path: &str) -> anyhow::Result<(String, Duration)> {
    let begun = Instant::now();
    let answer = get(addr, path)?;
    Ok((answer, begun.elapsed()))
}

fn read(answer: &str) -> anyhow::Result<Answer> {
    let answer: Value = serde_json::from_str(answer)?;
    let value = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
    let series = |series: &Value| {
        let values = series["values"].as_array()?.iter().map(value).collect::<Option<_>>()?;
        Some((series["metric"].to_string(), values))
    };
    let result = answer["data"]["result"].as_array().and_then(|result| result.iter().map(series).collect());
    result.with_context(|| format!("not a matrix: {answer}"))
}

/// How many values both have; a difference is an error.
fn same(ours: &Answer, theirs: &Answer) -> anyhow::Result<usize> {
    let keys = |answer: &Answer| answer.keys().cloned().collect::<Vec<_>>();
    ensure!(!ours.is_empty() && keys(ours) == keys(theirs), "series differ: {:?}, {:?}", keys(ours), keys(theirs));
    let mut count = 0;
    for ((labels, ours), theirs) in ours.iter().zip(theirs.values()) {
        ensure!(ours.len() == theirs.len(), "{labels}: {} values, theirs {}", ours.len(), theirs.len());
        for (our, their) in ours.iter().zip(theirs) {
            let is_close = (our.1 - their.1).abs() <= DIFFERENCE_MAX * their.1.abs().max(1.0);
            ensure!((our.0 - their.0).abs() < 1e-3 && is_close, "{labels}: {our:?}, theirs {their:?}");
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(value: &str) -> Answer {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"route":"/a"},"values":[[1,"2.5"],[2.5,"VALUE"]]}]}}"#;
        read(&text.replace("VALUE", value)).unwrap()
    }

    #[test]
    fn answers_are_compared_by_value() {
        assert_eq!(answer("7"), [(r#"{"route":"/a"}"#.to_owned(), vec![(1.0, 2.5), (2.5, 7.0)])].into());
        assert_eq!(same(&answer("7"), &answer("7.000000000001")).unwrap(), 2);
        let told = same(&answer("7"), &answer("7.0000001")).unwrap_err().to_string();
        assert!(told.contains("/a") && told.contains("7.0000001"), "{told}");
        assert!(same(&answer("7"), &Answer::new()).is_err());
        assert!(same(&Answer::new(), &Answer::new()).is_err());
    }
}
