//! The receiver as SDKs meet it, and the exporter as collectors do.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod exporter;
mod receiver;
