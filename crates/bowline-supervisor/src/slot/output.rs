//! What an instance's process writes: told, remembered for its end, and kept for whoever asks later.

use bowline_model::{InstanceId, ServiceName};
use bowline_runtime::task;
use tokio::io::AsyncRead;

use crate::{
    Event,
    event::Bus,
    kept::Output,
    lines::{Lines, Tail},
    logs::Logs,
};

/// Where the lines of an instance go.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) instance: InstanceId,
    pub(super) service: ServiceName,
    pub(super) bus: Bus,
    pub(super) tail: Tail,
    pub(super) logs: Logs,
}

impl Reading {
    /// Reads both outputs to their ends.
    pub(super) fn read(self, output: Output) -> [task::JoinHandle<()>; 2] {
        let of_stderr = self.clone();
        [task::spawn(self.follow(false, output.stdout)), task::spawn(of_stderr.follow(true, output.stderr))]
    }

    async fn follow(self, is_stderr: bool, output: impl AsyncRead + Unpin) {
        let mut lines = Lines::new(output);
        while let Some(line) = lines.next().await {
            self.tail.push(&line);
            self.logs.push(&self.service, &self.instance, is_stderr, &line);
            self.bus.tell_line(Event::LogLine { instance: self.instance.clone(), is_stderr, line }).await;
        }
    }
}
