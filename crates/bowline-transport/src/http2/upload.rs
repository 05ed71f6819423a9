//! The body of a request on its way out over HTTP/2: held to its length, and asked why it failed.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::{Body, BoxError},
    forward,
};

/// A request's body as the connection's task reads it.
///
/// That task knows a body that fails only as a stream that we have reset ourselves: what failed is
/// left where the caller's task finds it.
pub(crate) struct Upload {
    body: Body,
    /// The bytes still to come, where the length was said.
    left: Option<u64>,
    failure: Failure,
}

/// What failed of a body; of one that is at hand nothing can.
#[derive(Clone)]
pub(crate) struct Failure(Option<Arc<Told>>);

/// What the connection's task tells the caller's.
#[derive(Default)]
struct Told {
    failed: Mutex<Option<BoxError>>,
    /// Whether the body had nothing to give when it was last asked.
    is_starved: AtomicBool,
}

/// What the connection's task is told: enough to reset the stream.
#[derive(Debug, thiserror::Error)]
#[error("request's body failed")]
pub(crate) struct Failed;

impl Upload {
    pub(crate) fn new(body: Body) -> (Self, Failure) {
        let failure = Failure(body.is_stream().then(Arc::default));
        (Self { left: body.len_hint(), body, failure: failure.clone() }, failure)
    }

    pub(crate) fn len_hint(&self) -> Option<u64> {
        self.body.len_hint()
    }

    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    fn count(&mut self, frame: Option<&Frame<Bytes>>) -> Result<(), BoxError> {
        let Some(left) = self.left else { return Ok(()) };
        let length = frame.and_then(Frame::data_ref).map(|data| data.len() as u64);
        match length {
            Some(length) => self.left = Some(left.checked_sub(length).ok_or("body is longer than it had said")?),
            None if left > 0 => return Err("body is shorter than it had said".into()),
            None => {}
        }
        Ok(())
    }
}

/// The frame without trailers that may not come behind a body.
pub(crate) fn refuse_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(forward::without_refused(trailers)),
        Err(frame) => frame,
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.failure.starve(frame.is_pending());
        let frame = ready!(frame).transpose();
        let frame = frame.and_then(|frame| this.count(frame.as_ref()).map(|()| frame));
        // Mostly data: trailers alone are looked at.
        let frame = frame.map(|frame| frame.map(refuse_trailers));
        Poll::Ready(frame.map_err(|source| this.failure.put(source)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        // A body that ends too early is to be asked once more, or nobody would notice.
        self.left.is_none_or(|left| left == 0) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Failure {
    fn put(&self, source: BoxError) -> Failed {
        if let Some(slot) = &self.0 {
            *slot.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        }
        Failed
    }

    /// Whether the body is waited for.
    pub(crate) fn is_starved(&self) -> bool {
        self.0.as_ref().is_some_and(|told| told.is_starved.load(Relaxed))
    }

    fn starve(&self, is_starved: bool) {
        if let Some(told) = &self.0 {
            told.is_starved.store(is_starved, Relaxed);
        }
    }

    /// What failed, if something did.
    pub(crate) fn take(&self) -> Option<BoxError> {
        self.0.as_ref()?.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
