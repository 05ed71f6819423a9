//! `bowline up` of a system, as a bench measures it.

use std::{fs, path::Path};

use super::{
    Context,
    ask::get,
    idle::api_of,
    mesh::text,
    proxy::{READY_MAX, pinned},
};
use crate::process::Process;

/// A system that runs.
pub(super) struct Up {
    pub(super) process: Process,
    /// Where its API is.
    pub(super) api: String,
    /// Where it takes OTLP over HTTP.
    pub(super) otlp: String,
}

impl Up {
    /// Starts the system of that file, with its data as `data` beside it, on free ports.
    pub(super) fn start(
        context: &Context<'_>,
        folder: &Path,
        system: &str,
        arguments: &[&str],
        pin: &[String],
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("bowline.toml"), system)?;
        let program = context.workspace.release_binary("bowline");
        let mut command = pinned(pin, text(&program)?);
        command.arg("up").arg(folder).args(["--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]);
        command.args(["--otlp-grpc", "off", "--otlp-http", "127.0.0.1:0", "--data-dir"]).arg(folder.join("data"));
        let mut process = Process::start(command.args(arguments).env("NO_COLOR", "1"))?;
        let api = process.wait_for(READY_MAX, api_of)?;
        let otlp = process.wait_for(READY_MAX, |line| address_of("otlp", line))?;
        Ok(Self { process, api, otlp })
    }

    /// What it counts of itself.
    pub(super) fn metrics(&self) -> anyhow::Result<String> {
        get(&self.api, "/metrics")
    }
}

/// The first address in the line of the summary that says where that is.
pub(super) fn address_of(what: &str, line: &str) -> Option<String> {
    let (_, rest) = line.trim().strip_prefix(what)?.split_once("http://")?;
    Some(rest.split(' ').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_the_summary_are_found() {
        assert_eq!(address_of("otlp", "  otlp      http://127.0.0.1:4318 (HTTP)"), Some("127.0.0.1:4318".to_owned()));
        assert_eq!(address_of("otlp", "  api       http://127.0.0.1:7117"), None);
        assert_eq!(address_of("gateway", "  gateway   http://127.0.0.1:8080"), Some("127.0.0.1:8080".to_owned()));
        assert_eq!(address_of("gateway", "  gateway   off"), None);
    }
}
