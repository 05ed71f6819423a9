//! What is asked for its metrics, and the port that says so.

use std::{fmt, sync::Arc};

use bowline_transport::Endpoint;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use crate::labels::Labels;

/// The most scrape targets of one collector.
pub const TARGETS_MAX: usize = 10_000;

/// The label of the group of copies that a scrape target belongs to.
pub(crate) const JOB: &str = "job";
/// The label of the copy that a scrape target is.
pub(crate) const INSTANCE: &str = "instance";

/// Says what is to be scraped now: a list that changes.
pub trait ScrapeTargets: Send + Sync + 'static {
    /// The list, and each later one. When its other end is gone, the last list stays.
    ///
    /// Of scrape targets of the same job, instance and labels the first counts.
    fn watch(&self) -> watch::Receiver<Arc<[Target]>>;
}

impl ScrapeTargets for watch::Receiver<Arc<[Target]>> {
    fn watch(&self) -> watch::Receiver<Arc<[Target]>> {
        self.clone()
    }
}

/// One that exposes metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The label `job` of its series: the service it is a copy of.
    pub job: Arc<str>,
    /// The label `instance` of its series: which copy.
    pub instance: Arc<str>,
    /// Further labels of its series.
    pub labels: Labels,
    /// Where it is asked.
    pub place: Place,
    /// Whether it may have no metrics: answers that say so are no failure.
    pub is_optional: bool,
}

/// Where metrics are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A server that is asked over HTTP.
    Http {
        /// Where and how it is dialled.
        endpoint: Endpoint,
        /// The `Host` of the request; absent: that of the endpoint.
        host: Option<String>,
        /// The path, with its query.
        path: String,
    },
    /// This process, which needs no connection to itself.
    Process,
}

/// What tells one scrape target from all others: as long as it stays, its series go on.
pub(crate) type Key = Labels;

impl Target {
    /// A server that has to expose metrics there.
    pub fn http(job: &str, instance: &str, endpoint: Endpoint, path: &str) -> Self {
        Self {
            job: job.into(),
            instance: instance.into(),
            labels: Labels::default(),
            place: Place::Http { endpoint, host: None, path: path.to_owned() },
            is_optional: false,
        }
    }

    /// This process.
    pub fn process(job: &str, instance: &str) -> Self {
        let (job, instance) = (job.into(), instance.into());
        Self { job, instance, labels: Labels::default(), place: Place::Process, is_optional: false }
    }

    /// The labels of all its series.
    pub fn series_labels(&self) -> Labels {
        self.labels.with(JOB, &self.job).with(INSTANCE, &self.instance)
    }

    pub(crate) fn key(&self) -> Key {
        self.series_labels()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Http { endpoint, host: _, path } = self else { return f.write_str("process:") };
        let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
        match &endpoint.address {
            bowline_model::Address::Tcp(addr) => write!(f, "{scheme}://{addr}{path}"),
            bowline_model::Address::Unix(socket) => write!(f, "{scheme}+unix:{}:{path}", socket.display()),
        }
    }
}

/// Where in an interval a scrape target is asked, in milliseconds: targets are spread over it.
pub(crate) fn phase_ms(key: &Key, interval_ms: i64) -> i64 {
    let hash = xxh3_64(key.to_string().as_bytes());
    let interval = u64::try_from(interval_ms).unwrap_or(1).max(1);
    i64::try_from(hash % interval).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_as_links() {
        let at = |address: &str| Endpoint::http1(address.parse::<bowline_model::Address>().unwrap());
        let place = |endpoint| Target::http("a", "a-1", endpoint, "/metrics").place.to_string();
        assert_eq!(place(at("127.0.0.1:80")), "http://127.0.0.1:80/metrics");
        assert_eq!(place(at("unix:/run/a.sock")), "http+unix:/run/a.sock:/metrics");
        let tls = Endpoint { tls: Some(bowline_model::ServiceName::new("a").unwrap()), ..at("[::1]:80") };
        assert_eq!(place(tls), "https://[::1]:80/metrics");
    }

    #[test]
    fn a_thousand_targets_are_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for number in 0..1000 {
            let phase = phase_ms(&Target::process("a", &number.to_string()).key(), 5000);
            tenths[usize::try_from(phase / 500).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }
}
