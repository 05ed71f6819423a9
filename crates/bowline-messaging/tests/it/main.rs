//! The embedded provider, through the port.

mod conformance;
mod crash;
