//! The mesh: certificate authority, policy compiled for each workload, and the sidecar.

pub mod ca;
