//! Bodies on their way through: requests under their limit, responses with the record of their request.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bowline_runtime::time::{self, Duration, Sleep};
use bowline_transport::{Body, BoxError, LocalPool, server::Incoming};
use bowline_upstream::ResponseBody;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{error::Error, filter::Recode, record::Record};

/// A body was longer than its route allows.
#[derive(Debug, thiserror::Error)]
#[error("the body exceeds {body_max} bytes")]
pub(crate) struct TooLarge {
    pub(crate) body_max: u64,
}

/// A request's body while nobody reads it: before it is passed on, and again when that ended early.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rest(Option<Arc<Mutex<Unread>>>);

#[derive(Debug)]
struct Unread {
    body: Option<Incoming>,
    /// Whether the client sends it: false while it waits for a `100 Continue`, which hyper sends when
    /// the body is first read.
    is_sent: bool,
}

/// What is left of a request's body.
#[derive(Debug)]
pub(crate) enum Left {
    Nothing,
    /// A body that the client was not asked to send, and may send or not.
    Unasked,
    Sent(Incoming),
}

impl Rest {
    /// A request's body; `expects_continue` where the client waits to be asked for it.
    pub(crate) fn new(body: Incoming, expects_continue: bool) -> Self {
        if body.is_end_stream() {
            return Self::default();
        }
        let unread = Unread { body: Some(body), is_sent: !expects_continue };
        Self(Some(Arc::new(Mutex::new(unread))))
    }

    /// The body to pass on, which never yields more than its route allows.
    ///
    /// One that says its length is refused at once if that is too much; others are counted as they
    /// stream. What is not read of it comes back here when it is dropped.
    pub(crate) fn pass_on(&self, body_max: u64) -> Result<Body, Error> {
        let Some(unread) = &self.0 else { return Ok(Body::empty()) };
        let mut unread = lock(unread);
        if unread.body.as_ref().is_some_and(|body| body.size_hint().lower() > body_max) {
            return Err(Error::BodyTooLarge { body_max });
        }
        let body = unread.body.take();
        Ok(Body::stream(Limited { body, left: body_max, body_max, is_read: false, rest: self.clone() }))
    }

    /// What is left of it now.
    pub(crate) fn take(&self) -> Left {
        let Some(unread) = &self.0 else { return Left::Nothing };
        let mut unread = lock(unread);
        match unread.body.take() {
            Some(body) if body.is_end_stream() => Left::Nothing,
            Some(body) if unread.is_sent => Left::Sent(body),
            Some(_) => Left::Unasked,
            None => Left::Nothing,
        }
    }
}

fn lock(unread: &Mutex<Unread>) -> MutexGuard<'_, Unread> {
    unread.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Left {
    /// Whether no other request can follow on the connection, as this one's end may not be met.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Unasked => true,
            Self::Sent(body) => body.size_hint().upper().is_none_or(|left| left > SKIPPED_BYTES_MAX),
        }
    }
}

/// A body that is passed on, counted.
struct Limited {
    /// Until it is cut off.
    body: Option<Incoming>,
    left: u64,
    body_max: u64,
    is_read: bool,
    rest: Rest,
}

impl Limited {
    /// Puts back what was not read.
    fn put_back(&mut self) {
        if let (Some(body), Some(unread)) = (self.body.take(), &self.rest.0) {
            let mut unread = lock(unread);
            unread.body = Some(body);
            unread.is_sent |= self.is_read;
        }
    }
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.is_read = true;
        let frame = ready!(Pin::new(body).poll_frame(cx)?);
        let length = frame.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let Some(left) = this.left.checked_sub(length) else {
            this.put_back();
            return Poll::Ready(Some(Err(TooLarge { body_max: this.body_max }.into())));
        };
        this.left = left;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.put_back();
    }
}

/// The longest that the rest of a refused body is listened to, and the most bytes of it.
///
/// A client that sends all before it reads would else find its connection reset, and never learn
/// why. nginx's `lingering_close` does the same.
const LINGER_MAX: Duration = Duration::from_secs(10);
const LINGER_BYTES_MAX: usize = 64 << 20;

/// The longest rest of a refused body that is skipped for the sake of the request after it.
///
/// In an outage every call is refused: closing each one's connection would add to it.
const SKIPPED_BYTES_MAX: u64 = 64 * 1024;

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
    Recoded(Box<Recoded>),
}

/// An upstream's body that is rewritten as it streams.
pub(crate) struct Recoded {
    body: ResponseBody<LocalPool>,
    coder: Box<dyn Recode>,
    state: Recoding,
    /// Until the body ended.
    record: Option<Record>,
}

enum Recoding {
    /// `is_kept`: the coder may have kept some of what came since it last gave something.
    Streaming {
        is_kept: bool,
    },
    /// Only trailers are left.
    Trailers(HeaderMap),
    Ended,
}

impl Recoded {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, bowline_transport::Error>>> {
        while let Recoding::Streaming { is_kept } = self.state {
            let given = match Pin::new(&mut self.body).poll_frame(cx) {
                // Nothing comes for the moment: whoever reads has what has come so far.
                Poll::Pending if is_kept => {
                    self.state = Recoding::Streaming { is_kept: false };
                    let given = self.coder.flush();
                    if given.is_empty() {
                        return Poll::Pending;
                    }
                    given
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => self.take(frame),
                Poll::Ready(Some(Err(error))) => {
                    self.state = Recoding::Ended;
                    self.record.take().into_iter().for_each(|record| record.break_off(&error));
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.state = Recoding::Ended;
                    self.coder.finish()
                }
            };
            if !given.is_empty() {
                self.finish_at_end();
                return Poll::Ready(Some(Ok(Frame::data(given))));
            }
        }
        let trailers = match std::mem::replace(&mut self.state, Recoding::Ended) {
            Recoding::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Recoding::Streaming { .. } | Recoding::Ended => None,
        };
        self.finish_at_end();
        Poll::Ready(trailers)
    }

    /// Takes a frame of the body; gives what is ready.
    fn take(&mut self, frame: Frame<Bytes>) -> Bytes {
        match frame.into_data() {
            Ok(data) => {
                self.state = Recoding::Streaming { is_kept: true };
                self.coder.push(&data)
            }
            Err(frame) => {
                self.state = frame.into_trailers().map_or(Recoding::Ended, Recoding::Trailers);
                self.coder.finish()
            }
        }
    }

    fn finish_at_end(&mut self) {
        if let Recoding::Ended = self.state {
            self.record.take().into_iter().for_each(Record::finish);
        }
    }
}

impl ProxyBody {
    /// Our own answer; what is left of the request's body is read and thrown away.
    pub(crate) fn local(answer: Bytes, left: Left) -> Self {
        match left {
            Left::Sent(body) => Self::Lingering(Box::new(Lingering {
                answer,
                body,
                bytes_left: LINGER_BYTES_MAX,
                until: Box::pin(time::sleep(LINGER_MAX)),
            })),
            Left::Nothing | Left::Unasked => Self::Local(answer),
        }
    }

    pub(crate) fn upstream(body: ResponseBody<LocalPool>, record: Record) -> Self {
        let mut this = Self::Upstream { body, record: Some(record) };
        this.finish_at_end();
        this
    }

    pub(crate) fn recoded(body: ResponseBody<LocalPool>, coder: Box<dyn Recode>, record: Record) -> Self {
        let (state, record) = (Recoding::Streaming { is_kept: false }, Some(record));
        Self::Recoded(Box::new(Recoded { body, coder, state, record }))
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
            Self::Recoded(recoded) => return recoded.poll_frame(cx),
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
            Self::Recoded(recoded) => matches!(recoded.state, Recoding::Ended),
            Self::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Lingering(_) | Self::Recoded(_) => SizeHint::default(),
            Self::Upstream { body, .. } => body.size_hint(),
        }
    }
}
