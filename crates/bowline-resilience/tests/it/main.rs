//! Breaker and rate limit as their callers see them: over virtual time, and from many threads at once.

mod breaker;
mod breaker_threads;
mod rate;
mod rate_threads;
mod threads;
