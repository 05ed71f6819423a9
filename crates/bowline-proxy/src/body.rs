//! Bodies on their way through: requests under their limit, responses with the record of their request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

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

/// A request's body that never yields more than its route allows.
///
/// One that says its length is refused at once if that is too much, and passes untouched otherwise:
/// hyper holds it to its word. Others are counted as they stream.
pub(crate) fn limit(body: Incoming, body_max: u64) -> Result<Body, Error> {
    match body.size_hint().exact() {
        Some(length) if length > body_max => Err(Error::BodyTooLarge { body_max }),
        Some(_) => Ok(Body::incoming(body)),
        None => Ok(Body::stream(Limited { body, left: body_max, body_max })),
    }
}

/// A body of unknown length, counted.
struct Limited {
    body: Incoming,
    left: u64,
    body_max: u64,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)?);
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(TooLarge { body_max: self.body_max }.into()))),
            }
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body: ours, or an upstream's as it streams.
pub(crate) enum ProxyBody {
    Local(Bytes),
    Upstream {
        body: ResponseBody<LocalPool>,
        /// Until the body ended; what is dropped before that is a client that left.
        record: Option<Record>,
    },
}

impl ProxyBody {
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
            Self::Upstream { body, record } => (body, record),
        };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
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
            Self::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upstream { body, .. } => body.size_hint(),
        }
    }
}
