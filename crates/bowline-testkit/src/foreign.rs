//! A server that others make: the machine's own program, on a port and in a folder of its own.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{TempDir, eventually_blocking, free_addr, temp_dir};

/// How long it takes to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program, and the Debian package of the same name.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Where it is, where that is not on everybody's path.
    pub(crate) paths: &'static [&'static str],
    /// What stands before the path of its configuration.
    pub(crate) args: &'static [&'static str],
}

/// It ends with the value.
#[derive(Debug)]
pub(crate) struct Foreign {
    program: &'static Program,
    path: &'static str,
    dir: TempDir,
    addr: SocketAddr,
    process: Option<Child>,
}

impl Foreign {
    /// Starts one with the configuration for its folder and its address; none where it is not installed, which is said
    /// loudly.
    ///
    /// # Panics
    /// When it is not installed and `CI=true`, or when it does not start.
    pub(crate) fn start(
        program: &'static Program,
        configuration: impl FnOnce(&Path, SocketAddr) -> String,
    ) -> Option<Self> {
        // Not every program knows the option, or ends well with it: that it begins is enough.
        let begins = |path: &str| Command::new(path).arg("--version").output().is_ok();
        let Some(path) = [program.name].iter().chain(program.paths).copied().find(|path| begins(path)) else {
            report_absence(program.name, program.name);
            return None;
        };
        let (dir, addr) = (temp_dir(), free_addr());
        let mut server = Self { program, path, dir, addr, process: None };
        fs::write(server.file("conf"), configuration(server.dir.path(), addr)).expect("the folder can be written");
        server.begin();
        Some(server)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.dir.path().join(self.program.name).with_extension(extension)
    }

    /// Starts it again on its port and its folder.
    ///
    /// # Panics
    /// When it does not start.
    pub(crate) fn begin(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.file("log")).expect("the folder can be written");
        let mut command = Command::new(self.path);
        command.args(self.program.args).arg(self.file("conf")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.process = Some(command.spawn().expect("it was there"));
        let addr = self.addr;
        eventually_blocking(PATIENCE, || TcpStream::connect(addr).is_ok());
    }

    /// Sends a signal, as `kill` calls it.
    ///
    /// # Panics
    /// When it does not run.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("there is a `kill`");
        assert!(status.success(), "kill {signal} {pid}: {status}");
    }

    /// Ends it as `kill` does, and waits until it has kept what it has.
    pub(crate) fn end(&mut self) {
        self.signal("-TERM");
        if let Some(mut process) = self.process.take() {
            process.wait().ok();
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Says that a program is not there, by its Debian package; in CI that is a failure.
#[expect(clippy::print_stderr, reason = "who skips a test says so")]
pub(crate) fn report_absence(name: &str, package: &str) {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "{name} is not installed (Debian: {package})");
    eprintln!("SKIPPED: {name} is not installed (Debian: {package}), so nothing is tested against it");
}
