//! Resilience patterns as pure state machines: circuit breaker, retry with budget, deadline.
