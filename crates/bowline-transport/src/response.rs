//! The body of a response that comes in.

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{
    error::{Error, Kind as ErrorKind},
    http1::Download,
    http2,
    pool::Pool,
};

/// The body of a response. Its connection goes back to the pool when it ends cleanly.
///
/// Dropping it before its end closes the connection (HTTP/1) or resets the stream (HTTP/2).
/// `Send` where the pool is.
pub struct ResponseBody<P: Pool>(Kind<P>);

enum Kind<P: Pool> {
    /// All of it came with the head; the connection is back already.
    Full(Bytes),
    Http1(Box<Download<P>>),
    Http2(Box<Http2>),
}

struct Http2 {
    body: Incoming,
    /// Held, so that the pool does not forget it meanwhile.
    _connection: Arc<http2::Shared>,
    _stream: http2::Stream,
}

impl<P: Pool> ResponseBody<P> {
    /// These bytes, from no connection.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(bytes.into()))
    }

    pub(crate) fn http1(download: Download<P>) -> Self {
        Self(Kind::Http1(Box::new(download)))
    }

    pub(crate) fn http2(body: Incoming, connection: Arc<http2::Shared>, stream: http2::Stream) -> Self {
        Self(Kind::Http2(Box::new(Http2 { body, _connection: connection, _stream: stream })))
    }
}

impl<P: Pool> HttpBody for ResponseBody<P> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.get_mut().0 {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Kind::Http1(download) => download.poll_frame(cx),
            Kind::Http2(http2) => Pin::new(&mut http2.body)
                .poll_frame(cx)
                .map_ok(http2::refuse_trailers)
                .map_err(|error| Error::new(ErrorKind::Body, error)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Http1(download) => download.is_end_stream(),
            Kind::Http2(http2) => http2.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Http1(download) => download.size_hint(),
            Kind::Http2(http2) => http2.body.size_hint(),
        }
    }
}

impl<P: Pool> fmt::Debug for ResponseBody<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Full(_) => "Full",
            Kind::Http1(_) => "Http1",
            Kind::Http2(_) => "Http2",
        };
        f.debug_struct("ResponseBody").field("kind", &kind).field("len", &self.size_hint().exact()).finish()
    }
}
