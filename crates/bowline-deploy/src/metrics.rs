//! What is counted of rollouts.

use bowline_runtime::metric::{Counter, Registry};

use crate::{rollout::Rollout, table::State};

/// Makes the cells of each service when its first rollout begins.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Registry);

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self(registry.clone())
    }

    /// Shows where a rollout is, and with its service both ends that one can come to.
    pub(crate) fn show(&self, rollout: &Rollout) {
        let service = rollout.service.as_str();
        let step = if rollout.is_live() { rollout.state.number(&rollout.course()) } else { 0 };
        let help = "The step that a service's rollout is at; 0: there is none under way.";
        self.0.gauge("bowline_rollout_step", help, &[("service", service)]).set(i64::from(step));
        for outcome in ["promoted", "rolled_back"] {
            self.ended(service, outcome);
        }
    }

    /// Counts what a rollout came to.
    pub(crate) fn record(&self, rollout: &Rollout) {
        self.show(rollout);
        let outcome = match rollout.state {
            State::Promoted => "promoted",
            State::RolledBack => "rolled_back",
            State::Going(_) | State::Paused(_) | State::RollingBack { .. } => return,
        };
        self.ended(rollout.service.as_str(), outcome).increment();
    }

    fn ended(&self, service: &str, outcome: &'static str) -> Counter {
        let help = "Rollouts that ended, by what came of them.";
        self.0.counter("bowline_rollouts_total", help, &[("service", service), ("outcome", outcome)])
    }
}
