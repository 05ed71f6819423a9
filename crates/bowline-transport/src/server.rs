//! The accept loop: HTTP/1.1 and HTTP/2 on one listener, bounded, and drained in order.

mod accept;
mod connection;
mod entry;
mod handshake;
mod loopback;

use std::{future::Future, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bowline_runtime::{
    drain::Drain,
    metric::{Counter, Gauge, Registry},
    net::{TcpListener, UnixListener},
    task,
};
use http::{Request, Response};
use http_body::Body as HttpBody;
pub use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};

pub use self::loopback::is_loopback_name;
use self::{accept::accept, connection::Shared};
use crate::{body::BoxError, http2::Spawn, tls::ServerTls};

/// What is listened on.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// The two ends of an accepted connection; `None` for Unix sockets.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The client's.
    pub remote: Option<SocketAddr>,
    /// Ours.
    pub local: Option<SocketAddr>,
    /// The certificate that the client showed and that was verified, in DER; none in the clear.
    pub certificate: Option<Arc<[u8]>>,
}

/// The bounds of a listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a request's head may take, from its first byte, and a TLS handshake before the first;
    /// rounded up by up to a second.
    pub header_timeout: Duration,
    /// How long a connection may be without a request. One that does not end when it is told so is
    /// cut off a header timeout later.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub stall_timeout: Duration,
    /// The most bytes of a request's head: at least 8 KiB. At most 100 headers.
    pub head_bytes_max: usize,
    /// Connections open at once; further ones are closed as they come.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// What a client may send ahead of who reads it on a whole HTTP/2 connection, in bytes; on one stream it is 256 KiB.
    pub http2_window_bytes: u32,
    /// How often an HTTP/2 client that sends nothing is pinged; one that does not answer within the
    /// header timeout is gone.
    pub http2_ping_interval: Duration,
    /// How long a connection without a request may still bring one once draining began, whose answer says that it
    /// is the last: its client does not know yet, and may be unable to send the request twice.
    pub linger: Duration,
    /// How long requests in flight may still take once draining began.
    pub grace: Duration,
    /// How connections are taken; none: in the clear.
    pub tls: Option<ServerTls>,
    /// What is counted.
    pub metrics: Metrics,
}

/// What a listener counts.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Connections open.
    pub connections: Gauge,
    /// Connections closed at once since there were too many.
    pub refused: Counter,
    /// Failures to accept.
    pub accept_failed: Counter,
    /// Connections closed since a request's head took too long.
    pub header_timeout: Counter,
    /// Connections closed since the client took nothing of its answer.
    pub stalled: Counter,
    /// TLS handshakes that failed, or took too long.
    pub tls_failed: Counter,
}

impl Default for Settings {
    /// 10 s for a head, 75 s idle, 60 s stalled, heads of 64 KiB, 10,000 connections, 100 streams and
    /// 1 MiB unread on one, pings each 30 s, no lingering, 30 s of grace.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_mins(1),
            head_bytes_max: 64 * 1024,
            connections_max: 10_000,
            http2_streams_max: 100,
            http2_window_bytes: 1024 * 1024,
            http2_ping_interval: Duration::from_secs(30),
            linger: Duration::ZERO,
            grace: Duration::from_secs(30),
            tls: None,
            metrics: Metrics::default(),
        }
    }
}

impl Settings {
    /// The defaults where the clients are processes of one system, each of which asks all that it asks over one HTTP/2
    /// connection: 1,024 streams, and as many bytes of requests unread as 64 of them may hold; then other bodies wait.
    pub fn of_system() -> Self {
        Self { http2_streams_max: 1024, http2_window_bytes: 16 * 1024 * 1024, ..Self::default() }
    }
}

impl Metrics {
    /// Cells that the registry shows under the listener's name.
    pub fn new(registry: &Registry, listener: &str) -> Self {
        let labels: &[(&str, &str)] = &[("listener", listener)];
        Self {
            connections: registry.gauge("bowline_connections", "Connections open.", labels),
            refused: registry.counter("bowline_connections_refused_total", "Connections closed: too many.", labels),
            accept_failed: registry.counter("bowline_accept_failures_total", "Failures to accept.", labels),
            header_timeout: registry.counter(
                "bowline_header_timeouts_total",
                "Connections closed: a request's head took too long.",
                labels,
            ),
            stalled: registry.counter(
                "bowline_stalled_total",
                "Connections closed: the client took nothing of its answer.",
                labels,
            ),
            tls_failed: registry.counter(
                "bowline_tls_handshake_failures_total",
                "TLS handshakes that failed or took too long.",
                labels,
            ),
        }
    }
}

/// Serves on this core: services and their futures need not be `Send`.
///
/// `make` gives each connection its service, once its TLS handshake is done; requests arrive with
/// hyper's own body. HTTP/2 is recognised by its preface. When draining begins, nothing more is accepted, idle
/// connections are closed (those of HTTP/1 after the linger), the others are told (`Connection: close`, GOAWAY) and
/// have the grace to finish; then this returns, and what is left is dropped.
///
/// # Panics
/// Outside [`bowline_runtime::task::core_runtime`].
///
/// # Cancel safety
/// Dropping the future stops accepting; connections go on by themselves, unsupervised.
pub async fn serve_local<M, S, B>(listener: impl Into<Listener>, settings: Settings, drain: Drain, make: M)
where
    M: Fn(&Peer) -> S + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>> + 'static,
    B: HttpBody<Error: Into<BoxError>> + 'static,
{
    let shared = Rc::new(Shared::new(&settings, make));
    accept(listener.into(), settings, drain, |socket, peer, entry| {
        task::spawn_local(connection::serve(socket, peer, Rc::clone(&shared), entry, SpawnLocal));
    })
    .await;
}

/// Serves on a runtime of many threads.
///
/// As [`serve_local`], for services whose futures are `Send`: axum's, by way of
/// `hyper_util::service::TowerToHyperService`.
///
/// # Cancel safety
/// As [`serve_local`].
pub async fn serve<M, S, B>(listener: impl Into<Listener>, settings: Settings, drain: Drain, make: M)
where
    M: Fn(&Peer) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Send + 'static,
    B: HttpBody<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let shared = Arc::new(Shared::new(&settings, make));
    accept(listener.into(), settings, drain, |socket, peer, entry| {
        task::spawn(connection::serve(socket, peer, Arc::clone(&shared), entry, Spawn));
    })
    .await;
}

/// Spawns an HTTP/2 connection's requests on the core of the connection.
#[derive(Debug, Clone, Copy)]
struct SpawnLocal;

impl<F: Future + 'static> hyper::rt::Executor<F> for SpawnLocal {
    fn execute(&self, future: F) {
        task::spawn_local(future);
    }
}
