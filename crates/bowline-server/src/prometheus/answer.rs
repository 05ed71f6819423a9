//! Answers in Prometheus' shape.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bowline_model::{Code, error::chain};
use bowline_observe::{
    labels::Labels,
    promql::{self, Value},
    source::Sample,
};
use bowline_runtime::task;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

/// What a handler gives.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl<T> Success<T> {
    pub(crate) fn new(data: T) -> Self {
        Self { status: "success", data, warnings: Vec::new() }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// The first ones, and a warning that there are more.
pub(crate) fn limited<T>(mut items: Vec<T>, limit: Option<usize>) -> Success<Vec<T>> {
    let warnings = cut(&mut items, limit);
    Success { warnings, ..Success::new(items) }
}

/// Leaves the first ones; gives a warning if there were more.
fn cut<T>(items: &mut Vec<T>, limit: Option<usize>) -> Vec<String> {
    let is_cut = limit.is_some_and(|limit| items.len() > limit);
    items.truncate(limit.unwrap_or(usize::MAX));
    if is_cut { vec!["results truncated due to limit".to_owned()] } else { Vec::new() }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailureBody {
    status: &'static str,
    error_type: &'static str,
    error: String,
}

impl Failure {
    /// What was asked makes no sense.
    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    /// A thread that worked on it failed: the log says why.
    pub(crate) fn internal() -> Self {
        let message = "the answer could not be made".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", message }
    }
}

impl From<promql::Error> for Failure {
    fn from(error: promql::Error) -> Self {
        let (status, kind) = match error.code() {
            Code::InvalidArgument => (StatusCode::BAD_REQUEST, "bad_data"),
            Code::DeadlineExceeded => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Code::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "canceled"),
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        };
        // What the caller can mend may be a cause: how many samples were too many.
        Self { status, kind, message: chain(&error) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { status, kind, message } = self;
        (status, Json(FailureBody { status: "error", error_type: kind, error: message })).into_response()
    }
}

/// A value, at most so many series of it; written on a thread that may block, as it may be long.
pub(crate) async fn value(value: Value, limit: Option<usize>) -> Result<Response> {
    let written = task::spawn_blocking(move || write(value, limit)).await;
    written.map_err(|_| Failure::internal())
}

fn write(value: Value, limit: Option<usize>) -> Response {
    let mut warnings = Vec::new();
    let data = match value {
        Value::Scalar(sample) => Data::new("scalar", Body::Point(Point(sample))),
        Value::Text { at_ms, text } => Data::new("string", Body::Text(Time(at_ms), text)),
        Value::Vector(mut vector) => {
            warnings = cut(&mut vector, limit);
            let one = |(labels, sample)| One { metric: Metric(labels), value: Point(sample) };
            Data::new("vector", Body::Vector(vector.into_iter().map(one).collect()))
        }
        Value::Matrix(mut series) => {
            warnings = cut(&mut series, limit);
            let many = |series: bowline_observe::source::Series| Many {
                metric: Metric(series.labels),
                values: series.samples.into_iter().map(Point).collect(),
            };
            Data::new("matrix", Body::Matrix(series.into_iter().map(many).collect()))
        }
    };
    Success { warnings, ..Success::new(data) }.into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: &'static str,
    result: Body,
}

impl Data {
    fn new(result_type: &'static str, result: Body) -> Self {
        Self { result_type, result }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body {
    Point(Point),
    Text(Time, String),
    Vector(Vec<One>),
    Matrix(Vec<Many>),
}

#[derive(Serialize)]
struct One {
    metric: Metric,
    value: Point,
}

#[derive(Serialize)]
struct Many {
    metric: Metric,
    values: Vec<Point>,
}

/// Labels as an object.
#[derive(Debug)]
pub(crate) struct Metric(pub(crate) Labels);

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// `[seconds, "value"]`.
struct Point(Sample);

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        (Time(self.0.at_ms), number(self.0.value)).serialize(serializer)
    }
}

/// Seconds, without decimals where there are none.
struct Time(i64);

impl Serialize for Time {
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 285,000")]
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0 {
            serializer.serialize_i64(self.0 / 1000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

/// A number as Prometheus writes it: never with an exponent.
pub(crate) fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_as_prometheus_writes_them() {
        for (value, text) in [(1.0, "1"), (0.1, "0.1"), (f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (-0.0, "-0")] {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(1e21), "1000000000000000000000");
        let points =
            [Point(Sample { at_ms: 1_435_781_430_781, value: 1.5 }), Point(Sample { at_ms: 2000, value: 3.0 })];
        assert_eq!(serde_json::to_string(&points).unwrap(), r#"[[1435781430.781,"1.5"],[2,"3"]]"#);
    }
}
