//! The anomaly model: an isolation forest over hours of devices, the file it is kept in, and its service.
//!
//! [`training`] makes hours of devices with `iot_detect`'s generator, learns from healthy ones and says how good that is
//! on devices it has not seen; [`forest`] is what learns; [`model`] says what is kept of it; [`serving`] scores by it.
//! All of it is a function of a seed.

pub mod forest;
pub mod model;
pub mod serving;
pub mod training;
