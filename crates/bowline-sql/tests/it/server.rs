//! A PostgreSQL server of one test, on a Unix socket in a folder of its own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use bowline_testkit::{TempDir, eventually_blocking};
use sqlx::postgres::PgConnectOptions;

/// Where Debian has its programs; elsewhere they are on the path.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A running server; it ends with the value, and with the test's thread.
pub(crate) struct Server {
    dir: TempDir,
    process: Child,
}

impl Server {
    /// Starts one; none where there is no PostgreSQL, which is said, and is a failure under `CI=true`.
    pub(crate) fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            let what = "PostgreSQL is not here (Debian: postgresql): nothing is tested on it";
            assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{what}");
            println!("{what}");
            return None;
        };
        let dir = bowline_testkit::temp_dir();
        let data = dir.path().join("data");
        // The server refuses to be root.
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        if is_root {
            let done = Command::new("chown").arg("postgres").arg(dir.path()).status().unwrap();
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
        initdb.args(["--no-sync", "--auth=trust", "--username=test", "--encoding=UTF8", "--locale=C", "-D"]).arg(&data);
        assert!(initdb.status().unwrap().success(), "initdb");
        let mut server = command("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(dir.path()).args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        let process = server.spawn().unwrap();
        let server = Self { dir, process };
        // The server answers once its process id is written with `ready`.
        let pid_file = data.join("postmaster.pid");
        eventually_blocking(std::time::Duration::from_secs(30), || {
            std::fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"))
        });
        Some(server)
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(self.dir.path()).username("test").database("postgres")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The folder of `initdb` and `postgres`: of the newest version that Debian installed, else of the path.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop().or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
    })
}
