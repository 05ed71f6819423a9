//! A PostgreSQL server, of the machine's own programs, on a Unix socket in a folder of its own.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{TempDir, eventually_blocking, foreign::report_absence, free_addr, temp_dir};

/// Where Debian has its programs; elsewhere they are on the path.
const DEBIAN: &str = "/usr/lib/postgresql";

/// How long it takes to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who may do everything there.
const USER: &str = "test";

/// What is in the name of its socket where it listens nowhere else.
const PORT: u16 = 5432;

/// A running server; it ends with the value, and with the thread that started it.
#[derive(Debug)]
pub struct Server {
    dir: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    /// Starts one; none where PostgreSQL is not installed, which is said loudly.
    ///
    /// # Panics
    /// When it is not installed and `CI=true`, or when it does not start.
    pub fn start() -> Option<Self> {
        Self::run(None)
    }

    /// The same one, which listens at a loopback address, too, and takes any password.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn listening() -> Option<(Self, SocketAddr)> {
        let addr = free_addr();
        Some((Self::run(Some(addr))?, addr))
    }

    fn run(addr: Option<SocketAddr>) -> Option<Self> {
        let Some(bin) = programs() else {
            report_absence("postgres", "postgresql");
            return None;
        };
        let dir = temp_dir();
        let data = dir.path().join("data");
        // The server refuses to be root.
        let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
        if is_root {
            let done = Command::new("chown").arg("postgres").arg(dir.path()).status().expect("there is a `chown`");
            assert!(done.success(), "the folder is given to the user of the server");
        }
        let command = |program: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]);
            if is_root {
                command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
            }
            command.arg(bin.join(program)).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut initdb = command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER, "-D"]);
        assert!(initdb.arg(&data).status().expect("it was there").success(), "initdb");
        let mut server = command("postgres");
        let (host, port) = addr.map_or((String::new(), PORT), |addr| (addr.ip().to_string(), addr.port()));
        server.arg("-D").arg(&data).arg("-k").arg(dir.path()).args(["-p", &port.to_string(), "-c", "fsync=off"]);
        server.args(["-c", &format!("listen_addresses={host}")]);
        let process = server.spawn().expect("it was there");
        let server = Self { dir, port, process };
        // The server answers once its process id is written with `ready`.
        let pid_file = data.join("postmaster.pid");
        eventually_blocking(PATIENCE, || fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready")));
        Some(server)
    }

    /// The folder of its socket.
    pub fn socket(&self) -> &Path {
        self.dir.path()
    }

    /// The connection string of a database, which need not be there; `postgres` is. This user may do everything.
    pub fn url(&self, database: &str) -> String {
        self.url_of(USER, database)
    }

    /// The same as another user.
    pub fn url_of(&self, user: &str, database: &str) -> String {
        let database: String = database.bytes().map(encoded).collect();
        format!("postgres://{user}@localhost:{}/{database}?host={}", self.port, self.socket().display())
    }
}

/// A byte as it stands in the path of a URL.
fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The folder of `initdb` and `postgres`: of the newest version that Debian installed, else of the path.
fn programs() -> Option<PathBuf> {
    let has_both = |bin: &PathBuf| bin.join("initdb").exists() && bin.join("postgres").exists();
    let installed = fs::read_dir(DEBIAN).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let mut versions: Vec<PathBuf> = installed.filter(has_both).collect();
    versions.sort();
    versions.pop().or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(has_both)
    })
}
