//! `bowline query`: PromQL, for people.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use bowline_observe::labels::Labels;
use bowline_provider_remote::{
    QueryTime,
    wire::{MatrixSeries, Point, QueryValue, VectorSeries},
};
use bowline_runtime::time;

use crate::{
    api,
    args::{self, Output},
    duration, style, table, when,
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
    let axis = since.map(|since| Axis::until_now(since, step));
    let time = axis.map_or(QueryTime::At(at), |Axis { start_ms, end_ms, step_ms }| QueryTime::Range {
        start: seconds(start_ms),
        end: seconds(end_ms),
        step: seconds(step_ms),
    });
    let value = api::answered(&query, api::client(&query).await?.query(&expression, &time).await)?;
    match query.output {
        Output::Json => api::print_json(&value)?,
        Output::Text => print(&value, axis),
    }
    Ok(ExitCode::SUCCESS)
}

/// The times of a range, in milliseconds since 1970: what all its series are drawn over.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "bare numbers say their unit")]
struct Axis {
    start_ms: u64,
    end_ms: u64,
    step_ms: u64,
}

impl Axis {
    fn until_now(since: Duration, step: Option<Duration>) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (end_ms, since_ms) = (time::unix_millis_now(), millis(since));
        let step_ms = step.map_or(since_ms / POINTS, millis).max(1);
        Self { start_ms: end_ms.saturating_sub(since_ms), end_ms, step_ms }
    }

    /// A value for each step, none where a series has none.
    fn values(self, points: &[Point]) -> Vec<Option<f64>> {
        let mut values = vec![None; usize::try_from((self.end_ms - self.start_ms) / self.step_ms + 1).unwrap_or(0)];
        for Point(at, value) in points {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time, cut to what is one")]
            let since_ms = ((at * 1000.0).round().max(0.0) as u64).saturating_sub(self.start_ms);
            let step = usize::try_from(since_ms / self.step_ms).unwrap_or(usize::MAX);
            if let Some(place) = values.get_mut(step) {
                *place = value.parse().ok();
            }
        }
        values
    }
}

/// Seconds with decimals, exactly.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn print(value: &QueryValue, axis: Option<Axis>) {
    match value {
        QueryValue::Scalar(Point(_, value)) | QueryValue::String(Point(_, value)) => style::line(&style::plain(value)),
        QueryValue::Vector(series) if series.is_empty() => style::line("no series matches"),
        QueryValue::Matrix(series) if series.is_empty() => style::line("no series matches in that time"),
        QueryValue::Vector(series) => {
            let rows: Vec<Vec<String>> = series.iter().map(vector_row).collect();
            print_table(&["SERIES", "VALUE"], &rows);
        }
        QueryValue::Matrix(series) => {
            let rows: Vec<Vec<String>> = series.iter().map(|series| matrix_row(series, axis)).collect();
            print_table(&["SERIES", "LEAST", "MOST", "LAST", "OVER TIME"], &rows);
            if let Some(Axis { start_ms, end_ms, step_ms }) = axis {
                let step = duration::short(step_ms.saturating_mul(1_000_000));
                style::line(&format!("from {} to {}, every {step}", when::utc(start_ms), when::utc(end_ms)));
            }
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

fn matrix_row(series: &MatrixSeries, axis: Option<Axis>) -> Vec<String> {
    let values = match axis {
        Some(axis) => axis.values(&series.values),
        // A range within the expression, at one time.
        None => series.values.iter().map(|Point(_, value)| value.parse().ok()).collect(),
    };
    let finite = || values.iter().flatten().copied().filter(|number| number.is_finite());
    let least = finite().fold(f64::INFINITY, f64::min);
    let most = finite().fold(f64::NEG_INFINITY, f64::max);
    let shown = |number: f64| if number.is_finite() { short(number) } else { "-".to_owned() };
    let last = series.values.last().map(|Point(_, value)| value.parse().map_or_else(|_| value.clone(), short));
    let drawn = drawn(&values, least, most);
    vec![name(&series.metric), shown(least), shown(most), last.unwrap_or_default(), drawn]
}

/// `name{label="value"}`, as it would be written in an expression.
fn name(metric: &BTreeMap<String, String>) -> String {
    Labels::new(metric.iter().map(|(name, value)| (name.as_str(), value.as_str()))).to_string()
}

/// A number with at most four digits after the point.
fn short(number: f64) -> String {
    let text = format!("{number:.4}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A line of blocks, each as high as its number is between the least and the most; a blank where there is none.
fn drawn(numbers: &[Option<f64>], least: f64, most: f64) -> String {
    let every = numbers.len().div_ceil(DRAWN_MAX).max(1);
    let height = |number: Option<f64>| {
        let Some(number) = number.filter(|number| number.is_finite()) else { return ' ' };
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
        let values = [(60.0, "1"), (61.0, "NaN"), (62.0, "2.00005"), (63.0, "+Inf"), (64.0, "1.5")].map(point);
        let series = MatrixSeries { metric: metric(&[("a", "b")]), values: values.into() };
        assert_eq!(matrix_row(&series, None), [r#"{a="b"}"#, "1", "2", "1.5", "▁ █ ▄"]);
        assert_eq!(drawn(&[Some(5.0), Some(5.0)], 5.0, 5.0), "▁▁");
        assert_eq!(drawn(&vec![Some(0.0); 1000], 0.0, 0.0).chars().count(), 59);
        // All are drawn over the same time.
        let axis = Axis { start_ms: 58_000, end_ms: 66_000, step_ms: 1000 };
        assert_eq!(matrix_row(&series, Some(axis))[4], "  ▁ █ ▄  ");
    }
}
