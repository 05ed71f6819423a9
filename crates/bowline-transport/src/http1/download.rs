//! The body of a response as it comes in: read when it is asked for, never ahead.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{
    connection::Connection,
    decode::{Decoded, Decoder},
    head::Framing,
    upload::{Upload, UploadError},
};
use crate::{
    error::{Error, Kind},
    pool::Pool,
    response::ResponseBody,
};

/// A body that is still coming in.
pub(crate) struct Download<P: Pool> {
    pool: P,
    /// `None` once the body ended or failed.
    connection: Option<Connection>,
    decoder: Decoder,
    /// What came with the head.
    first: Option<Frame<Bytes>>,
    /// The rest of the request, where the server answered before it had all of it.
    upload: Upload,
    is_keep_alive: bool,
}

impl<P: Pool> Download<P> {
    /// The body behind a head. If it came with the head, the connection goes back at once.
    pub(super) fn begin(
        pool: &P,
        mut connection: Connection,
        framing: Framing,
        upload: Upload,
        is_keep_alive: bool,
    ) -> Result<ResponseBody<P>, Error> {
        let mut decoder = Decoder::new(framing);
        let first = match decoder.decode(&mut connection.read, pool.settings().head_bytes_max)? {
            Decoded::Data(data) if decoder.is_end() => {
                release(pool, connection, &upload, is_keep_alive);
                return Ok(ResponseBody::full(data));
            }
            Decoded::End => {
                release(pool, connection, &upload, is_keep_alive);
                return Ok(ResponseBody::full(Bytes::new()));
            }
            Decoded::Data(data) => Some(Frame::data(data)),
            Decoded::Trailers(map) => Some(Frame::trailers(map)),
            Decoded::More => None,
        };
        let (pool, connection) = (pool.clone(), Some(connection));
        Ok(ResponseBody::http1(Self { pool, connection, decoder, first, upload, is_keep_alive }))
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(self.poll_decoded(cx)),
        };
        match &frame {
            Some(Err(_)) => self.connection = None,
            _ if self.decoder.is_end() => self.release(),
            None => self.connection = None,
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        // A connection that takes no more is no failure of the answer. A request that will never be
        // whole is: the server may wait for the rest of it before it goes on.
        if !self.upload.is_over()
            && let Poll::Ready(Err(UploadError::Body(source))) = self.upload.poll(&mut connection.stream, cx)
        {
            return Poll::Ready(Some(Err(Error::new(Kind::RequestBody, source))));
        }
        loop {
            match self.decoder.decode(&mut connection.read, self.pool.settings().head_bytes_max)? {
                Decoded::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Decoded::Trailers(map) => return Poll::Ready(Some(Ok(Frame::trailers(map)))),
                Decoded::End => return Poll::Ready(None),
                Decoded::More => {}
            }
            match ready!(connection.poll_read(cx)) {
                Ok(1..) => {}
                Ok(0) if matches!(self.decoder, Decoder::UntilClose) => return Poll::Ready(None),
                Ok(0) => {
                    return Poll::Ready(Some(Err(Error::new(
                        Kind::Body,
                        io::Error::from(io::ErrorKind::UnexpectedEof),
                    ))));
                }
                Err(source) => return Poll::Ready(Some(Err(Error::new(Kind::Body, source)))),
            }
        }
    }

    fn release(&mut self) {
        if let Some(connection) = self.connection.take() {
            release(&self.pool, connection, &self.upload, self.is_keep_alive);
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.decoder.is_end() || self.connection.is_none())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, |first| first.len() as u64);
        match &self.decoder {
            Decoder::Length(left) => SizeHint::with_exact(first + left),
            Decoder::Chunked(_) | Decoder::UntilClose => {
                let mut hint = SizeHint::new();
                hint.set_lower(first);
                hint
            }
        }
    }
}

/// Puts a connection back if both directions ended cleanly; else closes it.
fn release<P: Pool>(pool: &P, connection: Connection, upload: &Upload, is_keep_alive: bool) {
    if is_keep_alive && upload.is_done() && connection.read.is_empty() {
        connection.park(pool);
    }
}
