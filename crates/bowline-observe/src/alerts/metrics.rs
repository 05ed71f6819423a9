//! What alerts count.

use bowline_runtime::metric::{Counter, Gauge, Registry};

/// The cells that are always there; those of a receiver are looked up when it is told.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) pending: Gauge,
    pub(crate) firing: Gauge,
    pub(crate) evaluations_ok: Counter,
    pub(crate) evaluations_failed: Counter,
    pub(crate) ticks_missed: Counter,
    pub(crate) keep_failures: Counter,
    pub(crate) silences: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let alerts = |state| registry.gauge("bowline_alerts", "Alerts there are.", &[("state", state)]);
        let evaluations =
            |outcome| registry.counter("bowline_rule_evaluations_total", "Rules evaluated.", &[("outcome", outcome)]);
        Self {
            registry: registry.clone(),
            pending: alerts("pending"),
            firing: alerts("firing"),
            evaluations_ok: evaluations("ok"),
            evaluations_failed: evaluations("error"),
            ticks_missed: registry.counter(
                "bowline_rule_evaluations_missed_total",
                "Evaluations of groups that were left out, as the one before took too long.",
                &[],
            ),
            keep_failures: registry.counter(
                "bowline_alerts_keep_failures_total",
                "Failures to keep, or to read, the state of alerts.",
                &[],
            ),
            silences: registry.gauge("bowline_alerts_silences", "Silences, those that ended lately included.", &[]),
        }
    }

    /// Notifications of a receiver with that outcome: `sent`, `failed`.
    pub(crate) fn notifications(&self, receiver: &str, outcome: &str) -> Counter {
        let labels = [("receiver", receiver), ("outcome", outcome)];
        self.registry.counter("bowline_notifications_total", "Notifications of receivers.", &labels)
    }

    /// Alerts that nobody was told of, for that reason: `silenced`, `no_receiver`, `not_set`, `too_many`.
    pub(crate) fn suppressed(&self, reason: &str) -> Counter {
        let help = "Alerts that nobody was told of.";
        self.registry.counter("bowline_alerts_suppressed_total", help, &[("reason", reason)])
    }
}
