//! Resilience patterns as pure state machines: breaker, bulkhead, load shedding, retry, hedge, deadline, rate limits.
//!
//! Nothing here spawns, nor allocates on the way of a call: the caller brings the time
//! ([`bowline_runtime::time::now`]). What decides does not wait either; what waits for its turn or its answer is a
//! future of the caller's. What is shared between cores is kept in cache-line-padded cells; see each module for what is
//! exact and what is approximate.

pub mod adaptive;
pub mod breaker;
pub mod bulkhead;
pub mod deadline;
pub mod fallback;
pub mod guard;
pub mod hedge;
#[cfg(feature = "tower")]
pub mod layer;
mod nanos;
pub mod outcome;
pub mod port;
pub mod rate;
pub mod retry;
mod room;
pub mod shed;
mod sync;

pub use breaker::Breaker;
pub use bulkhead::Bulkhead;
pub use deadline::Deadline;
pub use guard::Guard;
pub use hedge::Hedge;
pub use port::{CircuitBreaker, CircuitBreakerError};
pub use shed::Shedder;
