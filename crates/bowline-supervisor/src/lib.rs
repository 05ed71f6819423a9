//! Runs a system's processes: build, start, check, restart, drain.
//!
//! [`Supervisor::start`] builds what the system's services need and starts their instances, each
//! under a small parent process, the [`keeper`], which outlives nobody: whatever happens to
//! `bowline`, no process of an instance's tree is left behind. An instance is registered when its
//! first health check succeeds, and leaves the registry the moment its process ends. Where there are
//! [`Companions`], each instance has one beside it: the application listens on a Unix socket of its own,
//! and what is registered is the companion's address.
//!
//! While a system runs, [`Supervisor::releases`] scales the releases of its services: new ones come, and old ones go
//! without a request lost.

mod board;
mod build;
mod companion;
mod crew;
mod environment;
mod error;
mod event;
mod expand;
mod in_force;
pub mod keeper;
mod kept;
mod lines;
mod logs;
mod order;
mod port;
mod probe;
mod registration;
mod release;
mod releases;
mod run;
mod settings;
mod slot;
mod sockets;
mod supervisor;
mod template;
pub mod workspace;

pub use companion::{Beside, Companion, Companions};
pub use error::Error;
pub use event::{Event, Exit};
pub use in_force::with_releases;
pub use logs::{LOG_LINES_MAX, LogLine, LogPage, LogQuery, Logs};
pub use releases::Releases;
pub use settings::{Probes, Settings};
pub use supervisor::{Drained, Supervisor};
