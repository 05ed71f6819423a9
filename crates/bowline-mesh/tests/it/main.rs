//! The mesh through its public interface.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod authorities;
mod authority;
mod control;
mod faults;
mod identity;
mod logs;
mod outbound;
mod replicas;
mod rules;
mod snapshots;
mod splits;
mod support;
