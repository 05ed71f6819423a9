//! The port of a circuit breaker, as the mission document has it, and [`Breaker`] behind it.

use bowline_model::Code;
use bowline_runtime::time;

use crate::breaker::{Breaker, Outcome, Rejected};

/// Makes calls, and leaves their callee alone while they mostly fail.
pub trait CircuitBreaker {
    /// Makes a call, unless the circuit is open; every `Err` of it is a failure.
    ///
    /// # Errors
    /// [`CircuitBreakerError`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the call, and nothing is counted.
    fn call<T, E, F>(&self, f: impl FnOnce() -> F) -> impl Future<Output = Result<T, CircuitBreakerError<E>>>
    where
        F: Future<Output = Result<T, E>>;
}

/// Why a call has no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CircuitBreakerError<E> {
    /// It was not made.
    #[error(transparent)]
    CircuitOpen(Rejected),
    /// It was, and failed.
    #[error("the call failed")]
    ServiceError(#[source] E),
}

impl<E> CircuitBreakerError<E> {
    /// Of what the breaker says; `None` where the call itself failed.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::CircuitOpen(rejected) => Some(rejected.code()),
            Self::ServiceError(_) => None,
        }
    }

    /// Whether it is worth trying again, elsewhere or later; `None` where the call itself failed.
    pub fn retryable(&self) -> Option<bool> {
        match self {
            Self::CircuitOpen(rejected) => Some(rejected.retryable()),
            Self::ServiceError(_) => None,
        }
    }
}

impl CircuitBreaker for Breaker {
    async fn call<T, E, F>(&self, f: impl FnOnce() -> F) -> Result<T, CircuitBreakerError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let permit = self.acquire(time::now()).map_err(CircuitBreakerError::CircuitOpen)?;
        let result = f().await;
        let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
        permit.record(outcome, time::now());
        result.map_err(CircuitBreakerError::ServiceError)
    }
}
