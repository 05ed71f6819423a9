//! What a query may take, and how it ends before.

use std::time::Duration;

use bowline_model::Code;
use bowline_observe::{
    labels::{Labels, NAME},
    promql::{Cancel, Engine, Error, Value, parse},
    source::Sample,
};

use super::memory::Memory;

/// So many series with a sample each 15 s.
fn memory(series: usize, samples: i64) -> Memory {
    let labels = |number: usize| Labels::new([(NAME, "m".to_owned()), ("number", number.to_string())]);
    let sample = |number: i64| Sample { at_ms: number * 15_000, value: f64::from(i32::try_from(number).unwrap()) };
    Memory((0..series).map(|number| (labels(number), (0..samples).map(sample).collect())).collect())
}

fn range(engine: &Engine, text: &str, to_ms: i64, step_ms: i64) -> Result<usize, Error> {
    engine.range(&memory(10, 100), &parse(text).unwrap(), 0, to_ms, step_ms).map(|series| series.len())
}

#[test]
fn steps_and_times_have_bounds() {
    let engine = Engine::default();
    assert_eq!(range(&engine, "m", 11_000 * 15_000, 15_000).unwrap(), 10);
    let code = |to_ms, step_ms| range(&engine, "m", to_ms, step_ms).unwrap_err().code();
    assert_eq!(code(11_001 * 15_000, 15_000), Code::InvalidArgument);
    assert_eq!(
        (code(-1, 1), code(1, 0), code(i64::MAX, i64::MAX)),
        (Code::InvalidArgument, Code::InvalidArgument, Code::InvalidArgument)
    );
    let error = range(&engine, "m[5m]", 0, 1).unwrap_err();
    assert!(matches!(error, Error::NotForRange { .. }) && error.code() == Code::InvalidArgument);
    assert!(range(&engine, "m @ 9e15 offset -100y", i64::MAX / 4, i64::MAX / 8).is_ok());
}

#[test]
fn memory_has_bounds() {
    let engine = Engine { samples_max: 1400, ..Engine::default() };
    assert_eq!(range(&engine, "m", 15_000, 15_000).unwrap(), 10);
    assert!(matches!(range(&engine, "m", 99 * 15_000, 1000), Err(Error::TooManySamples { samples_max: 1400 })));
    assert!(matches!(range(&engine, "m + m + m", 49 * 15_000, 15_000), Err(Error::TooManySamples { .. })));
    assert!(matches!(range(&engine, "rate(m[1h])", 0, 1), Ok(0)));
    for text in ["sum_over_time(vector(1)[100y:1ms])", "count_values(\"x\", time())", "absent(vector(1)[5m:1ms])"] {
        let Ok(expr) = parse(text) else { continue };
        let error = engine.instant(&memory(1, 1), &expr, 0).unwrap_err();
        assert_eq!(error.code(), Code::Unprocessable, "{text}");
    }
    // What a part held is given back when it is done.
    let text = vec!["sum(m)"; 40].join(" + ");
    let engine = Engine { samples_max: 3000, ..Engine::default() };
    assert_eq!(range(&engine, &text, 99 * 15_000, 15_000).unwrap(), 1);
}

#[test]
fn labels_that_functions_make_have_bounds() {
    let engine = Engine { samples_max: 1400, ..Engine::default() };
    let nested = |call: &str, end: &str, count: usize| format!("{}m{}", call.repeat(count), end.repeat(count));
    let doubling = |count| {
        let joined = nested("label_join(", ", \"number\", \"\", \"number\", \"number\")", count);
        let replaced = nested("label_replace(", ", \"number\", \"$1$1\", \"number\", \"(.*)\")", count);
        [joined, replaced]
    };
    for text in doubling(4) {
        assert_eq!(range(&engine, &text, 0, 1).unwrap(), 10);
    }
    for text in doubling(90) {
        assert!(matches!(range(&Engine::default(), &text, 0, 1), Err(Error::InvalidArgument { .. })), "{text}");
    }
    // Long ones count as the samples that would take as much.
    let long = format!("label_replace(m, \"a\", \"{}\", \"number\", \".*\")", "x".repeat(4000));
    assert!(matches!(range(&engine, &long, 0, 1), Err(Error::TooManySamples { .. })));
    assert_eq!(range(&Engine::default(), &long, 0, 1).unwrap(), 10);
}

#[test]
fn answers_have_a_bound() {
    let engine = Engine { series_max: 9, ..Engine::default() };
    assert!(matches!(range(&engine, "m", 0, 1), Err(Error::TooManySeries { series_max: 9 })));
    assert_eq!(range(&engine, "sum(m)", 0, 1).unwrap(), 1);
}

#[test]
fn a_query_ends_when_it_is_told_to() {
    let cancel = Cancel::default();
    cancel.cancel();
    let error = range(&Engine { cancel, ..Engine::default() }, "m", 0, 1).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    let engine = Engine { timeout: Duration::ZERO, ..Engine::default() };
    let error = range(&engine, "sum_over_time(m[100y]) + sum_over_time(m[100y])", 5000, 1).unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::DeadlineExceeded, true));
}

#[test]
fn an_instant_query_gives_what_the_expression_gives() {
    let ask = |text: &str| Engine::default().instant(&memory(2, 3), &parse(text).unwrap(), 30_000).unwrap();
    assert_eq!(ask("1"), Value::Scalar(Sample { at_ms: 30_000, value: 1.0 }));
    assert_eq!(ask("\"a\""), Value::Text { at_ms: 30_000, text: "a".to_owned() });
    let Value::Vector(vector) = ask("m") else { panic!() };
    assert_eq!(vector.len(), 2);
    let Value::Matrix(matrix) = ask("m{number=\"0\"}[16s]") else { panic!() };
    assert_eq!(matrix[0].samples, [Sample { at_ms: 15_000, value: 1.0 }, Sample { at_ms: 30_000, value: 2.0 }]);
}

#[test]
fn the_same_labels_twice_are_an_error() {
    let labels = |name: &str| Labels::new([(NAME, name), ("a", "1")]);
    let samples: Vec<_> = (0..5).map(|number| Sample { at_ms: number * 15_000, value: 1.0 }).collect();
    let memory = Memory([(labels("x"), samples.clone()), (labels("y"), samples)].into());
    let ask = |text: &str| Engine::default().instant(&memory, &parse(text).unwrap(), 60_000);
    for text in [
        "-{a=\"1\"}",
        "abs({a=\"1\"})",
        "{a=\"1\"} * 2",
        "rate({a=\"1\"}[1m])",
        "label_replace({a=\"1\"}, \"__name__\", \"\", \"\", \"\")",
    ] {
        let error = ask(text).unwrap_err();
        assert!(matches!(error, Error::DuplicateLabels { .. }) && error.code() == Code::Unprocessable, "{text}");
    }
    assert!(ask("{a=\"1\"} > 0").is_ok() && ask("last_over_time({a=\"1\"}[1m])").is_ok());
    assert!(matches!(ask("{a=\"1\"} + on (a) {a=\"1\"}"), Err(Error::Matching { .. })));
    assert!(matches!(ask("{a=\"1\"} + on (a) x"), Err(Error::Matching { .. })));
    assert!(ask("{a=\"1\"} + on (a) group_left x").is_err() && ask("{a=\"1\"} > on (a) group_left x").is_ok());
}

#[test]
fn the_deepest_expressions_are_evaluated() {
    let nested = |open: &str, close: &str, levels: usize| format!("{}m{}", open.repeat(levels), close.repeat(levels));
    let wide = format!("m{}", " + m".repeat(100));
    let subqueries = nested("max_over_time(", "[1m:1m])", 50);
    for text in [
        nested("abs(", ")", 100),
        nested("(", ")", 100),
        nested("-", "", 100),
        nested("sum(", ")", 100),
        wide,
        subqueries,
    ] {
        let expr = parse(&text).unwrap();
        let evaluated = Engine::default().range(&memory(2, 10), &expr, 0, 600_000, 60_000);
        assert!(evaluated.is_ok(), "{text}: {evaluated:?}");
    }
}

#[test]
fn a_fixed_range_has_one_value_at_all_steps() {
    let series = Engine::default()
        .range(&memory(1, 100), &parse("sum_over_time(m[1m] @ 150)").unwrap(), 0, 1_000_000, 100_000)
        .unwrap();
    assert_eq!(series[0].samples.len(), 11);
    assert!(series[0].samples.iter().all(|sample| (sample.value - 34.0).abs() < 1e-9), "{series:?}");
}

#[test]
fn expressions_and_engines_go_to_other_threads() {
    fn is_sent<T: Send + Sync + 'static>() {}
    is_sent::<bowline_observe::promql::Expr>();
    is_sent::<Engine>();
    is_sent::<Error>();
}
