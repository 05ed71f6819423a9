//! Undoes the framing of a response's body; strict, since whoever reads loosely can be fooled.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::{Framing, HEADERS_MAX};
use crate::{
    error::{Error, Kind},
    forward,
};

/// A line with a chunk's size and its extensions, at most.
const SIZE_LINE_MAX: usize = 256;

/// Where in the body we are.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Before the line with the size.
    Size,
    /// So many bytes of the chunk are to come.
    Data(u64),
    /// Behind the data, before its line end.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    /// Behind everything; trailers that nobody took yet.
    End(Option<HeaderMap>),
}

/// What came of a step.
#[derive(Debug)]
pub(super) enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More has to be read first.
    More,
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::Size),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether the body ended and everything of it was given out.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End(None)))
    }

    /// Takes the next piece off the front of what was read. Frames behind it are looked at too, so
    /// that the end of a body is known with its last data where it was read with it.
    pub(super) fn decode(&mut self, read: &mut BytesMut, trailer_bytes_max: usize) -> Result<Decoded, Error> {
        match self {
            Self::Length(0) => Ok(Decoded::End),
            Self::Length(_) | Self::UntilClose if read.is_empty() => Ok(Decoded::More),
            Self::Length(left) => Ok(Decoded::Data(take(left, read))),
            Self::UntilClose => Ok(Decoded::Data(read.split().freeze())),
            Self::Chunked(chunk) => {
                chunk.advance(read, trailer_bytes_max)?;
                match chunk {
                    Chunk::Data(_) if read.is_empty() => Ok(Decoded::More),
                    Chunk::Data(left) => {
                        let data = take(left, read);
                        if *left == 0 {
                            *chunk = Chunk::DataEnd;
                            // A fault is found again, and told, at the next step.
                            drop(chunk.advance(read, trailer_bytes_max));
                        }
                        Ok(Decoded::Data(data))
                    }
                    Chunk::End(trailers) => Ok(trailers.take().map_or(Decoded::End, Decoded::Trailers)),
                    Chunk::Size | Chunk::DataEnd | Chunk::Trailers => Ok(Decoded::More),
                }
            }
        }
    }
}

/// Takes what is there, up to what is left.
fn take(left: &mut u64, read: &mut BytesMut) -> Bytes {
    let count = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
    *left -= count as u64;
    read.split_to(count).freeze()
}

impl Chunk {
    /// Consumes framing until data, the end, or the end of what was read. Consumes nothing that is wrong.
    fn advance(&mut self, read: &mut BytesMut, trailer_bytes_max: usize) -> Result<(), Error> {
        loop {
            let next = match self {
                Self::Size => match take_size(read)? {
                    None => return Ok(()),
                    Some(0) => Self::Trailers,
                    Some(size) => Self::Data(size),
                },
                Self::DataEnd => match &read[..read.len().min(2)] {
                    b"" | b"\r" => return Ok(()),
                    b"\r\n" => {
                        read.advance(2);
                        Self::Size
                    }
                    _ => return Err(malformed("chunk is longer than it had said")),
                },
                Self::Trailers => match take_trailers(read, trailer_bytes_max)? {
                    None => return Ok(()),
                    Some(trailers) => Self::End((!trailers.is_empty()).then_some(trailers)),
                },
                Self::Data(_) | Self::End(_) => return Ok(()),
            };
            *self = next;
        }
    }
}

/// Takes the line with a chunk's size; `None` while it is not whole.
fn take_size(read: &mut BytesMut) -> Result<Option<u64>, Error> {
    let window = &read[..read.len().min(SIZE_LINE_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        let is_too_long = window.len() == SIZE_LINE_MAX;
        return if is_too_long { Err(malformed("chunk's size line is too long")) } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or_else(|| malformed("chunk's size line ends in a bare LF"))?;
    let size = parse_size(line).ok_or_else(|| malformed("chunk's size is malformed"))?;
    read.advance(end + 1);
    Ok(Some(size))
}

/// Up to 15 hex digits, then nothing, or extensions, which mean nothing to us.
fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !(1..=15).contains(&digits) {
        return None;
    }
    let rest = line[digits..].trim_ascii_start();
    let is_extension = rest.first().is_none_or(|byte| *byte == b';');
    if !is_extension || line[digits..].iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    u64::from_str_radix(str::from_utf8(&line[..digits]).ok()?, 16).ok()
}

/// Takes the trailers with the empty line behind them; `None` while they are not whole.
fn take_trailers(read: &mut BytesMut, bytes_max: usize) -> Result<Option<HeaderMap>, Error> {
    if read.starts_with(b"\r\n") {
        read.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let (length, map) = match httparse::parse_headers(read, &mut headers) {
        Ok(httparse::Status::Complete((length, headers))) => (length, trailers(headers)?),
        Ok(httparse::Status::Partial) if read.len() > bytes_max => return Err(malformed("trailers are too large")),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(source) => return Err(Error::new(Kind::Body, source)),
    };
    let has_bare_lf = (0..length).any(|at| read[at] == b'\n' && (at == 0 || read[at - 1] != b'\r'));
    if has_bare_lf {
        return Err(malformed("trailer ends in a bare LF"));
    }
    read.advance(length);
    Ok(Some(map))
}

fn trailers(headers: &[httparse::Header<'_>]) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|source| Error::new(Kind::Body, source))?;
        let value = HeaderValue::from_bytes(header.value).map_err(|source| Error::new(Kind::Body, source))?;
        // The others would change what was already decided by the head.
        if forward::is_trailer(&name) {
            map.append(name, value);
        }
    }
    Ok(map)
}

fn malformed(why: &'static str) -> Error {
    Error::new(Kind::Body, why)
}

#[cfg(test)]
mod tests;
