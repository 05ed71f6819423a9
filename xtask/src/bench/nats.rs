//! NATS for a bench: Debian's package of a later suite, fetched by apt into a folder of ours, never installed.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::proxy::{READY_MAX, free_addr};
use crate::process::Process;

/// The oldest suite that has NATS 2.10 or newer, which can sync each message.
const SUITE: &str = "trixie";

/// The program, from a folder where it is kept for the next time. apt checks the suite's signature and the package's sum.
pub(super) fn program(folder: &Path) -> anyhow::Result<PathBuf> {
    let program = folder.join("root/usr/sbin/nats-server");
    if program.exists() {
        return Ok(program);
    }
    println!("fetching nats-server of Debian {SUITE}");
    for part in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let sources = format!(
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {SUITE}\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    let file = folder.join("suite.sources");
    fs::write(&file, sources)?;
    apt(folder, &file, &["update", "-q"])?;
    apt(folder, &file, &["download", "-q", "nats-server"])?;
    let package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files.filter(package).max().context("apt-get downloaded no nats-server")?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder.join("root")))?;
    ensure!(program.exists(), "the package has no program at {}", program.display());
    Ok(program)
}

/// apt with sources, lists and a cache of its own: the system's are neither read nor changed.
fn apt(folder: &Path, sources: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    let options = [
        format!("Dir::State={}", folder.join("state").display()),
        format!("Dir::Cache={}", folder.join("cache").display()),
        format!("Dir::Etc::sourcelist={}", sources.display()),
        "Dir::Etc::sourceparts=/nonexistent".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    for option in options {
        command.args(["-o", &option]);
    }
    run(command.args(arguments).current_dir(folder))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(status.success(), "{} failed: {status}", command.get_program().display());
    Ok(())
}

/// Starts the server on a free port, its streams in that folder, with that `sync_interval`; answers its address.
pub(super) fn start(program: &Path, folder: &Path, sync_interval: &str) -> anyhow::Result<(Process, String)> {
    let addr = free_addr()?.to_string();
    let config = folder.join("nats.conf");
    let text = format!(
        "listen: {addr}\njetstream {{ store_dir: \"{}\", max_file_store: 8GB, sync_interval: {sync_interval} }}\n",
        folder.join("streams").display()
    );
    fs::write(&config, text)?;
    let process = Process::start(Command::new(program).arg("-c").arg(&config))?;
    let begun = Instant::now();
    while TcpStream::connect(&addr).is_err() {
        ensure!(begun.elapsed() < READY_MAX, "nats-server does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    Ok((process, addr))
}
