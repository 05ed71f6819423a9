//! The broker as a whole: started, listening, stopped.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use bowline_disk::Disk;
use bowline_runtime::{
    drain::{self, Drain, Drainer},
    metric::Registry,
    net::{self, TcpListener},
    task::{self, Guarded},
    time::{self, Duration},
};
use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
};

use crate::{
    admission::Admission, handshake::shake_hands, journal::Journal, keeper::Shared, metrics::Metrics,
    settings::Settings, state::State,
};

/// How long after a connection could not be accepted the next one is.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How long nothing comes from a client before the system asks whether it is there, and how often it asks then.
const PROBE_AFTER: Duration = Duration::from_mins(10);
const PROBE_EVERY: Duration = Duration::from_mins(1);

/// A broker that runs. It ends with the value; [`Broker::stop`] lets it say goodbye.
#[derive(Debug)]
pub struct Broker {
    addr: SocketAddr,
    server: Server,
    connections: Drainer,
    keepers: Drainer,
    _tasks: [Guarded<()>; 3],
}

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken, or not ours.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be read or written, or another broker has it.
    #[error("cannot use the journal")]
    Journal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Broker {
    /// Reads the journal, and listens.
    ///
    /// # Errors
    /// When it cannot listen there, or cannot use the folder.
    ///
    /// # Cancel safety
    /// Nothing runs.
    pub async fn start(settings: Settings, admission: Arc<dyn Admission>, metrics: &Registry) -> Result<Self, Error> {
        Self::start_on(Disk::default(), settings, admission, metrics).await
    }

    async fn start_on(
        disk: Disk,
        settings: Settings,
        admission: Arc<dyn Admission>,
        metrics: &Registry,
    ) -> Result<Self, Error> {
        let Settings { listen, dir, bounds } = settings;
        let mut state = State::new(bounds.kept(), Metrics::new(metrics), Arc::clone(&admission));
        let opening = task::spawn_blocking(move || {
            let journal = Journal::open(&dir, disk, |record| state.replay(record))?;
            state.recover(time::unix_millis_now());
            Ok((journal, state))
        });
        let opened = opening.await.expect("reading does not panic");
        let (journal, state) = opened.map_err(|failure: crate::journal::Failure| Error::Journal(Box::new(failure)))?;
        let failed = |source| Error::Listen { addr: listen, source };
        let listener = net::listen(listen).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let (connections, drain) = drain::channel();
        let (keepers, kept) = drain::channel();
        let room = Arc::new(Semaphore::new(state.bounds.connections_max));
        let shared = Arc::new(Shared::new(state, admission));
        let server = Server { shared: Arc::clone(&shared), room };
        let tasks = [
            task::spawn(Arc::clone(&shared).write(journal, kept.clone())),
            task::spawn(Arc::clone(&shared).tick(kept)),
            task::spawn(server.clone().accept(listener, drain)),
        ];
        Ok(Self { addr, server, connections, keepers, _tasks: tasks.map(Guarded::new) })
    }

    /// Where it listens, with the port it has.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For whoever looks at it while it runs.
    pub fn handle(&self) -> Handle {
        Handle(Arc::downgrade(&self.server.shared))
    }

    /// Serves a client whose connection was accepted elsewhere.
    pub fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        self.server.serve(stream, self.connections.watch());
    }

    /// Closes all connections, of which version 5 is told, and writes what there is to write, with the last wills of those
    /// who were connected.
    pub async fn stop(mut self) {
        self.connections.drain().await;
        self.keepers.drain().await;
    }
}

/// Looks at a broker, and does not keep it running. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Weak<Shared>);

impl Handle {
    /// What is retained of a topic.
    pub fn retained(&self, topic: &str) -> Option<Bytes> {
        let shared = self.0.upgrade()?;
        shared.with(|state| state.retained.get(topic).map(|message| message.payload.clone()))
    }

    /// Whether what was to be written last was: while it is not, nobody is acknowledged anything.
    pub fn is_writing(&self) -> bool {
        self.0.upgrade().is_some_and(|shared| shared.is_writing())
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("is_writing", &self.is_writing()).finish()
    }
}

/// What serves connections.
#[derive(Clone)]
struct Server {
    shared: Arc<Shared>,
    /// For so many more connections.
    room: Arc<Semaphore>,
}

impl Server {
    async fn accept(self, listener: TcpListener, mut drain: Drain) {
        while let Some(accepted) = drain.or_drain(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    // What is small has not to wait for what comes next.
                    stream.set_nodelay(true).ok();
                    // A client of 3.1.1 may be silent for as long as it likes: the system asks whether it is still there.
                    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
                    SockRef::from(&stream).set_tcp_keepalive(&keepalive).ok();
                    self.serve(stream, drain.clone());
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
                    time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, mut drain: Drain) {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            self.shared.metrics.refused.too_many.increment();
            return;
        };
        let shared = Arc::clone(&self.shared);
        task::spawn(async move {
            if let Some(Some(connection)) = drain.or_drain(shake_hands(&shared, stream)).await {
                connection.run(drain).await;
            }
            drop(place);
        });
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("room", &self.room.available_permits()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
