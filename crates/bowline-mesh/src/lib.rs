//! The mesh: certificate authority, policy compiled for each workload, and the sidecar.
//!
//! [`compile()`] says what each workload may see and do, the [`ControlPlane`] publishes it, and a
//! [`Sidecar`](sidecar::Sidecar) acts by it beside its application.

mod authorize;
mod compile;
mod control;
mod inbound;
mod inject;

pub mod sidecar;

pub use compile::compile;
pub use control::ControlPlane;
