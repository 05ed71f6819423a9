//! Parameters: from the query, and from a form in the body of a POST.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{Method, header},
};
use bowline_observe::{alerts::parse_rfc3339, promql};
use bowline_runtime::time::Duration;

use super::answer::{Failure, Result};

/// The most parameters of a request.
const PARAMS_MAX: usize = 1000;

/// Names and values, in their order.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content_type.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let body = if request.method() == Method::POST && is_form {
            let body = Bytes::from_request(request, state).await;
            body.map_err(|rejection| Failure::bad_data(rejection.body_text()))?
        } else {
            Bytes::new()
        };
        let pairs = form_urlencoded::parse(&body).chain(form_urlencoded::parse(query.as_bytes()));
        let owned = pairs.map(|(name, value)| (name.into_owned(), value.into_owned()));
        let pairs: Vec<(String, String)> = owned.take(PARAMS_MAX + 1).collect();
        if pairs.len() > PARAMS_MAX {
            return Err(Failure::bad_data(format!("more than {PARAMS_MAX} parameters")));
        }
        Ok(Self(pairs))
    }
}

impl Params {
    /// The first value of a name; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|(known, _)| known == name);
        first.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A time in milliseconds since 1970: seconds with decimals, or RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>> {
        self.get(name).map(|text| time(text).ok_or_else(|| invalid(name, text, "a valid timestamp"))).transpose()
    }

    pub(crate) fn need_time(&self, name: &str) -> Result<i64> {
        self.time(name)?.ok_or_else(|| invalid(name, "", "a valid timestamp"))
    }

    /// A duration above zero: seconds with decimals, or Prometheus' `1h30m`.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>> {
        self.get(name).map(|text| duration(text).ok_or_else(|| invalid(name, text, "a positive duration"))).transpose()
    }

    pub(crate) fn need_duration(&self, name: &str) -> Result<Duration> {
        self.duration(name)?.ok_or_else(|| invalid(name, "", "a positive duration"))
    }

    /// How many; 0 means no limit.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>> {
        let count = self.get(name).map(|text| text.parse().map_err(|_| invalid(name, text, "a count"))).transpose()?;
        Ok(count.filter(|count| *count > 0))
    }
}

fn invalid(name: &str, text: &str, what: &str) -> Failure {
    let text: String = text.chars().take(128).collect();
    Failure::bad_data(format!("invalid parameter {name:?}: cannot parse {text:?} to {what}"))
}

fn time(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return millis(seconds);
    }
    parse_rfc3339(text)
}

fn duration(text: &str) -> Option<Duration> {
    let millis = match text.parse::<f64>() {
        Ok(seconds) => u64::try_from(millis(seconds)?).ok()?,
        Err(_) => u64::try_from(promql::duration(text)?.as_millis()).ok()?,
    };
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// Seconds as whole milliseconds, the nearest.
#[expect(clippy::cast_possible_truncation, reason = "checked to be within what is exact")]
fn millis(seconds: f64) -> Option<i64> {
    /// So far that sums of two times are times: 285,000 years.
    const MILLIS_MAX: f64 = 9e15;
    let millis = (seconds * 1000.0).round();
    (millis.abs() <= MILLIS_MAX).then_some(millis as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn times_are_seconds_or_dates() {
        for (text, expected) in [
            ("1435781430.781", Some(1_435_781_430_781)),
            ("-1", Some(-1000)),
            ("2015-07-01T20:10:30.781Z", Some(1_435_781_430_781)),
            ("2015-07-01T22:10:30.781+02:00", Some(1_435_781_430_781)),
            ("NaN", None),
            ("1e300", None),
            ("yesterday", None),
        ] {
            assert_eq!(params(&[("time", text)]).time("time").ok().flatten(), expected, "{text}");
        }
        assert_eq!(params(&[("time", "")]).time("time").ok().flatten(), None);
    }

    #[test]
    fn steps_are_seconds_or_durations() {
        for (text, expected) in [
            ("15", Some(15_000)),
            ("0.5", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("0", None),
            ("-1", None),
            ("x", None),
        ] {
            let step = params(&[("step", text)]).duration("step").ok().flatten();
            assert_eq!(step, expected.map(Duration::from_millis), "{text}");
        }
    }
}
