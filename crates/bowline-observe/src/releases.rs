//! What was measured of one release of a service: by its own instances, and by those who called them.
//!
//! Requests and durations are what instances report themselves, or their sidecars (`reporter="server"`). Who gives no
//! answer at all cannot report that: it is taken from the attempts of the callers (`bowline_attempts_total`), which
//! also stand for all of it where instances report nothing. What a sidecar answered with a 5xx in the place of its
//! instance counts once, though the caller counts it as unanswered.
//!
//! Counts are exact where PromQL's `increase` estimates: a canary has few requests, and the first failure is the
//! first sample of its series.

use std::{collections::BTreeMap, time::Duration};

use bowline_model::{
    ServiceName,
    deploy::{Figures, condition::Quantile},
};
use bowline_telemetry::names;

use crate::{
    labels::{Labels, Matcher, NAME},
    promql::LOOKBACK,
    source::{Sample, Series, Source, SourceError, is_stale},
};

/// The most samples that are read of one counter within an hour.
pub const SAMPLES_MAX: usize = 5_000_000;

/// The farthest back that is looked.
pub const WINDOW_MAX: Duration = Duration::from_hours(24);

/// How much of a window is read at once: every sample within is held meanwhile.
const READ_AT_ONCE: Duration = Duration::from_hours(1);

/// The label of a bucket's upper bound.
const BOUND: &str = "le";

/// Whose figures are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// Its release; not empty.
    pub version: &'a str,
    /// How far back; beyond [`WINDOW_MAX`] it is that.
    pub window: Duration,
    /// Which quantiles of the durations.
    pub quantiles: &'a [Quantile],
}

/// What was measured within the window that ends at `now_ms`, in milliseconds since 1970, also of instances that are
/// gone. Blocks.
///
/// A duration above the highest bound of the histogram, 10 s, is given as that; without requests there is none.
///
/// # Errors
/// Those of the source; there are at most [`SAMPLES_MAX`] samples.
pub fn figures(source: &dyn Source, asked: Asked<'_>, now_ms: i64) -> Result<Figures, SourceError> {
    let asked = Asked { window: asked.window.min(WINDOW_MAX), ..asked };
    let read = Read { source, asked, now_ms };
    let served = read.grown(names::REQUESTS_TOTAL, names::LABEL_VERSION, names::LABEL_CODE)?;
    let attempts = read.grown(names::ATTEMPTS_TOTAL, names::LABEL_CALLEE_VERSION, names::LABEL_OUTCOME)?;
    let of = |outcomes: &[&str]| outcomes.iter().filter_map(|outcome| attempts.get(*outcome)).sum::<f64>();
    let (mut answered, mut failed) = (served.values().sum::<f64>(), 0.0);
    if answered > 0.0 {
        failed += served.iter().filter(|(code, _)| code.starts_with('5')).map(|(_, count)| count).sum::<f64>();
    } else {
        (answered, failed) = (of(&["ok", "server_error"]), of(&["server_error"]));
    }
    // A sidecar that got no answer says 5xx, and its caller that there was none: that is one request.
    let seen_by_sidecars = if served.is_empty() { 0.0 } else { (failed - of(&["server_error"])).max(0.0) };
    let unanswered = (of(&["connect", "reset", "timeout"]) - seen_by_sidecars).max(0.0);
    let requests = answered + unanswered;
    if requests <= 0.0 {
        return Ok(Figures::default());
    }
    let error_ratio = (failed + unanswered) / requests;
    Ok(Figures { requests, error_ratio, quantiles: read.quantiles()? })
}

/// Reads of one release.
struct Read<'a> {
    source: &'a dyn Source,
    asked: Asked<'a>,
    now_ms: i64,
}

impl Read<'_> {
    /// By how much the counters of a name grew within the window, by one of their labels. `version_label` is the one
    /// that names the release; who else counts than the instances themselves does not matter where it is the callee's.
    fn grown(&self, name: &str, version_label: &str, by: &str) -> Result<BTreeMap<String, f64>, SourceError> {
        let Asked { service, version, window, quantiles: _ } = self.asked;
        let mut matchers = vec![
            Matcher::equal(NAME, name),
            Matcher::equal(names::LABEL_SERVICE, service.as_str()),
            Matcher::equal(version_label, version),
        ];
        if version_label == names::LABEL_VERSION {
            matchers.push(Matcher::equal(names::LABEL_REPORTER, "server"));
        }
        let begin_ms = self.now_ms.saturating_sub(millis(window));
        let (mut grown, mut counters) = (BTreeMap::new(), BTreeMap::new());
        let (mut from_ms, mut to_ms) = (begin_ms.saturating_sub(millis(LOOKBACK)), begin_ms);
        while to_ms < self.now_ms {
            to_ms = self.now_ms.min(to_ms.saturating_add(millis(READ_AT_ONCE)));
            for Series { labels, samples } in self.source.select(&matchers, from_ms, to_ms, SAMPLES_MAX)? {
                let by = value(&labels, by);
                let counter: &mut Counter = counters.entry(labels).or_default();
                for sample in samples {
                    counter.take(sample, begin_ms);
                }
                *grown.entry(by).or_default() += std::mem::take(&mut counter.grown);
            }
            from_ms = to_ms.saturating_add(1);
        }
        Ok(grown)
    }

    fn quantiles(&self) -> Result<Vec<(Quantile, Duration)>, SourceError> {
        if self.asked.quantiles.is_empty() {
            return Ok(Vec::new());
        }
        let name = format!("{}_bucket", names::REQUEST_DURATION_SECONDS);
        let grown = self.grown(&name, names::LABEL_VERSION, BOUND)?;
        let bound = |(bound, count): (String, f64)| Some((bound.parse::<f64>().ok()?, count));
        let mut buckets: Vec<_> = grown.into_iter().filter_map(bound).collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let found = |quantile: &Quantile| Some((*quantile, quantile_of(*quantile, &buckets)?));
        Ok(self.asked.quantiles.iter().filter_map(found).collect())
    }
}

fn value(labels: &Labels, name: &str) -> String {
    labels.get(name).unwrap_or_default().to_owned()
}

/// A counter as its samples come. One that was not there before began at 0, as its process did; one that fell began
/// anew.
#[derive(Debug, Default)]
struct Counter {
    last: f64,
    /// By how much it grew since the window began.
    grown: f64,
}

impl Counter {
    fn take(&mut self, sample: Sample, begin_ms: i64) {
        let Sample { at_ms, value } = sample;
        if is_stale(value) {
            return;
        }
        if at_ms > begin_ms {
            self.grown += if value < self.last { value } else { value - self.last };
        }
        self.last = value;
    }
}

/// The duration that the quantile does not exceed, interpolated within its bucket. Buckets are cumulative, by their
/// bounds.
fn quantile_of(quantile: Quantile, buckets: &[(f64, f64)]) -> Option<Duration> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let rank = quantile.ratio() * total;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (bound, count) = buckets[at];
    let (lower, below) = at.checked_sub(1).map_or((0.0, 0.0), |before| buckets[before]);
    let seconds = if bound.is_finite() { lower + (bound - lower) * (rank - below) / (count - below) } else { lower };
    Duration::try_from_secs_f64(seconds).ok()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
