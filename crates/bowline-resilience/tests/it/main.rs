//! The patterns as their callers see them: over virtual time, and from many threads at once.

mod breaker;
mod breaker_threads;
mod bulkhead;
mod guard;
mod layer;
mod port;
mod rate;
mod rate_threads;
mod shed;
mod threads;
