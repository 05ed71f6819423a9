//! The mesh: certificate authority, policy compiled for each workload, and the sidecar.
//!
//! [`compile()`] says what each workload may see and do, the `ControlPlane` publishes it, and a
//! `Sidecar` acts by it beside its application.

mod compile;

pub use compile::compile;
