//! What is counted of a service as it is called: attempts, retries, breakers that are not closed.

use bowline_resilience::breaker::State;
use bowline_runtime::metric::{Counter, Gauge, Registry};

/// The cells of one service, looked up once.
#[derive(Debug)]
pub(crate) struct Metrics {
    attempts: [Counter; Outcome::ALL.len()],
    pub(crate) retries: Counter,
    /// Retries that the budget refused.
    pub(crate) retries_refused: Counter,
    pub(crate) breakers: Breakers,
}

/// How many of a service's breakers are not closed.
#[derive(Debug, Clone)]
pub(crate) struct Breakers {
    open: Gauge,
    half_open: Gauge,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer below 500.
    Ok,
    /// An answer of 500 or above.
    ServerError,
    /// No connection.
    Connect,
    /// The instance said that it has not looked at the request.
    Refused,
    /// No answer, or a broken one.
    Reset,
    /// No answer in time.
    Timeout,
    /// The caller's own body failed: the instance is not to blame.
    Caller,
}

impl Outcome {
    const ALL: [Self; 7] =
        [Self::Ok, Self::ServerError, Self::Connect, Self::Refused, Self::Reset, Self::Timeout, Self::Caller];

    /// Its name in metrics and on spans.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ServerError => "server_error",
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Caller => "caller",
        }
    }
}

impl Metrics {
    pub(crate) fn new(registry: &Registry, reporter: &str, service: &str) -> Self {
        let attempts = |outcome: Outcome| {
            let labels: &[_] = &[("reporter", reporter), ("service", service), ("outcome", outcome.as_str())];
            registry.counter("bowline_attempts_total", "Attempts to call an instance.", labels)
        };
        let retries = |granted| {
            let labels: &[_] = &[("reporter", reporter), ("service", service), ("granted", granted)];
            registry.counter("bowline_retries_total", "Retries, granted and refused by the budget.", labels)
        };
        let breakers = |state| {
            let labels: &[_] = &[("reporter", reporter), ("service", service), ("state", state)];
            registry.gauge("bowline_breakers", "Instances whose breaker is not closed.", labels)
        };
        Self {
            attempts: Outcome::ALL.map(attempts),
            retries: retries("true"),
            retries_refused: retries("false"),
            breakers: Breakers { open: breakers("open"), half_open: breakers("half_open") },
        }
    }

    pub(crate) fn attempted(&self, outcome: Outcome) {
        self.attempts[outcome as usize].increment();
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
        }
    }
}
