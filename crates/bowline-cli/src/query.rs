//! `bowline query`: PromQL, for people.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use bowline_provider_remote::{
    QueryTime,
    wire::{MatrixSeries, Point, QueryValue, VectorSeries},
};
use bowline_runtime::time;

use crate::{
    api,
    args::{self, Output},
    style, table, when,
};

/// How many points a range has where no step is told.
const POINTS: u64 = 60;
/// How wide a series is drawn, in characters.
const DRAWN_MAX: usize = 60;
/// The drawn heights.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Evaluates an expression.
pub(crate) async fn run(args: args::Promql) -> anyhow::Result<ExitCode> {
    let args::Promql { expression, at, since, step, query } = args;
    let time = match since {
        None => QueryTime::At(at),
        Some(since) => {
            let end_ms = time::unix_millis_now();
            let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            let step_ms = step.map_or(since_ms / POINTS, |step| u64::try_from(step.as_millis()).unwrap_or(u64::MAX));
            QueryTime::Range {
                start: seconds(end_ms.saturating_sub(since_ms)),
                end: seconds(end_ms),
                step: seconds(step_ms.max(1)),
            }
        }
    };
    let value = api::answered(&query, api::client(&query).await?.query(&expression, &time).await)?;
    match query.output {
        Output::Json => api::print_json(&value)?,
        Output::Text => print(&value),
    }
    Ok(ExitCode::SUCCESS)
}

/// Seconds with decimals, exactly.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn print(value: &QueryValue) {
    match value {
        QueryValue::Scalar(Point(_, value)) | QueryValue::String(Point(_, value)) => style::line(&style::plain(value)),
        QueryValue::Vector(series) if series.is_empty() => style::line("no series matches"),
        QueryValue::Matrix(series) if series.is_empty() => style::line("no series matches in that time"),
        QueryValue::Vector(series) => {
            let rows: Vec<Vec<String>> = series.iter().map(vector_row).collect();
            print_table(&["SERIES", "VALUE"], &rows);
        }
        QueryValue::Matrix(series) => {
            let rows: Vec<Vec<String>> = series.iter().map(matrix_row).collect();
            print_table(&["SERIES", "FROM", "LEAST", "MOST", "LAST", "OVER TIME"], &rows);
        }
    }
}

fn print_table(head: &[&str], rows: &[Vec<String>]) {
    for line in table::lines(head, rows) {
        style::line(&line);
    }
}

fn vector_row(series: &VectorSeries) -> Vec<String> {
    vec![name(&series.metric), series.value.1.clone()]
}

fn matrix_row(series: &MatrixSeries) -> Vec<String> {
    let numbers: Vec<f64> = series.values.iter().filter_map(|Point(_, value)| value.parse().ok()).collect();
    let finite = || numbers.iter().copied().filter(|number| number.is_finite());
    let least = finite().fold(f64::INFINITY, f64::min);
    let most = finite().fold(f64::NEG_INFINITY, f64::max);
    let shown = |number: f64| if number.is_finite() { short(number) } else { "-".to_owned() };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time, cut to what is one")]
    let from = series.values.first().map_or(0, |Point(at, _)| (at.max(0.0) * 1000.0) as u64);
    let last = numbers.last().copied().map(short).unwrap_or_default();
    vec![name(&series.metric), when::utc(from), shown(least), shown(most), last, drawn(&numbers, least, most)]
}

/// `name{label="value"}`, as it would be written in an expression.
fn name(metric: &BTreeMap<String, String>) -> String {
    let mut text = metric.get("__name__").cloned().unwrap_or_default();
    let mut labels = metric.iter().filter(|(name, _)| *name != "__name__").peekable();
    if labels.peek().is_none() && !text.is_empty() {
        return text;
    }
    text.push('{');
    for (at, (label, value)) in labels.enumerate() {
        let _infallible = write!(text, "{}{label}={value:?}", if at == 0 { "" } else { ", " });
    }
    text.push('}');
    text
}

/// A number with at most four digits after the point.
fn short(number: f64) -> String {
    let text = format!("{number:.4}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A line of blocks, each as high as its number is between the least and the most.
fn drawn(numbers: &[f64], least: f64, most: f64) -> String {
    let every = numbers.len().div_ceil(DRAWN_MAX).max(1);
    let height = |number: f64| {
        if !number.is_finite() {
            return ' ';
        }
        let share = if most > least { (number - least) / (most - least) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7")]
        let at = (share * 7.0).round() as usize;
        HEIGHTS[at.min(HEIGHTS.len() - 1)]
    };
    numbers.iter().step_by(every).map(|number| height(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_series_is_named_as_in_an_expression() {
        assert_eq!(name(&metric(&[("__name__", "up"), ("job", "a\"b")])), r#"up{job="a\"b"}"#);
        assert_eq!(name(&metric(&[("__name__", "up")])), "up");
        assert_eq!(name(&metric(&[])), "{}");
    }

    #[test]
    fn a_series_over_time_is_drawn() {
        let point = |(at, value): (f64, &str)| Point(at, value.to_owned());
        let values = [(60.0, "1"), (61.5, "NaN"), (62.0, "2.00005"), (63.0, "+Inf"), (64.0, "1.5")].map(point);
        let row = matrix_row(&MatrixSeries { metric: metric(&[("a", "b")]), values: values.into() });
        assert_eq!(row, [r#"{a="b"}"#, "1970-01-01 00:01:00Z", "1", "2", "1.5", "▁ █ ▄"]);
        assert_eq!(drawn(&[5.0, 5.0], 5.0, 5.0), "▁▁");
        assert_eq!(drawn(&vec![0.0; 1000], 0.0, 0.0).chars().count(), 59);
    }
}
