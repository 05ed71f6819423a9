//! Sockets: tokio's own types, or the simulator's, and how listeners are opened.
//!
//! The simulator's have of tokio's methods those that our code uses; it has no Unix sockets.

#[cfg(not(bowline_sim))]
mod real;
#[cfg(bowline_sim)]
mod simulated;

#[cfg(not(bowline_sim))]
use real as world;
#[cfg(bowline_sim)]
use simulated as world;

pub use world::{
    SharedListener, TcpListener, TcpStream, UnixListener, UnixStream, adopt, listen, listen_shared, listen_unix,
};
