//! One outbound call, the same for proxy and application: deadline, retry, pick, breaker, send.
