//! The only door to clock, randomness, tasks, sockets and files, so that all of it can be simulated.
//!
//! In production every type here is tokio's or the standard library's own and costs nothing. Under
//! `--cfg bowline_sim` the same names are the simulator's. The choice is made by `cfg`, not by `dyn`.

pub mod drain;
pub mod fs;
pub mod metric;
pub mod net;
pub mod process;
pub mod rand;
#[cfg(bowline_sim)]
pub mod sim;
pub mod task;
pub mod time;
pub mod watchdog;

use std::{future::Future, pin::Pin};

/// A future that a port returns: boxed, sendable.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
