//! Resilience patterns as pure state machines: circuit breaker, retry with budget, deadline,
//! rate limit.
//!
//! Nothing here waits or spawns, nor allocates on the way of a call: the caller brings the time
//! ([`bowline_runtime::time::now`]) and does the waiting itself. What is shared between cores is
//! kept in cache-line-padded cells; see each module for what is exact and what is approximate.

pub mod breaker;
pub mod deadline;
pub mod outcome;
pub mod rate;
pub mod retry;

pub use breaker::Breaker;
pub use deadline::Deadline;
