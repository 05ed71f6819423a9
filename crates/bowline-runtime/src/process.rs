//! Processes: tokio's own types.

pub use tokio::process::{Child, ChildStderr, ChildStdout, Command};
