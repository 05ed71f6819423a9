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
        let otlp = process.wait_for(READY_MAX, otlp_of)?;
        Ok(Self { process, api, otlp })
    }

    /// What it counts of itself.
    pub(super) fn metrics(&self) -> anyhow::Result<String> {
        get(&self.api, "/metrics")
    }
}

/// The address in the line that says where spans are sent.
fn otlp_of(line: &str) -> Option<String> {
    let (_, rest) = line.trim().strip_prefix("otlp")?.split_once("http://")?;
    Some(rest.split(' ').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_for_spans_is_found() {
        assert_eq!(otlp_of("  otlp      http://127.0.0.1:4318 (HTTP)"), Some("127.0.0.1:4318".to_owned()));
        assert_eq!(otlp_of("  api       http://127.0.0.1:7117"), None);
    }
}
