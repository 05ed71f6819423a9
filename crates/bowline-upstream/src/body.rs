//! The body of an answer: the request counts as in flight until it ends.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bowline_balance::InFlight;
use bowline_resilience::bulkhead;
use bowline_runtime::time;
use bowline_transport::{Error, Pool};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// The body of an answer. The request counts as in flight at its instance until this ends or is dropped.
///
/// `Send` where the pool is. Its errors are of [`bowline_transport::Kind::Body`], or, where the
/// rest of the request failed, of [`bowline_transport::Kind::RequestBody`]; an instance that
/// dies between the head of an answer and its end is no failure to its breaker, which has had its
/// verdict by then: the calls that follow will find nobody there, and count.
pub struct ResponseBody<P: Pool> {
    inner: Inner<P>,
    /// Until the body has ended.
    in_flight: Option<InFlight>,
    /// The call's place in its bulkhead, until the body has ended.
    place: Option<Box<bulkhead::OwnedPermit>>,
    is_verified: bool,
}

/// Whose body it is.
enum Inner<P: Pool> {
    /// An instance's.
    Instance(bowline_transport::ResponseBody<P>),
    /// The policy's own, until it is read.
    Own(Option<Bytes>),
}

impl<P: Pool> ResponseBody<P> {
    /// `in_flight` has its latency already: that of the answer's head.
    pub(crate) fn new(inner: bowline_transport::ResponseBody<P>, in_flight: InFlight, is_verified: bool) -> Self {
        let in_flight = (!inner.is_end_stream()).then_some(in_flight);
        Self { inner: Inner::Instance(inner), in_flight, place: None, is_verified }
    }

    /// The body of an answer that no instance gave.
    pub(crate) fn own(bytes: Bytes) -> Self {
        let inner = Inner::Own(Some(bytes).filter(|bytes| !bytes.is_empty()));
        Self { inner, in_flight: None, place: None, is_verified: false }
    }

    /// The same, which holds the call's place for as long as it lasts.
    pub(crate) fn holding(self, place: bulkhead::OwnedPermit) -> Self {
        let mut body = Self { place: Some(Box::new(place)), ..self };
        if body.is_end_stream() {
            body.leave(false);
        }
        body
    }

    /// Gives the call's place back; whether it went wrong.
    fn leave(&mut self, was_dropped: bool) {
        if let Some(place) = self.place.take() {
            place.record(was_dropped, time::now());
        }
    }

    /// Whether it is of an answer that the policy gave itself, in the place of an instance's.
    pub fn is_own(&self) -> bool {
        matches!(self.inner, Inner::Own(_))
    }

    /// Whether who answers showed the certificate of the service: it is a sidecar, which speaks for Bowline.
    pub fn is_verified(&self) -> bool {
        self.is_verified
    }
}

impl<P: Pool> HttpBody for ResponseBody<P> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let inner = match &mut this.inner {
            Inner::Instance(inner) => inner,
            Inner::Own(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        };
        let frame = Pin::new(&mut *inner).poll_frame(cx);
        let is_failed = matches!(frame, Poll::Ready(Some(Err(_))));
        if is_failed || matches!(frame, Poll::Ready(None)) || inner.is_end_stream() {
            this.in_flight = None;
            this.leave(is_failed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Instance(inner) => inner.is_end_stream(),
            Inner::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Instance(inner) => inner.size_hint(),
            Inner::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

impl<P: Pool> fmt::Debug for ResponseBody<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Instance(inner) => inner.fmt(f),
            Inner::Own(_) => f.write_str("Own"),
        }
    }
}
