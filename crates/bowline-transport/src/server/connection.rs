//! One accepted connection: recognised, served, and told when to end.

use std::{
    future::{Future, poll_fn},
    io,
    ops::Deref,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_runtime::metric::Counter;
use bytes::{Buf as _, BytesMut};
use http::{HeaderValue, Request, Response, header::CONNECTION};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{
    body::Incoming,
    rt::bounds::Http2ServerConnExec,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::{
    Peer, Settings,
    entry::{Entry, InFlight, Order},
    handshake::{self, Taken},
};
use crate::{body::BoxError, buffer, socket::Socket, stream::Stream, tls::ServerTls};

/// How every HTTP/2 connection begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most that is held of an answer that the client does not read, for each HTTP/2 stream.
const HTTP2_SEND_BYTES_MAX: usize = 16 * 1024;

/// What a client may send ahead of who reads it on one HTTP/2 stream.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The least of the bounds that hyper accepts.
const HEAD_BYTES_MIN: usize = 8192;

/// What the connections of a listener have in common.
pub(super) struct Shared<M> {
    /// Gives each its service.
    make: M,
    tls: Option<ServerTls>,
    tls_failed: Counter,
    bounds: Bounds,
}

/// The bounds of one connection.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    head_bytes_max: usize,
    http2_streams_max: u32,
    http2_window_bytes: u32,
    http2_ping_interval: Duration,
    header_timeout: Duration,
}

impl<M> Shared<M> {
    pub(super) fn new(settings: &Settings, make: M) -> Self {
        let bounds = Bounds {
            head_bytes_max: settings.head_bytes_max.max(HEAD_BYTES_MIN),
            http2_streams_max: settings.http2_streams_max,
            http2_window_bytes: settings.http2_window_bytes,
            http2_ping_interval: settings.http2_ping_interval,
            header_timeout: settings.header_timeout,
        };
        Self { make, tls: settings.tls.clone(), tls_failed: settings.metrics.tls_failed.clone(), bounds }
    }

    /// The connection as HTTP is spoken over it; `None` when nothing will come of it.
    async fn take(&self, socket: Socket, peer: &Peer, entry: &Entry) -> Option<Taken> {
        let Some(tls) = &self.tls else {
            return Some(Taken { stream: Stream::Plain(socket), prefix: BytesMut::new(), certificate: None });
        };
        // Apart, so that connections in the clear do not carry it about.
        let taken = until_ordered(entry, Box::pin(handshake::take(socket, tls))).await;
        match taken {
            Some(Some(Ok(taken))) => {
                entry.is_taken(taken.stream.until());
                return Some(taken);
            }
            Some(Some(Err(failed))) => {
                self.tls_failed.increment();
                tracing::debug!(remote = ?peer.remote, error = %failed.error, "handshake failed");
                failed.hang_up().await;
            }
            None if entry.orders() == Order::Abort => self.tls_failed.increment(),
            Some(None) | None => {}
        }
        None
    }
}

/// Serves one connection to its end.
pub(super) async fn serve<M, S, B, E>(
    socket: Socket,
    mut peer: Peer,
    shared: impl Deref<Target = Shared<M>>,
    entry: Arc<Entry>,
    exec: E,
) where
    M: Fn(&Peer) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>> + 'static,
    B: HttpBody<Error: Into<BoxError>> + 'static,
    E: Http2ServerConnExec<CountedFuture<S::Future>, Counted<B>> + Unpin + Clone,
{
    poll_fn(|cx| {
        entry.listen(cx.waker());
        Poll::Ready(())
    })
    .await;
    let Some(taken) = shared.take(socket, &peer, &entry).await else { return };
    let Taken { mut stream, mut prefix, certificate } = taken;
    peer.certificate = certificate;
    let (service, bounds) = ((shared.make)(&peer), shared.bounds);
    drop((shared, peer));
    if !prefix.is_empty() {
        entry.bytes_read();
    }
    let recognised = until_ordered(&entry, recognise(&mut stream, &mut prefix, &entry)).await;
    let Some(Ok(is_http2)) = recognised else { return };
    let io = TokioIo::new(Observed { stream, prefix, is_http2, is_blocked: false, entry: Arc::clone(&entry) });
    if is_http2 {
        entry.is_multiplexed();
    }
    let service = Counting { service, entry: Arc::clone(&entry), is_http2 };
    let served = if is_http2 {
        let mut builder = http2::Builder::new(exec);
        builder.max_concurrent_streams(bounds.http2_streams_max);
        // All that a client asked may run out of its time at once, while this thread has no turn.
        builder.max_pending_accept_reset_streams(usize::try_from(bounds.http2_streams_max).unwrap_or(usize::MAX));
        builder.max_header_list_size(u32::try_from(bounds.head_bytes_max).unwrap_or(u32::MAX));
        builder.max_send_buf_size(HTTP2_SEND_BYTES_MAX);
        builder.initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES);
        builder.initial_connection_window_size(bounds.http2_window_bytes);
        builder.timer(TokioTimer::new()).keep_alive_interval(bounds.http2_ping_interval);
        builder.keep_alive_timeout(bounds.header_timeout);
        let connection = builder.serve_connection(io, service);
        // What comes until the client has read of it is taken still.
        drive(connection, (Order::Last, http2::Connection::graceful_shutdown), &entry).await
    } else {
        let mut builder = http1::Builder::new();
        // The accept loop looks after timeouts, without a timer for each request.
        builder.header_read_timeout(None);
        builder.max_header_size(bounds.head_bytes_max).max_buf_size(bounds.head_bytes_max);
        let connection = builder.serve_connection(io, service);
        drive(connection, (Order::Finish, http1::Connection::graceful_shutdown), &entry).await
    };
    if let Some(Err(error)) = served {
        tracing::debug!(error = %error, "connection ended");
    }
}

/// Runs a future until it ends, or the connection is told to.
async fn until_ordered<T>(entry: &Entry, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| if entry.orders() < Order::Finish { future.as_mut().poll(cx).map(Some) } else { Poll::Ready(None) })
        .await
}

/// Runs a connection until it ends (`Some`) or is told to abort (`None`).
///
/// `finish` is called once it is told `from` or more.
async fn drive<C: Future>(connection: C, (from, finish): (Order, fn(Pin<&mut C>)), entry: &Entry) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut heard = Order::Run;
    poll_fn(|cx| {
        let before = std::mem::replace(&mut heard, entry.orders());
        if heard == Order::Abort {
            return Poll::Ready(None);
        }
        if before < from && heard >= from {
            finish(connection.as_mut());
        }
        connection.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Reads the first bytes behind what was read already: whether they are HTTP/2's.
async fn recognise(stream: &mut Stream, prefix: &mut BytesMut, entry: &Entry) -> io::Result<bool> {
    loop {
        // A buffer is held only once something is there.
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        if prefix.capacity() == 0 {
            *prefix = buffer::take();
        }
        if stream.read_buf(prefix).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        entry.bytes_read();
        let common = prefix.len().min(PREFACE.len());
        if prefix[..common] != PREFACE[..common] {
            return Ok(false);
        }
        if common == PREFACE.len() {
            return Ok(true);
        }
    }
}

/// The stream, with what was read of it put back, and the arrival of bytes noted.
struct Observed {
    stream: Stream,
    prefix: BytesMut,
    is_http2: bool,
    is_blocked: bool,
    entry: Arc<Entry>,
}

impl Observed {
    /// Notes whether the client takes what is written; costs nothing while that stays as it is.
    fn note(&mut self, is_blocked: bool) {
        if self.is_blocked != is_blocked {
            self.is_blocked = is_blocked;
            self.entry.set_blocked(is_blocked);
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.note(written.is_pending());
        written
    }
}

impl AsyncRead for Observed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let count = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..count]);
            self.prefix.advance(count);
            if self.prefix.is_empty() {
                buffer::give(std::mem::take(&mut self.prefix));
            }
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if !self.is_http2 {
            self.entry.bytes_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if self.stream.is_buffering() {
            // What was written may not have left: here it shows whether the client takes it.
            self.note(flushed.is_pending());
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A service whose requests are counted as in flight until their responses ended.
struct Counting<S> {
    service: S,
    entry: Arc<Entry>,
    is_http2: bool,
}

impl<S, B> Service<Request<Incoming>> for Counting<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = Response<Counted<B>>;
    type Error = S::Error;
    type Future = CountedFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = Some(self.entry.begin());
        CountedFuture { future: self.service.call(request), in_flight, is_http2: self.is_http2 }
    }
}

pin_project! {
    /// A response being made.
    pub(super) struct CountedFuture<F> {
        #[pin]
        future: F,
        in_flight: Option<InFlight>,
        is_http2: bool,
    }
}

impl<F, B, Error> Future for CountedFuture<F>
where
    F: Future<Output = Result<Response<B>, Error>>,
{
    type Output = Result<Response<Counted<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        let in_flight = this.in_flight.take();
        if !*this.is_http2 && in_flight.as_ref().is_some_and(InFlight::is_last) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|body| Counted { body, _in_flight: in_flight })))
    }
}

pin_project! {
    /// A response's body; the request is in flight until it is dropped.
    pub(super) struct Counted<B> {
        #[pin]
        body: B,
        _in_flight: Option<InFlight>,
    }
}

impl<B: HttpBody> HttpBody for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
