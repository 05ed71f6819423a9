//! When a process is checked, and what the answers mean.

use bowline_model::{Address, system::Check};
use bowline_runtime::time::{self, Duration, Instant};

use crate::probe::{self, Failure};

/// Time between checks of a process that was never healthy: who waits for it waits no longer.
const FIRST_EVERY: Duration = Duration::from_millis(50);

/// Failures in a row that make a healthy process unhealthy.
const FAILURES_MAX: u32 = 2;

/// The checks of one process.
#[derive(Debug)]
pub(super) struct Checks<'a> {
    address: Address,
    check: &'a Check,
    state: State,
    next_at: Instant,
}

/// What the checks so far mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Healthy { failures: u32 },
    Unhealthy,
}

/// A change of an instance's health, or news of one that was never healthy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not, and is now.
    Healthy,
    /// It never was, and is not yet.
    NotYet(Failure),
    /// It was, and is no longer.
    Unhealthy(Failure),
}

impl<'a> Checks<'a> {
    pub(super) fn new(address: Address, check: &'a Check) -> Self {
        Self { address, check, state: State::New, next_at: time::now() }
    }

    /// Checks until there is something to say.
    ///
    /// # Cancel safety
    /// A check under way is lost; the next call makes it anew.
    pub(super) async fn next(&mut self) -> Verdict {
        loop {
            time::sleep_until(self.next_at).await;
            let began = time::now();
            let answer = probe::check(&self.address, &self.check.http, self.check.timeout).await;
            let (state, verdict) = step(self.state, answer);
            self.state = state;
            let every = if state == State::New { self.check.every.min(FIRST_EVERY) } else { self.check.every };
            self.next_at = began + every;
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
    }
}

/// The transition table of an instance's health.
fn step(state: State, answer: Result<(), Failure>) -> (State, Option<Verdict>) {
    match (state, answer) {
        (State::Healthy { .. }, Ok(())) => (State::Healthy { failures: 0 }, None),
        (State::New | State::Unhealthy, Ok(())) => (State::Healthy { failures: 0 }, Some(Verdict::Healthy)),
        (State::New, Err(failure)) => (State::New, Some(Verdict::NotYet(failure))),
        (State::Healthy { failures }, Err(failure)) if failures + 1 >= FAILURES_MAX => {
            (State::Unhealthy, Some(Verdict::Unhealthy(failure)))
        }
        (State::Healthy { failures }, Err(_)) => (State::Healthy { failures: failures + 1 }, None),
        (State::Unhealthy, Err(_)) => (State::Unhealthy, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let mut state = State::New;
        let mut said = String::new();
        for answer in "xx..x.xxx.x".chars() {
            let answer = if answer == '.' { Ok(()) } else { Err("why".to_owned()) };
            let verdict;
            (state, verdict) = step(state, answer);
            said.push(match verdict {
                None => '-',
                Some(Verdict::Healthy) => 'H',
                Some(Verdict::NotYet(_)) => 'n',
                Some(Verdict::Unhealthy(_)) => 'U',
            });
        }
        assert_eq!(said, "nnH----U-H-");
    }
}
