//! What is counted of a service as it is called: attempts, retries, breakers that are not closed, or are held.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_balance::{Change, Detector, Why};
use bowline_model::policy::OutlierPolicy;
use bowline_resilience::breaker::State;
use bowline_runtime::metric::{Counter, Gauge, Registry};
use bowline_telemetry::names;
use bowline_transport::Kind;
use http::StatusCode;

/// The most versions of a service whose attempts are counted apart; those of further ones are counted without.
const VERSIONS_MAX: usize = 64;

/// Of how many versions that nobody is of any more the counts are kept: those that were told of last. What they counted
/// at the end is collected meanwhile, and one that comes back goes on.
const GONE_VERSIONS_MAX: usize = 4;

const HELP: &str = "Attempts to call an instance.";

/// The cells of one service, looked up once.
#[derive(Debug)]
pub(crate) struct Metrics {
    attempts: Mutex<Versions>,
    pub(crate) retries: Counter,
    /// Retries that the budget refused.
    pub(crate) retries_refused: Counter,
    /// Further attempts beside one that was not answered yet.
    hedges: Counter,
    /// Those that the budget refused, or that had nobody else to ask.
    hedges_refused: Counter,
    /// Calls that found no place in their bulkhead.
    pub(crate) bulkhead_refused: Counter,
    pub(crate) breakers: Breakers,
    registry: Registry,
    reporter: &'static str,
    service: String,
}

/// The versions whose attempts are counted apart.
#[derive(Debug, Default)]
struct Versions {
    /// By their names: the cells, and when they were asked for last.
    known: BTreeMap<String, (Attempts, u64)>,
    /// Counts how often cells are asked for.
    asked: u64,
}

/// What came of the attempts to call the instances of one version. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Attempts(Arc<[Counter; Outcome::ALL.len()]>);

/// What came of copies of requests.
#[derive(Debug)]
pub(crate) struct Mirrored {
    sent: [Counter; Outcome::ALL.len()],
    /// There were too many under way.
    pub(crate) dropped: Counter,
    /// The body cannot be sent twice.
    pub(crate) streamed: Counter,
    /// Nobody of that version was there.
    pub(crate) no_instance: Counter,
}

/// How many of a service's breakers are not closed, or are held.
#[derive(Debug, Clone)]
pub(crate) struct Breakers {
    /// Whom they guard.
    pub(crate) service: Arc<str>,
    open: Gauge,
    half_open: Gauge,
    forced_open: Gauge,
    forced_closed: Gauge,
    disabled: Gauge,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer that the policy does not count as a failure.
    Ok,
    /// An answer that it does: of 500 or above, where it says nothing.
    ServerError,
    /// No connection, or none from the instance's sidecar to the instance.
    Connect,
    /// The instance said that it has not looked at the request.
    Refused,
    /// The instance turned it away untouched, as it has more than it can do.
    Shed,
    /// No answer, or a broken one.
    Reset,
    /// No answer in time.
    Timeout,
    /// The caller's own body failed: the instance is not to blame.
    Caller,
    /// Another attempt of the same call was answered first.
    Superseded,
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Ok,
        Self::ServerError,
        Self::Connect,
        Self::Refused,
        Self::Shed,
        Self::Reset,
        Self::Timeout,
        Self::Caller,
        Self::Superseded,
    ];

    /// What came of sending without a policy; nothing in time is `None`.
    pub(crate) fn of(sent: Option<Result<StatusCode, &bowline_transport::Error>>) -> Self {
        match sent {
            None => Self::Timeout,
            Some(Ok(status)) if status.is_server_error() => Self::ServerError,
            Some(Ok(_)) => Self::Ok,
            Some(Err(error)) => Self::of_error(error),
        }
    }

    /// What came of sending where there is no answer.
    pub(crate) fn of_error(error: &bowline_transport::Error) -> Self {
        match error.kind() {
            _ if error.is_connect() => Self::Connect,
            // Those that wait are our own: the instance is not to blame.
            Kind::RequestBody | Kind::Unsupported | Kind::PoolFull => Self::Caller,
            Kind::Refused => Self::Refused,
            _ => Self::Reset,
        }
    }

    /// Its name in metrics and on spans.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ServerError => "server_error",
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Shed => "shed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Caller => "caller",
            Self::Superseded => "superseded",
        }
    }
}

impl Metrics {
    pub(crate) fn new(registry: &Registry, reporter: &'static str, service: &str) -> Self {
        let retries = |granted| {
            let labels: &[_] = &[("reporter", reporter), ("service", service), ("granted", granted)];
            registry.counter("bowline_retries_total", "Retries, granted and refused by the budget.", labels)
        };
        let hedges = |granted| {
            let labels: &[_] = &[("reporter", reporter), ("service", service), ("granted", granted)];
            registry.counter("bowline_hedges_total", "Further attempts that were due, sent and not.", labels)
        };
        let own: &[_] = &[("reporter", reporter), ("service", service)];
        let bulkhead_help = "Calls that found no place in their bulkhead.";
        let breakers = |state: State| {
            let labels: &[_] = &[("reporter", reporter), ("service", service), ("state", state.as_str())];
            registry.gauge("bowline_breakers", "Breakers that are not closed, or held by hand.", labels)
        };
        Self {
            attempts: Mutex::default(),
            retries: retries("true"),
            retries_refused: retries("false"),
            hedges: hedges("true"),
            hedges_refused: hedges("false"),
            bulkhead_refused: registry.counter("bowline_bulkhead_refused_total", bulkhead_help, own),
            breakers: Breakers {
                service: Arc::from(service),
                open: breakers(State::Open),
                half_open: breakers(State::HalfOpen),
                forced_open: breakers(State::ForcedOpen),
                forced_closed: breakers(State::ForcedClosed),
                disabled: breakers(State::Disabled),
            },
            registry: registry.clone(),
            reporter,
            service: service.to_owned(),
        }
    }

    /// A detector of outliers whose ejections are counted, and told.
    pub(crate) fn detector(&self, policy: &OutlierPolicy) -> Detector {
        let ejections = Why::ALL.map(|why| {
            let labels = [("reporter", self.reporter), ("service", &*self.service), ("why", why.as_str())];
            self.registry.counter("bowline_ejections_total", "Instances left out for doing worse.", &labels)
        });
        let callee = self.service.clone();
        Detector::new(policy).on_ejection(move |instance, Change { why, in_a_row }| {
            ejections[why as usize].increment();
            tracing::info!(callee, instance = %instance.id, why = why.as_str(), in_a_row, "instance ejected");
        })
    }

    /// A further attempt was due, and sent or not.
    pub(crate) fn count_hedge(&self, is_sent: bool) {
        let cell = if is_sent { &self.hedges } else { &self.hedges_refused };
        cell.increment();
    }

    /// The cells of the instances of a version, for as long as they are held; without one where they say none.
    pub(crate) fn attempts(&self, version: &str) -> Attempts {
        let mut versions = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if !versions.known.contains_key(version) {
            for gone in versions.take_gone() {
                self.forget(&gone);
            }
        }
        let Versions { known, asked } = &mut *versions;
        *asked += 1;
        let version = if known.len() < VERSIONS_MAX || known.contains_key(version) { version } else { "" };
        let make = || {
            let cell = |outcome| self.registry.counter(names::ATTEMPTS_TOTAL, HELP, &self.labels(outcome, version));
            (Attempts(Arc::new(Outcome::ALL.map(cell))), 0)
        };
        let (attempts, when) = known.entry(version.to_owned()).or_insert_with(make);
        *when = *asked;
        attempts.clone()
    }

    fn forget(&self, version: &str) {
        for outcome in Outcome::ALL {
            self.registry.forget_counter(names::ATTEMPTS_TOTAL, &self.labels(outcome, version));
        }
    }

    fn labels<'a>(&'a self, outcome: Outcome, version: &'a str) -> Vec<(&'static str, &'a str)> {
        let labels = [
            (names::LABEL_REPORTER, self.reporter),
            (names::LABEL_SERVICE, &*self.service),
            (names::LABEL_OUTCOME, outcome.as_str()),
            (names::LABEL_CALLEE_VERSION, version),
        ];
        labels.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The cells of a service whose requests are copied: others do not show them.
    pub(crate) fn mirrored(&self, service: &str) -> Mirrored {
        let cell = |outcome: &str| {
            let labels: &[_] = &[("reporter", self.reporter), ("service", service), ("outcome", outcome)];
            self.registry.counter("bowline_mirrored_total", "Copies of requests for a mirrored version.", labels)
        };
        Mirrored {
            sent: Outcome::ALL.map(|outcome| cell(outcome.as_str())),
            dropped: cell("dropped"),
            streamed: cell("streamed"),
            no_instance: cell("no_instance"),
        }
    }
}

impl Versions {
    /// Takes out the versions that nobody is of any more, but for the last few.
    fn take_gone(&mut self) -> Vec<String> {
        let is_gone = |(version, (attempts, _)): &(&String, &(Attempts, u64))| {
            !version.is_empty() && Arc::strong_count(&attempts.0) == 1
        };
        let gone = self.known.iter().filter(is_gone).map(|(version, (_, when))| (*when, version.clone()));
        let mut gone: Vec<(u64, String)> = gone.collect();
        gone.sort_unstable();
        gone.truncate(gone.len().saturating_sub(GONE_VERSIONS_MAX));
        for (_, version) in &gone {
            self.known.remove(version);
        }
        gone.into_iter().map(|(_, version)| version).collect()
    }
}

impl Attempts {
    /// An attempt was made.
    pub(crate) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].increment();
    }
}

impl Mirrored {
    /// A copy was sent.
    pub(crate) fn sent(&self, outcome: Outcome) {
        self.sent[outcome as usize].increment();
    }
}

impl Breakers {
    /// A breaker went from one state to another.
    pub(crate) fn changed(&self, from: State, to: State) {
        self.add(from, -1);
        self.add(to, 1);
    }

    fn add(&self, state: State, count: i64) {
        match state {
            State::Closed => {}
            State::Open => self.open.add(count),
            State::HalfOpen => self.half_open.add(count),
            State::ForcedOpen => self.forced_open.add(count),
            State::ForcedClosed => self.forced_closed.add(count),
            State::Disabled => self.disabled.add(count),
        }
    }
}
