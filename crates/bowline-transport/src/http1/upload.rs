//! A request on its way out: its head and as much of its body as is there, in as few writes as can be.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, request::Parts};
use http_body::Body as _;
use tokio::io::AsyncWrite as _;

use super::encode::{self, Framing};
use crate::{
    body::{Body, BoxError},
    buffer,
    endpoint::Endpoint,
    error::Error,
    stream::Stream,
};

/// Up to here, data is copied behind what waits to be written; above, it is written from where it lies.
const COPIED_MAX: usize = 16 * 1024;

/// What is still to be sent of a request.
pub(super) struct Upload {
    /// To be written first.
    out: BytesMut,
    /// To be written after it.
    data: Bytes,
    /// The line end owed behind `data`.
    is_line_owed: bool,
    body: Body,
    framing: Framing,
    /// All that the body gave was written, and it has more to give.
    is_starved: bool,
    state: State,
}

enum State {
    /// The body has more to give.
    Open,
    /// What waits is the last of it.
    Ending,
    Done,
    /// Writing failed; the cause until it is taken.
    Failed(Option<io::Error>),
}

pub(super) enum UploadError {
    /// The connection takes no more. Remembered: see [`Upload::take_failure`].
    Connection,
    /// The body gave an error, or another length than it had said.
    Body(BoxError),
}

impl Upload {
    /// A request of which nothing was sent yet. Bodies that are at hand go with the head.
    pub(super) fn new(head: &Parts, endpoint: &Endpoint, mut body: Body) -> Result<Self, Error> {
        let mut out = buffer::take();
        let framing = body.len_hint().map_or(Framing::Chunked, Framing::Length);
        encode::head(head, endpoint, framing, &mut out)?;
        let mut upload = Self {
            out,
            data: Bytes::new(),
            is_line_owed: false,
            body: Body::empty(),
            framing,
            is_starved: false,
            state: State::Ending,
        };
        if let Some(bytes) = body.take_full() {
            upload.push(bytes);
        } else {
            (upload.body, upload.state) = (body, State::Open);
        }
        Ok(upload)
    }

    /// Whether all of it was sent.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether it waits for the body, and for nothing else.
    pub(super) fn is_starved(&self) -> bool {
        self.is_starved
    }

    /// Whether there is nothing more to do, for better or worse.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Failed(_))
    }

    /// Why writing failed, if it did.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        match &mut self.state {
            State::Failed(source) => source.take(),
            _ => None,
        }
    }

    /// Sends as much as the body gives and the connection takes. Ready when it is over.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        self.is_starved = false;
        loop {
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Failed(_) => return Poll::Ready(Err(UploadError::Connection)),
                State::Open | State::Ending => {}
            }
            let is_waiting = match self.poll_gather(cx) {
                Poll::Ready(Err(source)) => {
                    self.fail(None);
                    return Poll::Ready(Err(UploadError::Body(source)));
                }
                gathered => gathered.is_pending(),
            };
            match ready!(self.poll_write(stream, cx)) {
                Ok(()) if matches!(self.state, State::Ending) => {
                    buffer::give(mem::take(&mut self.out));
                    self.state = State::Done;
                }
                Ok(()) if is_waiting => {
                    self.is_starved = true;
                    return Poll::Pending;
                }
                Ok(()) => {}
                Err(source) => self.fail(Some(source)),
            }
        }
    }

    fn fail(&mut self, source: Option<io::Error>) {
        self.state = State::Failed(source);
        // Nobody will read the body to its end: whoever gives it may stop.
        self.body = Body::empty();
    }

    /// Collects from the body while there is room. Pending when the body has nothing just now.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        while matches!(self.state, State::Open) && self.data.is_empty() && self.out.len() < COPIED_MAX {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? else {
                self.end(None)?;
                break;
            };
            match frame.into_data() {
                Ok(data) => self.push_frame(data)?,
                Err(frame) => self.end(frame.trailers_ref())?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn push_frame(&mut self, data: Bytes) -> Result<(), BoxError> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or("body is longer than it had said")?;
                self.push(data);
            }
            Framing::Chunked => {
                encode::chunk_size(data.len(), &mut self.out);
                self.is_line_owed = true;
                self.push(data);
            }
        }
        Ok(())
    }

    /// Appends data that needs no framing of its own.
    fn push(&mut self, data: Bytes) {
        debug_assert!(self.data.is_empty(), "one piece at a time is written from where it lies");
        if data.len() <= COPIED_MAX {
            self.out.extend_from_slice(&data);
            self.pay_line();
        } else {
            self.data = data;
        }
    }

    fn pay_line(&mut self) {
        if mem::take(&mut self.is_line_owed) {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), BoxError> {
        match self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err("body is shorter than it had said".into()),
            Framing::Chunked => encode::last_chunk(trailers, &mut self.out),
        }
        self.state = State::Ending;
        Ok(())
    }

    /// Writes everything that waits, down to the socket.
    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() || !self.data.is_empty() {
            let stream = Pin::new(&mut *stream);
            let count = if self.data.is_empty() {
                ready!(stream.poll_write(cx, &self.out))?
            } else {
                ready!(stream.poll_write_vectored(cx, &[IoSlice::new(&self.out), IoSlice::new(&self.data)]))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let from_out = count.min(self.out.len());
            self.out.advance(from_out);
            self.data.advance(count - from_out);
            if self.data.is_empty() {
                self.pay_line();
            }
        }
        Pin::new(stream).poll_flush(cx)
    }
}
