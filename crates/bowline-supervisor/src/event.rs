//! What a supervisor tells while it works, and the bounded queue it tells it through.

use std::{fmt, sync::Arc, time::Duration};

use bowline_model::{Address, InstanceId, ServiceName};
use bowline_runtime::{metric, task};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Log lines under way to the receiver, at most; then their writers wait.
const LINES_MAX: usize = 256;

/// Other events under way to the receiver, at most; then they are dropped.
const OTHERS_MAX: usize = 1024;

/// What happened, in the order it happened in.
///
/// Log lines wait for a slow receiver, and so at last do the processes that write them; everything
/// else never waits: what a receiver leaves lying for too long is dropped and counted in
/// `bowline_supervisor_events_dropped_total`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A build command begins.
    BuildStarted {
        /// The command as it is run.
        command: String,
        /// The services that declare it.
        services: Vec<ServiceName>,
    },
    /// A build command wrote a line.
    BuildLine {
        /// Whether to its standard error.
        is_stderr: bool,
        /// The line, at most 16 KiB of it; more comes as a line of its own.
        line: String,
    },
    /// A build command ended well. One that failed is the error of the start.
    BuildEnded {
        /// The command.
        command: String,
        /// How long it took.
        took: Duration,
    },
    /// A process of an instance was started.
    InstanceStarted {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// The process.
        pid: u32,
        /// Where others will reach it: where it was told to listen, or its companion does.
        address: Address,
    },
    /// An instance wrote a line.
    LogLine {
        /// The instance.
        instance: InstanceId,
        /// Whether to its standard error.
        is_stderr: bool,
        /// The line, at most 16 KiB of it; more comes as a line of its own.
        line: String,
    },
    /// An instance's checks succeed, for the first time since its process started or again.
    InstanceHealthy {
        /// The instance.
        instance: InstanceId,
        /// Where others reach it: where it listens, or its companion does.
        address: Address,
        /// Time since its process started.
        after: Duration,
    },
    /// So many checks in a row failed as its service's section says.
    InstanceUnhealthy {
        /// The instance.
        instance: InstanceId,
        /// What the last one failed of.
        failure: String,
    },
    /// An instance's process ended though nobody asked it to.
    InstanceExited {
        /// The instance.
        instance: InstanceId,
        /// How it ended.
        exit: Exit,
        /// The last lines it wrote, at most 20.
        last_lines: Vec<String>,
    },
    /// An instance's process will be started again.
    Restarting {
        /// The instance.
        instance: InstanceId,
        /// Crashes in a row, this one included; 0 when only its port was taken by another.
        crashes: u32,
        /// The wait before the start.
        after: Duration,
    },
    /// An instance gets no new requests and was sent SIGTERM.
    Draining {
        /// The instance.
        instance: InstanceId,
    },
    /// An instance's process did not end within the grace period, and was killed.
    Killed {
        /// The instance.
        instance: InstanceId,
    },
    /// The process of a draining instance ended.
    InstanceStopped {
        /// The instance.
        instance: InstanceId,
        /// How it ended.
        exit: Exit,
    },
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It could not be started, because.
    NotStarted(String),
    /// Its keeper was killed, and it with it.
    KeeperLost,
    /// There was none: the instance waited for its next start.
    NoProcess,
}

impl Exit {
    /// Whether it ended with status 0.
    pub fn is_success(&self) -> bool {
        *self == Self::Status(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was killed by {name}"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::KeeperLost => f.write_str("was killed with its keeper"),
            Self::NoProcess => f.write_str("had no process"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// The way of all events to the receiver, in one order. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    queue: mpsc::Sender<Queued>,
    lines: Arc<Semaphore>,
    dropped: metric::Counter,
}

/// An event, with its place among the log lines if it is one.
type Queued = (Event, Option<OwnedSemaphorePermit>);

impl Bus {
    /// A bus, and the task that carries events to the receiver until the last bus is dropped.
    pub(crate) fn new(receiver: mpsc::Sender<Event>, metrics: &metric::Registry) -> (Self, task::JoinHandle<()>) {
        let (queue, mut queued) = mpsc::channel::<Queued>(LINES_MAX + OTHERS_MAX);
        let dropped = metrics.counter(
            "bowline_supervisor_events_dropped_total",
            "Events that nobody took from the supervisor in time.",
            &[],
        );
        let carrier = task::spawn(async move {
            while let Some((event, place)) = queued.recv().await {
                // Nobody listens any more: the pipes of the processes must be emptied still.
                receiver.send(event).await.ok();
                drop(place);
            }
        });
        (Self { queue, lines: Arc::new(Semaphore::new(LINES_MAX)), dropped }, carrier)
    }

    /// Tells what must not wait.
    pub(crate) fn tell(&self, event: Event) {
        if let Err(error) = self.queue.try_send((event, None)) {
            self.dropped.increment();
            tracing::debug!(%error, "an event was dropped");
        }
    }

    /// Tells a line of a log, when there is room.
    pub(crate) async fn tell_line(&self, event: Event) {
        let place = self.lines.clone().acquire_owned().await.ok();
        // The carrier ends after the last bus, so the queue is open.
        self.queue.send((event, place)).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Event {
        Event::BuildLine { is_stderr: false, line: text.to_owned() }
    }

    fn ended(command: String) -> Event {
        Event::BuildEnded { command, took: Duration::ZERO }
    }

    #[tokio::test]
    async fn a_stalled_receiver_stops_lines_and_nothing_else() {
        let metrics = metric::Registry::default();
        let (sender, mut receiver) = mpsc::channel(1);
        let (bus, carrier) = Bus::new(sender, &metrics);
        // One fits into the receiver's channel, one waits in the carrier's hands.
        for _ in 0..=LINES_MAX {
            bus.tell_line(line("x")).await;
        }
        let blocked = bus.tell_line(line("blocked"));
        assert!(futures_now(blocked).await.is_none(), "a line more than fits must wait");
        for i in 0..OTHERS_MAX {
            bus.tell(ended(i.to_string()));
        }
        assert_eq!(bus.dropped.get(), 0);
        bus.tell(ended("first".to_owned()));
        bus.tell(ended("second".to_owned()));
        assert!(bus.dropped.get() > 0, "the queue is bounded");
        drop(bus);
        let mut others = 0;
        while let Some(event) = receiver.recv().await {
            others += usize::from(matches!(event, Event::BuildEnded { .. }));
        }
        assert!(others >= OTHERS_MAX, "{others}");
        carrier.await.unwrap();
    }

    /// The future's output if it is ready after a few turns of the others.
    async fn futures_now<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = async { for _ in 0..10 { task::yield_now().await } } => None,
        }
    }

    #[tokio::test]
    async fn a_gone_receiver_stops_nobody() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let (bus, carrier) = Bus::new(sender, &metric::Registry::default());
        for _ in 0..LINES_MAX * 2 {
            bus.tell_line(line("x")).await;
        }
        drop(bus);
        carrier.await.unwrap();
    }

    #[test]
    fn exits_read_well() {
        assert_eq!(Exit::Status(3).to_string(), "exited with status 3");
        assert_eq!(Exit::Signal(9).to_string(), "was killed by SIGKILL");
        assert_eq!(Exit::Signal(64).to_string(), "was killed by signal 64");
        assert!(Exit::Status(0).is_success() && !Exit::KeeperLost.is_success());
    }
}
