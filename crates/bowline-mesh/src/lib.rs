//! The mesh: certificate authority, policy compiled for each workload, and the sidecar.
//!
//! [`compile()`] says what each workload may see and do, the [`ControlPlane`] publishes it, and a
//! [`Sidecar`](sidecar::Sidecar) acts by it beside its application. [`Splits`] shifts traffic between versions. A [`Mesh`] has what the sidecars of one process
//! share.

mod authorize;
mod compile;
mod control;
mod fleet;
mod inbound;
mod inject;

pub mod ca;
pub mod sidecar;

pub use compile::compile;
pub use control::{ControlPlane, Splits};
pub use fleet::{Mesh, Tracers, identity};
