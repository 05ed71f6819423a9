//! What devices and their system say to each other over MQTT: topics, payloads, and how each shows who it is.
//!
//! A device connects with its id as client id and as user name, and with its token as password. It subscribes to what it
//! is told, then publishes `online` to its status, retained, with `offline` as its last will; so nothing is sent to it
//! before it can hear it. Everything is of QoS 1, and so may come twice: a reading is known by its sequence, a command by
//! its id, what is desired by its version.

pub mod payload;
pub mod secret;
pub mod topic;

pub use payload::{
    Ack, Command, Desired, Outcome, Presence, READINGS_MAX, Reading, Reported, SHADOW_BYTES_MAX, ack, is_command,
    readings, reported,
};
pub use secret::{hash, password, services_password, token};
