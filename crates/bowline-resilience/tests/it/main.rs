//! The breaker as its callers see it: over virtual time, and from many threads at once.

mod breaker;
mod breaker_threads;
