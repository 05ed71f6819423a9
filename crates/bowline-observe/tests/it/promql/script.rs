//! A small language for cases, like that of Prometheus' `promqltest`: what is loaded, what is asked, what is
//! expected.
//!
//! - `clear` forgets all series.
//! - `load STEP`, then lines `SERIES VALUES`: values are numbers, `_` (none), `stale`, `1x3` (1 four times),
//!   `1+2x3` (1 3 5 7) and `_x3` (three times none).
//! - `eval instant at TIME EXPRESSION` or `eval range from TIME to TIME step STEP EXPRESSION`, then lines of
//!   what is expected: `SERIES VALUES`, a number alone for a scalar, or `expect fail`, `expect ordered`,
//!   `expect string "…"`, `expect range vector from TIME to TIME step STEP`.
//! - Lines that begin with `#` say something to the reader.

use std::collections::BTreeMap;

use bowline_observe::{
    labels::{Labels, NAME},
    promql::{Engine, Value, parse},
    source::{STALE, Sample, Series},
};

use super::memory::Memory;

/// How far a value may be from the expected one, against their sum.
const ERROR_MAX: f64 = 0.000_001;

/// Runs a script; gives how many questions it asked, and what was answered wrongly.
pub(crate) fn run(script: &str) -> (usize, Vec<String>) {
    let mut memory = Memory::default();
    let (mut asked, mut wrong) = (0, Vec::new());
    let mut lines = script.lines().map(str::trim).enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let mut block = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| !is_command(line)) {
            block.extend((!line.is_empty() && !line.starts_with('#')).then_some(line));
        }
        if line == "clear" {
            memory = Memory::default();
        } else if let Some(step) = line.strip_prefix("load ") {
            load(&mut memory, millis(step), &block);
        } else if let Some(question) = line.strip_prefix("eval ") {
            asked += 1;
            if let Err(error) = check(&memory, question, &block) {
                wrong.push(format!("line {}: {question}: {error}", number + 1));
            }
        }
    }
    (asked, wrong)
}

fn is_command(line: &str) -> bool {
    line == "clear" || line.starts_with("load ") || line.starts_with("eval ")
}

fn load(memory: &mut Memory, step_ms: i64, block: &[&str]) {
    for line in block {
        let (labels, values) = series(line);
        let samples = memory.0.entry(labels).or_default();
        for (step, value) in (0i64..).zip(values) {
            samples.extend(value.map(|value| Sample { at_ms: step * step_ms, value }));
        }
        samples.sort_by_key(|sample| sample.at_ms);
    }
}

/// What a question must be answered with.
#[derive(Debug, Default)]
struct Expected<'a> {
    is_failing: bool,
    is_ordered: bool,
    text: Option<String>,
    /// Start, end and step of a range vector's samples.
    range: Option<[i64; 3]>,
    lines: Vec<&'a str>,
}

fn expected<'a>(block: &[&'a str]) -> Expected<'a> {
    let mut expected = Expected::default();
    for line in block {
        match line.strip_prefix("expect ") {
            Some("fail") => expected.is_failing = true,
            Some("ordered") => expected.is_ordered = true,
            Some(rest) => {
                if let Some(text) = rest.strip_prefix("string ") {
                    expected.text = Some(quoted(text).0);
                } else {
                    let words: Vec<_> = rest.split_whitespace().collect();
                    expected.range = Some([millis(words[3]), millis(words[5]), millis(words[7])]);
                }
            }
            None => expected.lines.push(line),
        }
    }
    expected
}

fn check(memory: &Memory, question: &str, block: &[&str]) -> Result<(), String> {
    let expected = expected(block);
    let words = question.splitn(8, ' ').collect::<Vec<_>>();
    let engine = Engine::default();
    let answer = if words[0] == "instant" {
        let at_ms = millis(words[2]);
        let text = question.splitn(4, ' ').nth(3).unwrap();
        parse(text).map_err(|error| error.to_string()).and_then(|expr| {
            let value = engine.instant(memory, &expr, at_ms).map_err(|error| error.to_string())?;
            stable(memory, &engine, &expr, at_ms, &value)?;
            Ok(value)
        })
    } else {
        let text = words[7];
        let [from, to, step] = [words[2], words[4], words[6]].map(millis);
        parse(text).map_err(|error| error.to_string()).and_then(|expr| {
            let series = engine.range(memory, &expr, from, to, step).map_err(|error| error.to_string())?;
            Ok(Value::Matrix(series))
        })
    };
    match answer {
        Err(_) if expected.is_failing => Ok(()),
        Err(error) => Err(error),
        Ok(value) if expected.is_failing => Err(format!("must fail, gave {value:?}")),
        Ok(value) => compare(&value, &expected, &words),
    }
}

/// A range query must say at each of its steps what an instant query says there.
fn stable(
    memory: &Memory,
    engine: &Engine,
    expr: &bowline_observe::promql::Expr,
    at_ms: i64,
    value: &Value,
) -> Result<(), String> {
    let Value::Vector(vector) = value else { return Ok(()) };
    let series = engine.range(memory, expr, at_ms, at_ms + 60_000, 60_000).map_err(|error| error.to_string());
    // Later steps may fail where the first one does not.
    let Ok(series) = series else { return Ok(()) };
    let first = series.iter().filter_map(|series| Some((&series.labels, series.samples.first()?)));
    let first: BTreeMap<_, _> = first.filter(|(_, sample)| sample.at_ms == at_ms).collect();
    let mut instant: BTreeMap<_, _> = vector.iter().map(|(labels, sample)| (labels, sample)).collect();
    if expr.to_string().contains("end()") {
        instant.clear();
        return Ok(());
    }
    let is_same = first.len() == instant.len()
        && first
            .iter()
            .all(|(labels, sample)| instant.get(labels).is_some_and(|other| is_near(sample.value, other.value)));
    if is_same { Ok(()) } else { Err(format!("the range query gives {first:?}, the instant one {instant:?}")) }
}

fn compare(value: &Value, expected: &Expected<'_>, words: &[&str]) -> Result<(), String> {
    let wrong = |expected: &str| Err(format!("expected {expected}, got {value:?}"));
    match value {
        Value::Text { text, .. } => match &expected.text {
            Some(expected) if expected == text => Ok(()),
            _ => wrong(&format!("{:?}", expected.text)),
        },
        Value::Scalar(sample) => match expected.lines.first().map(|line| number(line)) {
            Some(expected) if is_near(sample.value, expected) => Ok(()),
            expected => wrong(&format!("{expected:?}")),
        },
        Value::Vector(vector) => {
            let found = vector.iter().map(|(labels, sample)| (labels.clone(), vec![Some(sample.value)]));
            let missing = expected.lines.iter().map(|line| series(line)).collect();
            same(found.collect(), missing, expected.is_ordered).or_else(|message| wrong(&message))
        }
        Value::Matrix(found) => {
            let [from, to, step] = expected.range.unwrap_or_else(|| [words[2], words[4], words[6]].map(millis));
            let found = found.iter().map(|series| (series.labels.clone(), columns(series, from, to, step))).collect();
            let pad = |line: &&str| {
                let (labels, mut values) = series(line);
                values.resize(usize::try_from((to - from) / step + 1).unwrap(), None);
                (labels, values)
            };
            same(found, expected.lines.iter().map(pad).collect(), false).or_else(|message| wrong(&message))
        }
    }
}

type Row = (Labels, Vec<Option<f64>>);

/// The values at the steps.
fn columns(series: &Series, from: i64, to: i64, step: i64) -> Vec<Option<f64>> {
    let at = |at_ms: i64| series.samples.iter().find(|sample| sample.at_ms == at_ms).map(|sample| sample.value);
    (0..=(to - from) / step).map(|number| at(from + number * step)).collect()
}

fn same(mut found: Vec<Row>, mut expected: Vec<Row>, is_ordered: bool) -> Result<(), String> {
    if !is_ordered {
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        expected.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    let is_same = found.len() == expected.len()
        && found.iter().zip(&expected).all(|((labels, values), (expected_labels, expected_values))| {
            labels == expected_labels
                && values.len() == expected_values.len()
                && values.iter().zip(expected_values).all(|(a, b)| match (a, b) {
                    (Some(a), Some(b)) => is_near(*a, *b),
                    (None, None) => true,
                    _ => false,
                })
        });
    if is_same { Ok(()) } else { Err(format!("{expected:?}")) }
}

#[expect(clippy::float_cmp, reason = "equal is near")]
fn is_near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() / (a.abs() + b.abs()).min(f64::MAX) < ERROR_MAX
}

/// A duration in milliseconds: `1m30s`, or seconds.
pub(crate) fn millis(text: &str) -> i64 {
    if let Ok(seconds) = text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "times of cases are small")]
        return (seconds * 1000.0).round() as i64;
    }
    let (mut rest, mut millis) = (text, 0);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(char::is_alphabetic).unwrap());
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "y" => 365 * 86_400_000,
            _ => panic!("{text}"),
        };
        millis += number.parse::<i64>().unwrap() * unit;
        rest = after;
    }
    millis
}

/// Labels and values of a line.
fn series(line: &str) -> Row {
    let end_of_name = line.find([' ', '{']).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end_of_name);
    if let Ok(value) = name.parse::<f64>() {
        assert!(rest.is_empty(), "{line}");
        return (Labels::default(), vec![Some(value)]);
    }
    let mut pairs = vec![(NAME.to_owned(), name.to_owned())];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (label, after) =
                if rest.starts_with('"') { quoted(rest) } else { split(rest, rest.find(['=', ' ']).unwrap()) };
            let after = after.trim_start();
            let (label, value, after) = match after.strip_prefix('=') {
                Some(value) => {
                    let (value, after) = quoted(value.trim_start());
                    (label, value, after)
                }
                None => (NAME.to_owned(), label, after),
            };
            pairs.push((label, value));
            rest = after.trim_start().trim_start_matches(',').trim_start();
        }
        rest = &rest[1..];
    }
    (Labels::new(pairs), rest.split_whitespace().flat_map(values).collect())
}

fn split(text: &str, at: usize) -> (String, &str) {
    (text[..at].to_owned(), &text[at..])
}

/// The text in quotes that a line begins with, and the rest.
fn quoted(line: &str) -> (String, &str) {
    let mut characters = line.char_indices();
    let quote = characters.next().unwrap().1;
    let mut text = String::new();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' if quote != '`' => text.push(match characters.next().unwrap().1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            c if c == quote => return (text, &line[at + 1..]),
            c => text.push(c),
        }
    }
    panic!("{line}")
}

/// `1`, `_`, `stale`, `1x3`, `1+2x3`, `_x3`
fn values(word: &str) -> Vec<Option<f64>> {
    let Some((what, times)) = word.rsplit_once('x').filter(|(what, _)| !what.is_empty()) else {
        return vec![value(word)];
    };
    let times: usize = times.parse().unwrap();
    if what == "_" {
        return vec![None; times];
    }
    let sign = what.rmatch_indices(['+', '-']).map(|(at, _)| at).find(|at| *at > 0 && !what[..*at].ends_with('e'));
    let (first, step) = sign.map_or((what, 0.0), |at| (&what[..at], number(&what[at..])));
    match value(first) {
        Some(first) => (0..=times).scan(first, |next, _| Some(Some(std::mem::replace(next, *next + step)))).collect(),
        None => vec![None; times],
    }
}

fn value(word: &str) -> Option<f64> {
    match word {
        "_" => None,
        "stale" => Some(STALE),
        _ => Some(number(word)),
    }
}

fn number(word: &str) -> f64 {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}
