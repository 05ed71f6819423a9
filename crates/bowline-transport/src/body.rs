//! The body of a request that goes out.

use std::{
    error::Error as StdError,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

/// Any error that can cross threads.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The body of a request, or of a response made here: nothing, some bytes, or a stream.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    /// Nothing is left of it here; when the request was given up, the rest of it was waited for.
    Starved,
    /// The same; the request waited in the pool's line.
    InLine,
    Full(Bytes),
    Incoming(Incoming),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) })
    }

    /// A body as hyper's server received it, without boxing.
    pub fn incoming(body: Incoming) -> Self {
        Self(if body.is_end_stream() { Kind::Empty } else { Kind::Incoming(body) })
    }

    /// Any other body.
    pub fn stream<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(Kind::Stream(body.map_err(Into::into).boxed_unsync()))
    }

    /// The same body once more; `None` when it is a stream.
    pub fn as_replayable(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty | Kind::Starved | Kind::InLine => Some(Self(Kind::Empty)),
            Kind::Full(bytes) => Some(Self(Kind::Full(bytes.clone()))),
            Kind::Incoming(_) | Kind::Stream(_) => None,
        }
    }

    /// Its length in bytes where that is known.
    pub fn len_hint(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Whether the request that took this body waited for more of it, rather than for the server,
    /// when it was given up: see [`send_parts`](crate::send_parts).
    pub fn is_starved(&self) -> bool {
        matches!(self.0, Kind::Starved)
    }

    /// Whether the request that took this body waited in the pool's line for one of our own to end, rather than for the
    /// server, when it was given up: see [`send_parts`](crate::send_parts).
    pub fn is_in_line(&self) -> bool {
        matches!(self.0, Kind::InLine)
    }

    /// What is left of a body whose request waits in the pool's line.
    pub(crate) fn in_line() -> Self {
        Self(Kind::InLine)
    }

    /// What is left of a body that was taken.
    pub(crate) fn taken(is_starved: bool) -> Self {
        Self(if is_starved { Kind::Starved } else { Kind::Empty })
    }

    /// Whether it can be read once only, and may fail.
    pub fn is_stream(&self) -> bool {
        matches!(self.0, Kind::Incoming(_) | Kind::Stream(_))
    }

    /// The bytes of a body that is not a stream; what is left is empty.
    pub(crate) fn take_full(&mut self) -> Option<Bytes> {
        match mem::take(&mut self.0) {
            Kind::Empty | Kind::Starved | Kind::InLine => Some(Bytes::new()),
            Kind::Full(bytes) => Some(bytes),
            stream => {
                self.0 = stream;
                None
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Stream(body) => Pin::new(body).poll_frame(cx),
            Kind::Empty | Kind::Starved | Kind::InLine => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty | Kind::Starved | Kind::InLine => true,
            Kind::Full(_) => false,
            Kind::Incoming(body) => body.is_end_stream(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty | Kind::Starved | Kind::InLine => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(body) => body.size_hint(),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Empty => "Empty",
            Kind::Starved => "Starved",
            Kind::InLine => "InLine",
            Kind::Full(_) => "Full",
            Kind::Incoming(_) => "Incoming",
            Kind::Stream(_) => "Stream",
        };
        f.debug_struct("Body").field("kind", &kind).field("len", &self.len_hint()).finish()
    }
}
