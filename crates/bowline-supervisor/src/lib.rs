//! Runs a system's processes: build, start, check, restart, drain.
//!
//! [`Supervisor::start`] builds what the system's services need and starts their instances, each
//! under a small parent process, the [`keeper`], which outlives nobody: whatever happens to
//! `bowline`, no process of an instance's tree is left behind. An instance is registered when its
//! first health check succeeds, and leaves the registry the moment its process ends.

mod board;
mod build;
mod environment;
mod error;
mod event;
mod expand;
pub mod keeper;
mod kept;
mod lines;
mod order;
mod port;
mod probe;
mod registration;
mod run;
mod settings;
mod slot;
mod supervisor;
pub mod workspace;

pub use error::Error;
pub use event::{Event, Exit};
pub use settings::Settings;
pub use supervisor::{Drained, Supervisor};
