//! The body of an answer: the request counts as in flight until it ends.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bowline_balance::InFlight;
use bowline_runtime::time::Instant;
use bowline_transport::{Error, Pool};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// The body of an answer. The request counts as in flight at its instance until this ends or is dropped.
///
/// `Send` where the pool is. Its errors are of [`bowline_transport::Kind::Body`].
pub struct ResponseBody<P: Pool> {
    inner: bowline_transport::ResponseBody<P>,
    in_flight: Answered,
}

/// A request whose answer has begun: its latency is that of the answer's head.
pub(crate) struct Answered {
    in_flight: Option<InFlight>,
    at: Instant,
    is_good: bool,
}

impl Answered {
    pub(crate) fn new(in_flight: InFlight, at: Instant, is_good: bool) -> Self {
        Self { in_flight: Some(in_flight), at, is_good }
    }

    fn end(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.finish(self.at, self.is_good);
        }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.end();
    }
}

impl<P: Pool> ResponseBody<P> {
    pub(crate) fn new(inner: bowline_transport::ResponseBody<P>, in_flight: Answered) -> Self {
        let mut body = Self { inner, in_flight };
        if body.inner.is_end_stream() {
            body.in_flight.end();
        }
        body
    }
}

impl<P: Pool> HttpBody for ResponseBody<P> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.inner).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) || this.inner.is_end_stream() {
            this.in_flight.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<P: Pool> fmt::Debug for ResponseBody<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
