//! A NATS server with JetStream, of the machine's own `nats-server`.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{TempDir, eventually_blocking, free_addr, temp_dir};

/// The program; Debian's is not on everybody's path.
const PROGRAMS: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];

/// How long it takes to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a port of its own, with a folder of its own. It ends with the value.
#[derive(Debug)]
pub struct Server {
    dir: TempDir,
    addr: SocketAddr,
    process: Option<Child>,
}

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
        if program().is_none() {
            report_absence();
            return None;
        }
        let (dir, addr) = (temp_dir(), free_addr());
        let store = dir.path().join("store");
        // No test fills a disk: what streams may have at most is promised freely.
        let file = format!(
            "listen: \"{addr}\"\nmax_payload: 2MB\njetstream {{ store_dir: \"{}\", max_file_store: 1TB }}\n{configuration}\n",
            store.display()
        );
        fs::write(dir.path().join("nats.conf"), file).expect("the folder can be written");
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
        format!("nats://{}", self.addr)
    }

    /// The folder of its files.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("nats.log")
    }

    /// Starts it again on its port and its folder.
    ///
    /// # Panics
    /// When it does not start.
    pub fn begin(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("the folder can be written");
        let mut command = Command::new(program().expect("it was there"));
        command.arg("-c").arg(self.dir.path().join("nats.conf")).stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.stderr(log).spawn().expect("nats-server starts"));
        let addr = self.addr;
        eventually_blocking(PATIENCE, || TcpStream::connect(addr).is_ok());
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

fn program() -> Option<&'static str> {
    PROGRAMS
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()))
}

#[expect(clippy::print_stderr, reason = "who skips a test says so")]
fn report_absence() {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "nats-server is not installed (Debian: nats-server)");
    eprintln!("SKIPPED: nats-server is not installed (Debian: nats-server), so nothing is tested against it");
}
