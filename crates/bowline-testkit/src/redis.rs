//! A Redis server, of the machine's own `redis-server`.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::foreign::{Foreign, Program};

const PROGRAM: Program = Program { name: "redis-server", paths: &[], args: &[] };

/// A server on a port of its own, which keeps nothing on disk. It ends with the value.
#[derive(Debug)]
pub struct Server(Foreign);

impl Server {
    /// Starts one; none where `redis-server` is not installed, which is said loudly.
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
        let server = Foreign::start(&PROGRAM, |dir, addr| {
            format!(
                "bind {}\nport {}\ndir \"{}\"\nsave \"\"\nappendonly no\n{configuration}\n",
                addr.ip(),
                addr.port(),
                dir.display()
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
        format!("redis://{}", self.addr())
    }

    /// Starts it again on its port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// What it answers to a command, whose words have no blanks, in its protocol.
    ///
    /// # Panics
    /// When it cannot be asked, or does not answer in 5 s.
    pub fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.addr()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket has a time limit");
        stream.write_all(format!("{command}\r\n").as_bytes()).expect("it reads");
        let mut answer = [0; 4096];
        let count = stream.read(&mut answer).expect("it answers");
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    /// Holds it up: its sockets stay, and nobody answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stop(&self) {
        self.0.signal("-STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn go_on(&self) {
        self.0.signal("-CONT");
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.0.kill();
    }
}
