//! Bodies on their way through: requests under their limit, responses with the record of their request.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bowline_runtime::time::{self, Duration, Sleep};
use bowline_transport::{Body, BoxError, LocalPool, server::Incoming};
use bowline_upstream::ResponseBody;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{error::Error, record::Record};

/// A body was longer than its route allows.
#[derive(Debug, thiserror::Error)]
#[error("the body exceeds {body_max} bytes")]
pub(crate) struct TooLarge {
    pub(crate) body_max: u64,
}

/// A request's body that never yields more than its route allows, and what to do if it tries.
///
/// One that says its length is refused at once if that is too much, and passes untouched otherwise:
/// hyper holds it to its word. Others are counted as they stream.
///
/// Where the client waits for a `100 Continue` it has sent nothing yet, and nothing is left over.
pub(crate) fn limit(body: Incoming, body_max: u64, expects_continue: bool) -> (Result<Body, Error>, Rest) {
    match body.size_hint().exact() {
        Some(length) if length > body_max => {
            let rest = if expects_continue { Rest::default() } else { Rest::of(body) };
            (Err(Error::BodyTooLarge { body_max }), rest)
        }
        Some(_) => (Ok(Body::incoming(body)), Rest::default()),
        None => {
            let rest = Rest(Some(Arc::new(Mutex::new(None))));
            let limited = Limited { body: Some(body), left: body_max, body_max, rest: rest.clone() };
            (Ok(Body::stream(limited)), rest)
        }
    }
}

/// What was not read of a body that was cut off; nothing where none was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rest(Option<Arc<Mutex<Option<Incoming>>>>);

impl Rest {
    fn of(body: Incoming) -> Self {
        Self(Some(Arc::new(Mutex::new(Some(body)))))
    }

    fn take(&self) -> Option<Incoming> {
        self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A body of unknown length, counted.
struct Limited {
    /// Until it is cut off.
    body: Option<Incoming>,
    left: u64,
    body_max: u64,
    rest: Rest,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx)?);
        let length = frame.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let Some(left) = self.left.checked_sub(length) else {
            let body = self.body.take();
            if let Some(rest) = &self.rest.0 {
                *rest.lock().unwrap_or_else(PoisonError::into_inner) = body;
            }
            return Poll::Ready(Some(Err(TooLarge { body_max: self.body_max }.into())));
        };
        self.left = left;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

/// The longest that the rest of a refused body is listened to, and the most bytes of it.
///
/// A client that sends all before it reads would else find its connection reset, and never learn
/// why. nginx's `lingering_close` does the same.
const LINGER_MAX: Duration = Duration::from_secs(10);
const LINGER_BYTES_MAX: usize = 64 << 20;

/// An answer that is sent at once, and ends when the client has stopped sending.
pub(crate) struct Lingering {
    answer: Bytes,
    body: Incoming,
    bytes_left: usize,
    until: Pin<Box<Sleep>>,
}

impl Lingering {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.answer.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.answer)));
        }
        while self.until.as_mut().poll(cx).is_pending() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    let Some(left) = self.bytes_left.checked_sub(length) else { break };
                    self.bytes_left = left;
                }
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(None)
    }
}

/// A response's body: ours, or an upstream's as it streams.
pub(crate) enum ProxyBody {
    Local(Bytes),
    Lingering(Box<Lingering>),
    Upstream {
        body: ResponseBody<LocalPool>,
        /// Until the body ended; what is dropped before that is a client that left.
        record: Option<Record>,
    },
}

impl ProxyBody {
    /// Our own answer; if it refuses a body, what is left of that is read and thrown away.
    pub(crate) fn local(answer: Bytes, rest: &Rest) -> Self {
        match rest.take() {
            Some(body) => Self::Lingering(Box::new(Lingering {
                answer,
                body,
                bytes_left: LINGER_BYTES_MAX,
                until: Box::pin(time::sleep(LINGER_MAX)),
            })),
            None => Self::Local(answer),
        }
    }

    pub(crate) fn upstream(body: ResponseBody<LocalPool>, record: Record) -> Self {
        let mut this = Self::Upstream { body, record: Some(record) };
        this.finish_at_end();
        this
    }

    /// Ends the record as soon as the last byte is passed on: who has all of it need not ask for more.
    fn finish_at_end(&mut self) {
        if let Self::Upstream { body, record } = self
            && body.is_end_stream()
            && let Some(record) = record.take()
        {
            record.finish();
        }
    }
}

impl HttpBody for ProxyBody {
    type Data = Bytes;
    type Error = bowline_transport::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, bowline_transport::Error>>> {
        let this = self.get_mut();
        let (body, record) = match this {
            Self::Local(bytes) => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Self::Lingering(lingering) => {
                return lingering.poll_frame(cx).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Upstream { body, record } => (body, record),
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => this.finish_at_end(),
            Some(Err(error)) => record.take().into_iter().for_each(|record| record.break_off(error)),
            None => record.take().into_iter().for_each(Record::finish),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local(bytes) => bytes.is_empty(),
            Self::Lingering(_) => false,
            Self::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Lingering(_) => SizeHint::default(),
            Self::Upstream { body, .. } => body.size_hint(),
        }
    }
}
