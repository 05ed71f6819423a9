//! A Redis server, of the machine's own `redis-server`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{TempDir, eventually_blocking, free_addr, temp_dir};

const PROGRAM: &str = "redis-server";

/// How long it takes to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a port of its own, which keeps nothing on disk. It ends with the value.
#[derive(Debug)]
pub struct Server {
    dir: TempDir,
    addr: SocketAddr,
    process: Option<Child>,
}

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
        if !Command::new(PROGRAM).arg("--version").output().is_ok_and(|output| output.status.success()) {
            report_absence();
            return None;
        }
        let (dir, addr) = (temp_dir(), free_addr());
        let file = format!(
            "bind {}\nport {}\ndir \"{}\"\nsave \"\"\nappendonly no\n{configuration}\n",
            addr.ip(),
            addr.port(),
            dir.path().display()
        );
        fs::write(dir.path().join("redis.conf"), file).expect("the folder can be written");
        let mut server = Self { dir, addr, process: None };
        server.begin();
        Some(server)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address as its clients are told.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// What it logs.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("redis.log")
    }

    /// Starts it again on its port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn begin(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("the folder can be written");
        let mut command = Command::new(PROGRAM);
        command.arg(self.dir.path().join("redis.conf")).stdin(Stdio::null()).stdout(log);
        self.process = Some(command.stderr(Stdio::null()).spawn().expect("redis-server starts"));
        let addr = self.addr;
        eventually_blocking(PATIENCE, || TcpStream::connect(addr).is_ok());
    }

    /// What it answers to a command, whose words have no blanks, in its protocol.
    ///
    /// # Panics
    /// When it cannot be asked, or does not answer in 5 s.
    pub fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).expect("it listens");
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
        self.signal("-STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("there is a `kill`");
        assert!(status.success(), "kill {signal} {pid}: {status}");
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

#[expect(clippy::print_stderr, reason = "who skips a test says so")]
fn report_absence() {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "redis-server is not installed (Debian: redis-server)");
    eprintln!("SKIPPED: redis-server is not installed (Debian: redis-server), so nothing is tested against it");
}
