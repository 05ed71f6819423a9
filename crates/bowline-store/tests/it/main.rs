//! The embedded provider: the port's suite, restarts, bounds and crashes.

mod conformance;
