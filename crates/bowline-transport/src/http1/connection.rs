//! One connection to an endpoint.

use std::{
    future::Future as _,
    io, mem,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bowline_runtime::time::{self, Instant};
use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;

use crate::{
    body::BoxError,
    buffer,
    endpoint::Endpoint,
    error::{Error, Kind},
    pool::{Held, Place, Pool, PoolSettings},
    socket::Socket,
    stream::Stream,
    tls::{ClientTls, ConnectError},
};

/// The most that is read at once.
const READ_MAX: usize = 64 * 1024;

/// A connection that at most one request uses.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Bytes that were read and not yet consumed. Without capacity while nothing is expected.
    pub(crate) read: BytesMut,
    /// How much the next read asks for: grows while reads fill the buffer.
    read_size: usize,
    /// Held while a request uses it.
    pub(crate) place: Option<Place>,
    /// Until when it takes requests; none: for ever.
    old_at: Option<Instant>,
    _open: Held,
}

impl Connection {
    /// Makes a connection, within the time that the settings allow.
    pub(crate) async fn connect(endpoint: Arc<Endpoint>, settings: &PoolSettings, place: Place) -> Result<Self, Error> {
        let stream = connect(&endpoint, settings).await?;
        let (place, old_at, open) =
            (Some(place), settings.old_at(time::now()), Held::new(&settings.metrics.open_http1));
        Ok(Self { stream, endpoint, read: BytesMut::new(), read_size: buffer::CAPACITY, place, old_at, _open: open })
    }

    /// Whether it has been open for as long as it may be.
    pub(crate) fn is_old(&self, now: Instant) -> bool {
        self.old_at.is_some_and(|old_at| now >= old_at)
    }

    /// Whether it can no longer carry a request: it was closed, or has bytes that belong to none.
    pub(crate) fn is_stale(&mut self) -> bool {
        self.stream.is_stale()
    }

    /// Whether its time is over: a certificate that was shown over it is about to expire.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.stream.until().is_some_and(|until| now >= until)
    }

    /// Reads what is there; 0 at the end. A buffer is held only once something is readable.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(cx))?;
        if self.read.capacity() == 0 {
            self.read = buffer::take();
        }
        if self.read.capacity() - self.read.len() < self.read_size / 2 {
            self.read.reserve(self.read_size);
        }
        let room = self.read.capacity() - self.read.len();
        let count = ready!(pin!(self.stream.read_buf(&mut self.read)).poll(cx))?;
        if count == room {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(count))
    }

    /// Puts it back for the next request.
    pub(crate) fn park<P: Pool>(mut self, pool: &P) {
        debug_assert!(self.read.is_empty(), "what was read belongs to nobody");
        buffer::give(mem::take(&mut self.read));
        self.read_size = buffer::CAPACITY;
        let closed = pool.with(|idle| idle.park(self, pool.settings()));
        drop(closed);
    }
}

/// Connects to an endpoint, within the time that the settings allow.
pub(crate) async fn connect(endpoint: &Endpoint, settings: &PoolSettings) -> Result<Stream, Error> {
    let connected = time::timeout(settings.connect_timeout, open(endpoint, settings.tls.as_ref())).await;
    let result = match connected {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(Error::new(Kind::Connect, source)),
        Err(_) => Err(Kind::ConnectTimeout.into()),
    };
    match &result {
        Ok(_) => settings.metrics.connected.increment(),
        Err(_) => settings.metrics.connect_failed.increment(),
    }
    result
}

/// Opens a socket, and shakes hands where the endpoint demands it.
async fn open(endpoint: &Endpoint, tls: Option<&ClientTls>) -> Result<Stream, BoxError> {
    let Some(service) = &endpoint.tls else {
        return Ok(Stream::Plain(Socket::connect(&endpoint.address).await?));
    };
    let tls = tls.ok_or_else(|| ConnectError::NoCertificate(service.clone()))?;
    let socket = Socket::connect(&endpoint.address).await?;
    // Apart, so that calls in the clear do not carry it about.
    Ok(Box::pin(tls.connect(service, socket)).await?)
}
