//! What is answered: `ExportTraceServiceResponse`, or `google.rpc.Status`, and the body that carries it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Failure, Taken};
use crate::wire::writer;

/// The body of an answer: some bytes, and trailers where the protocol is gRPC.
#[derive(Debug, Default)]
pub struct AnswerBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl AnswerBody {
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        Self { data: Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty()), trailers: None }
    }

    pub(super) fn with_trailers(self, trailers: HeaderMap) -> Self {
        Self { trailers: Some(trailers), ..self }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

impl Taken {
    /// An `ExportTraceServiceResponse`; empty where all was taken.
    pub(super) fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.refused > 0 {
            writer::message(&mut out, 1, |partial| {
                writer::number(partial, 1, self.refused);
                writer::bytes(partial, 2, self.why.as_bytes());
            });
        }
        out
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        if self.refused == 0 {
            return b"{}".to_vec();
        }
        let partial = serde_json::json!({"rejectedSpans": self.refused.to_string(), "errorMessage": self.why});
        serde_json::json!({"partialSuccess": partial}).to_string().into_bytes()
    }
}

impl Failure {
    /// A `google.rpc.Status`, with `RetryInfo` where sending the same again later may help.
    pub(super) fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        writer::number(&mut out, 1, self.code.grpc_status().into());
        writer::bytes(&mut out, 2, self.message.as_bytes());
        if let Some(after) = self.retry_after {
            let mut info = Vec::new();
            writer::message(&mut info, 1, |delay| {
                writer::number(delay, 1, after.as_secs());
                writer::number(delay, 2, after.subsec_nanos().into());
            });
            writer::message(&mut out, 3, |any| {
                writer::bytes(any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
                writer::bytes(any, 2, &info);
            });
        }
        out
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let status = serde_json::json!({"code": self.code.grpc_status(), "message": self.message});
        status.to_string().into_bytes()
    }
}
