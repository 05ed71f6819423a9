//! Texts and data that nobody thought of: nothing panics.

use bowline_observe::{
    labels::{Labels, NAME},
    promql::{Engine, parse},
    source::{STALE, Sample},
};
use proptest::prelude::*;

use super::memory::Memory;

const LEAVES: [&str; 14] = [
    "m",
    "n",
    "{a=~\".+\"}",
    "m offset 1m",
    "m @ 30",
    "n @ end() offset -30s",
    "1",
    "-0",
    "NaN",
    "Inf",
    "time()",
    "vector(scalar(m))",
    "m_bucket",
    "0x1F",
];
const CALLS: [&str; 28] = [
    "sum(@)",
    "avg by (a) (@)",
    "topk(2, @)",
    "bottomk by (b) (1, @)",
    "quantile(0.5, @)",
    "stddev without (a) (@)",
    "count_values(\"a\", @)",
    "group(@)",
    "-@",
    "(@)",
    "abs(@)",
    "round(@, 0.1)",
    "clamp(@, -1, 2)",
    "sort_desc(@)",
    "scalar(@)",
    "timestamp(@)",
    "year(@)",
    "absent(@)",
    "histogram_quantile(0.9, @)",
    "label_replace(@, \"a\", \"$1\", \"b\", \"(.*)\")",
    "label_join(@, \"b\", \"-\", \"a\", \"b\")",
    "rate(@[1m:7s])",
    "deriv(@[1m:10s] offset 5s)",
    "quantile_over_time(1.5, @[45s:5s])",
    "max_over_time(@[1m:])",
    "predict_linear(@[1m:9s] @ start(), 60)",
    "double_exponential_smoothing(@[1m:9s], 0.5, 0.5)",
    "changes(@[1m:15s])",
];
const OPERATORS: [&str; 17] = [
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "atan2",
    "==",
    "!= bool",
    ">",
    "<= bool",
    "and",
    "or on (a)",
    "unless ignoring (b)",
    "* on (a) group_left (b)",
    "/ ignoring (a) group_right",
    "> on (b)",
];

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(LEAVES.as_slice()).prop_map(str::to_owned);
    leaf.prop_recursive(4, 12, 2, |inner| {
        let call = (prop::sample::select(CALLS.as_slice()), inner.clone())
            .prop_map(|(call, inner)| call.replacen('@', &inner, 1));
        let binary = (inner.clone(), prop::sample::select(OPERATORS.as_slice()), inner)
            .prop_map(|(left, operator, right)| format!("({left}) {operator} ({right})"));
        prop_oneof![call, binary]
    })
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -10.0..10.0,
        1 => prop::sample::select([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, STALE].as_slice()),
    ]
}

fn memory() -> impl Strategy<Value = Memory> {
    let name = prop::sample::select(["m", "n", "m_bucket"].as_slice());
    let label = || prop::sample::select(["", "1", "2"].as_slice());
    let bound = prop::sample::select(["", "0.1", "1", "+Inf", "x"].as_slice());
    let labels = (name, label(), label(), bound)
        .prop_map(|(name, a, b, le)| Labels::new([(NAME, name), ("a", a), ("b", b), ("le", le)]));
    let samples = prop::collection::btree_map(0i64..120_000, value(), 0..12)
        .prop_map(|samples| samples.into_iter().map(|(at_ms, value)| Sample { at_ms, value }).collect());
    prop::collection::btree_map(labels, samples, 0..8).prop_map(Memory)
}

proptest! {
    #[test]
    fn any_text_is_an_expression_or_a_mistake_with_a_place(text in ".{0,80}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.position.line >= 1 && error.position.column >= 1);
        }
    }

    #[test]
    fn any_words_are_an_expression_or_a_mistake_with_a_place(
        words in prop::collection::vec(prop::sample::select([
            "sum", "rate", "m", "(", ")", "{", "}", "[", "]", "5m", ":", ",", "=", "=~", "!~", "\"a\"", "'(.*'", "`", "by", "on",
            "group_left", "offset", "@", "-", "+", "1", "1e9", "inf", "0x1f", "start()", "bool", "and", "or", "==", "\\", "é", "#", "\n",
        ].as_slice()), 0..24),
        glue in prop::sample::select(["", " "].as_slice()),
    ) {
        if let Err(error) = parse(&words.join(glue)) {
            prop_assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn any_expression_over_any_data_has_a_value_or_an_error(text in expression(), memory in memory()) {
        let Ok(expr) = parse(&text) else { return Ok(()) };
        let engine = Engine { samples_max: 100_000, ..Engine::default() };
        drop(engine.instant(&memory, &expr, 60_000));
        if let Ok(series) = engine.range(&memory, &expr, 0, 120_000, 13_000) {
            for series in series {
                prop_assert!(series.samples.is_sorted_by(|a, b| a.at_ms < b.at_ms));
                prop_assert!(series.samples.iter().all(|sample| sample.value.to_bits() != STALE.to_bits()));
            }
        }
    }
}
