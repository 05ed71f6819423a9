//! The command beside a sidecar: kept by a keeper, so that nobody of it is left behind.

use std::{
    ffi::OsString,
    io::Write as _,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use bowline_runtime::time;
use tokio::process::Command;

use crate::FAILED;

/// Asks the command to end: SIGTERM.
const TERMINATE: &[u8] = b"t";
/// How long the keeper may take to bury what it killed.
const BURY_MAX: Duration = Duration::from_secs(2);

/// A command that runs. Dropping it kills it, with all that it started.
#[derive(Debug)]
pub(super) struct Child {
    keeper: tokio::process::Child,
    /// Closing it has the keeper kill.
    control: UnixStream,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts it with further variables; what was meant for the sidecar alone is taken away.
    pub(super) fn start(command: &[OsString], variables: Vec<(String, String)>) -> anyhow::Result<Self> {
        let (control, keepers) = UnixStream::pair().context("cannot talk to the command's keeper")?;
        // Not by its path: a build may replace the file while it runs.
        let mut keeper = Command::new("/proc/self/exe");
        keeper.arg0("bowline").args(["keeper", "--"]).args(command);
        for secret in ["BOWLINE_JOIN", "BOWLINE_TOKEN"] {
            keeper.env_remove(secret);
        }
        keeper.envs(variables).stdin(Stdio::from(OwnedFd::from(keepers))).process_group(0);
        let keeper = keeper.spawn().context("cannot start the command's keeper")?;
        Ok(Self { keeper, control, status: None })
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.keeper.wait().await.ok();
        }
        self.status
    }

    /// Has it end within the grace, or kills it; as it exited.
    pub(super) async fn stop(mut self, grace: Duration) -> ExitCode {
        if self.status.is_none() {
            // An error: it has ended by itself.
            self.control.write_all(TERMINATE).ok();
            let _in_time = time::timeout(grace, self.ended()).await;
        }
        let Self { mut keeper, control, status } = self;
        drop(control);
        let status = match status {
            Some(status) => Some(status),
            None => time::timeout(BURY_MAX, keeper.wait()).await.ok().and_then(Result::ok),
        };
        let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
        ExitCode::from(code.unwrap_or(FAILED))
    }
}
