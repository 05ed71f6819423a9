//! Accepts connections, watches over them, and drains them.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::{
    drain::Drain,
    time::{self, Interval, MissedTickBehavior},
};
use tokio::sync::mpsc;

use super::{
    Listener, Peer, Settings,
    entry::{Clock, Entry, Order, Waiting},
};
use crate::socket::Socket;

/// The wait after a failure to accept (no file descriptors, say): doubled each time, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// How often connections are looked over, at least and at most.
const TICK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The connections of a listener.
struct Connections {
    entries: Vec<Weak<Entry>>,
    clock: Clock,
    alive: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
    header_ticks: u32,
    idle_ticks: u32,
    stall_ticks: u32,
    /// What of the gauge is ours: listeners may share it.
    shown: i64,
    settings: Settings,
}

/// Accepts until draining begins, then waits for the connections to end.
pub(super) async fn accept(
    listener: Listener,
    settings: Settings,
    mut drain: Drain,
    spawn: impl Fn(Socket, Peer, Arc<Entry>),
) {
    let tick = (settings.header_timeout / 8).clamp(TICK.0, TICK.1);
    let mut connections = Connections::new(settings, tick);
    let mut ticks = time::interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backoff = BACKOFF.0;
    while let Some(step) = drain.or_drain(next(&listener, &mut ticks)).await {
        match step {
            Step::Tick => connections.look_over(),
            Step::Accepted(Ok((socket, peer))) => {
                backoff = BACKOFF.0;
                if let Some(entry) = connections.admit() {
                    spawn(socket, peer, entry);
                }
            }
            Step::Accepted(Err(error)) if is_of_one_connection(&error) => {}
            Step::Accepted(Err(error)) => {
                connections.settings.metrics.accept_failed.increment();
                tracing::warn!(%error, "accepting failed");
                // Draining waits for this too: a second at most.
                time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
    drop(listener);
    connections.drain().await;
}

enum Step {
    Tick,
    Accepted(io::Result<(Socket, Peer)>),
}

async fn next(listener: &Listener, ticks: &mut Interval) -> Step {
    tokio::select! {
        biased;
        _ = ticks.tick() => Step::Tick,
        accepted = listener.accept() => Step::Accepted(accepted),
    }
}

/// Errors of a connection that was lost before it was accepted, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let local: Option<SocketAddr> = stream.local_addr().ok();
                Ok((Socket::Tcp(stream), Peer { remote: Some(remote), local, certificate: None }))
            }
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept().await?.0), Peer::default())),
        }
    }
}

impl Connections {
    fn new(settings: Settings, tick: Duration) -> Self {
        let (alive, ended) = mpsc::channel(1);
        let ticks = |timeout: Duration| u32::try_from(timeout.as_nanos().div_ceil(tick.as_nanos())).unwrap_or(u32::MAX);
        Self {
            entries: Vec::new(),
            clock: Arc::new(AtomicU32::new(0)),
            alive,
            ended,
            header_ticks: ticks(settings.header_timeout),
            idle_ticks: ticks(settings.idle_timeout),
            stall_ticks: ticks(settings.stall_timeout),
            shown: 0,
            settings,
        }
    }

    fn show(&mut self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.settings.metrics.connections.add(count - self.shown);
        self.shown = count;
    }

    fn open_count(&self) -> usize {
        self.alive.strong_count() - 1
    }

    /// A place for one more connection, unless there are too many.
    fn admit(&mut self) -> Option<Arc<Entry>> {
        if self.open_count() >= self.settings.connections_max {
            self.settings.metrics.refused.increment();
            return None;
        }
        if self.entries.len() > 64 && self.entries.len() > 2 * self.open_count() {
            self.forget_ended();
        }
        let entry = Entry::new(&self.clock, &self.alive);
        self.entries.push(Arc::downgrade(&entry));
        Some(entry)
    }

    fn forget_ended(&mut self) {
        self.entries.retain(|entry| entry.strong_count() > 0);
    }

    /// One tick: ends connections that wait for too long, or have stood for as long as they may.
    fn look_over(&mut self) {
        self.clock.fetch_add(1, Relaxed);
        self.forget_ended();
        self.show(self.open_count());
        let now = time::now();
        for entry in self.entries.iter().filter_map(Weak::upgrade) {
            if entry.is_over(now) {
                entry.order(Order::Finish);
            }
            if entry.blocked() > self.stall_ticks {
                self.settings.metrics.stalled.increment();
                entry.order(Order::Abort);
                continue;
            }
            match entry.waiting() {
                Waiting::Head(ticks) if ticks > self.header_ticks => {
                    self.settings.metrics.header_timeout.increment();
                    entry.order(Order::Abort);
                }
                // Made ahead by somebody who had no use for it, or to hold a place: no request is lost either way.
                Waiting::Silent(ticks) if ticks > self.header_ticks => entry.order(Order::Abort),
                // It was told to finish, and waits for a peer that does not play its part.
                Waiting::Idle(ticks) if ticks > self.idle_ticks.saturating_add(self.header_ticks) => {
                    entry.order(Order::Abort);
                }
                Waiting::Idle(ticks) if ticks > self.idle_ticks => entry.order(Order::Finish),
                Waiting::Busy | Waiting::Head(_) | Waiting::Silent(_) | Waiting::Idle(_) => {}
            }
        }
    }

    /// Lets the connections finish, as long as the grace lasts.
    async fn drain(mut self) {
        let entries = std::mem::take(&mut self.entries);
        let order = |order| entries.iter().filter_map(Weak::upgrade).for_each(|entry| entry.order(order));
        let (alive, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.alive, alive));
        order(Order::Last);
        let linger = self.settings.linger.min(self.settings.grace);
        if !linger.is_zero() && time::timeout(linger, self.ended.recv()).await.is_ok() {
            return self.show(0);
        }
        order(Order::Finish);
        if time::timeout(self.settings.grace, self.ended.recv()).await.is_err() {
            tracing::warn!(grace = ?self.settings.grace, "connections dropped after the grace");
            order(Order::Abort);
            self.ended.recv().await;
        }
        self.show(0);
    }
}
