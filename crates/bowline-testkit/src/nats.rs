//! A NATS server with JetStream, of the machine's own `nats-server`.

use std::net::SocketAddr;

use crate::foreign::{Foreign, Program};

/// Debian's is not on everybody's path.
const PROGRAM: Program = Program { name: "nats-server", paths: &["/usr/sbin/nats-server"], args: &["-c"] };

/// A server on a port of its own, with a folder of its own. It ends with the value.
#[derive(Debug)]
pub struct Server(Foreign);

impl Server {
    /// Starts one; none where `nats-server` is not installed, which is said loudly.
    ///
    /// # Panics
    /// When it is not installed and `CI=true`, or when it does not start.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts one with more lines of configuration.
    ///
    /// # Panics
    /// As [`Server::start`] does.
    pub fn start_with(configuration: &str) -> Option<Self> {
        // No test fills a disk: what streams may have at most is promised freely.
        let server = Foreign::start(&PROGRAM, |dir, addr| {
            format!(
                "listen: \"{addr}\"\nmax_payload: 2MB\njetstream {{ store_dir: \"{}\", max_file_store: 1TB }}\n{configuration}\n",
                dir.join("store").display()
            )
        });
        server.map(Self)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    /// The address as its clients are told.
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr())
    }

    /// Starts it again on its port and its folder.
    ///
    /// # Panics
    /// When it does not start.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.0.kill();
    }
}
