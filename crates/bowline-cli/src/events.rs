//! What the supervisor tells, as lines on the terminal.

use bowline_model::{System, units::format_duration};
use bowline_runtime::task::{self, JoinHandle};
use bowline_supervisor::Event;
use tokio::sync::mpsc;

use crate::{
    outlet::Outlet,
    prefix::Prefixes,
    style::{self, Paint},
};

/// Events that wait to be printed, at most; beyond, log lines wait in their pipes.
const EVENTS_WAITING_MAX: usize = 4096;

/// The task that prints.
#[derive(Debug)]
pub(crate) struct Printer(JoinHandle<()>);

impl Printer {
    /// Prints what is left, after the last sender is gone; takes as long as standard output does.
    pub(crate) async fn end(self) {
        let _ended = self.0.await;
    }
}

/// A queue for the supervisor's events and the task that prints them.
pub(crate) fn printer(system: &System, is_quiet: bool, out: Outlet) -> (mpsc::Sender<Event>, Printer) {
    let (sender, mut events) = mpsc::channel(EVENTS_WAITING_MAX);
    let mut view = View::new(system, is_quiet, style::is_coloured());
    let task = task::spawn(async move {
        while let Some(event) = events.recv().await {
            for line in view.lines(&event) {
                // A reader that stalls holds up the services' lines, and these in the end the services.
                out.line(line).await;
            }
        }
    });
    (sender, Printer(task))
}

struct View {
    prefixes: Prefixes,
    is_quiet: bool,
    is_coloured: bool,
}

impl View {
    fn new(system: &System, is_quiet: bool, is_coloured: bool) -> Self {
        let widest = system.services.iter().map(|s| s.name.as_str().len() + 1 + s.replicas.to_string().len()).max();
        Self { prefixes: Prefixes::new(widest.unwrap_or(0), is_coloured), is_quiet, is_coloured }
    }

    fn note(&self, paint: Paint, text: &str) -> Vec<String> {
        vec![paint.apply(style::plain(text), self.is_coloured)]
    }

    /// An event as it is shown: nothing, a line, or a line with the last words of a process.
    fn lines(&mut self, event: &Event) -> Vec<String> {
        match event {
            // A quiet run hides what services and builds say; a start is told when it is healthy,
            // and a drain of many instances in one line at its end.
            Event::LogLine { .. } | Event::BuildLine { .. } if self.is_quiet => Vec::new(),
            Event::LogLine { instance, line, .. } => vec![self.prefixes.line(instance, line)],
            Event::BuildStarted { command, .. } => self.note(Paint::Bold, &format!("building: {command}")),
            Event::BuildLine { line, .. } => self.note(Paint::Dim, &format!("  {line}")),
            Event::BuildEnded { took, .. } => self.note(Paint::Bold, &format!("built in {:.1} s", took.as_secs_f64())),
            Event::InstanceHealthy { instance, address, after } => {
                let text = format!("{instance} is healthy at {address} after {:.1} s", after.as_secs_f64());
                self.note(Paint::Green, &text)
            }
            Event::InstanceUnhealthy { instance, failure } => {
                self.note(Paint::Yellow, &format!("{instance} is unhealthy: {failure}"))
            }
            Event::InstanceExited { instance, exit, last_lines } => {
                // Also where they were shown before: by now other instances' lines stand between.
                let head = if last_lines.is_empty() { "" } else { "; its last lines:" };
                let mut lines = self.note(Paint::Red, &format!("{instance} {exit}{head}"));
                lines.extend(last_lines.iter().map(|line| format!("    {}", self.prefixes.line(instance, line))));
                lines
            }
            Event::Restarting { instance, crashes: 0, .. } => {
                self.note(Paint::Yellow, &format!("{instance} found its port taken and is started again on another"))
            }
            Event::Restarting { instance, crashes, after } => {
                let after = format_duration(*after);
                self.note(Paint::Yellow, &format!("{instance} is started again in {after} (crash {crashes} in a row)"))
            }
            Event::Killed { instance } => {
                self.note(Paint::Yellow, &format!("{instance} did not stop in time and was killed"))
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::InstanceId;
    use bowline_supervisor::Exit;

    use super::*;

    fn view(is_quiet: bool) -> View {
        View { prefixes: Prefixes::new(7, false), is_quiet, is_coloured: false }
    }

    #[test]
    fn quiet_hides_logs_and_still_shows_the_last_words_of_a_crash() {
        let instance = InstanceId::new("order-1").unwrap();
        let log = Event::LogLine { instance: instance.clone(), is_stderr: false, line: "hello".to_owned() };
        let exited = Event::InstanceExited { instance, exit: Exit::Status(3), last_lines: vec!["oh no".to_owned()] };
        assert_eq!(view(false).lines(&log), ["order-1 │ hello"]);
        assert!(view(true).lines(&log).is_empty());
        assert_eq!(view(true).lines(&exited), ["order-1 exited with status 3; its last lines:", "    order-1 │ oh no"]);
    }
}
