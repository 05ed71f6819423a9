//! The signals that end a run, and the impatient ones after them.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal is closed).
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    is_told: bool,
}

impl Stop {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            is_told: false,
        })
    }

    /// Waits for the first signal; ends at once after it.
    pub(crate) async fn told(&mut self) {
        if !self.is_told {
            self.signal().await;
            self.is_told = true;
        }
    }

    /// Runs a future until it ends, or until the first signal: `None`, also when that has come.
    pub(crate) async fn or<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.told() => None,
            output = future => Some(output),
        }
    }

    /// Runs the drain until it ends, or until one more signal: `None`.
    pub(crate) async fn unless_again<T>(&mut self, drain: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            () = self.signal() => None,
            output = drain => Some(output),
        }
    }

    async fn signal(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
            _ = self.hang_up.recv() => (),
        }
    }
}
