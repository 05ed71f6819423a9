//! The transition table of an instance's health: `step(state, event, thresholds) -> (state, effect)`.
//!
//! Pure: no clock, no instance. Whoever probes runs it, and the model checker explores it.

/// What the probes of a process so far mean. Counters are of probes in a row, and always less than their
/// threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It was never healthy: failures say nothing new.
    Unknown {
        /// Successes in a row.
        successes: u32,
    },
    /// It takes requests.
    Healthy {
        /// Failures in a row.
        failures: u32,
    },
    /// It was healthy, and is no longer.
    Unhealthy {
        /// Successes in a row.
        successes: u32,
    },
}

/// The outcome of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// It succeeded.
    Succeeded,
    /// It failed, or its time was up.
    Failed,
}

/// How many probes in a row change a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Successes that make an instance healthy; 0 is taken for 1.
    pub healthy_after: u32,
    /// Failures that make a healthy instance unhealthy; 0 is taken for 1.
    pub unhealthy_after: u32,
}

/// What follows from a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing to tell.
    None,
    /// It was never healthy, and is not yet.
    NotYet,
    /// It was not healthy, and is now.
    BecameHealthy,
    /// It was healthy, and is no longer.
    BecameUnhealthy,
}

impl State {
    /// Of a process that was just started.
    pub const START: Self = Self::Unknown { successes: 0 };

    /// The state after a probe, and what follows.
    pub fn step(self, event: Event, thresholds: Thresholds) -> (Self, Effect) {
        let Thresholds { healthy_after, unhealthy_after } = thresholds;
        let is_healthy = |successes: u32| successes.saturating_add(1) >= healthy_after;
        let healthy = (Self::Healthy { failures: 0 }, Effect::BecameHealthy);
        match (self, event) {
            (Self::Unknown { successes } | Self::Unhealthy { successes }, Event::Succeeded)
                if is_healthy(successes) =>
            {
                healthy
            }
            (Self::Unknown { successes }, Event::Succeeded) => {
                (Self::Unknown { successes: successes + 1 }, Effect::None)
            }
            (Self::Unknown { .. }, Event::Failed) => (Self::START, Effect::NotYet),
            (Self::Unhealthy { successes }, Event::Succeeded) => {
                (Self::Unhealthy { successes: successes + 1 }, Effect::None)
            }
            (Self::Unhealthy { .. }, Event::Failed) => (Self::Unhealthy { successes: 0 }, Effect::None),
            (Self::Healthy { .. }, Event::Succeeded) => (Self::Healthy { failures: 0 }, Effect::None),
            (Self::Healthy { failures }, Event::Failed) if failures.saturating_add(1) >= unhealthy_after => {
                (Self::Unhealthy { successes: 0 }, Effect::BecameUnhealthy)
            }
            (Self::Healthy { failures }, Event::Failed) => (Self::Healthy { failures: failures + 1 }, Effect::None),
        }
    }
}

#[cfg(test)]
mod tests;
