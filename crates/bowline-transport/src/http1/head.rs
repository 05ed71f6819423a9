//! The head of a response: parsed in place, its values slices of one piece of memory.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use crate::error::{Error, Kind};

/// Headers in one head, at most.
pub(super) const HEADERS_MAX: usize = 100;

/// A response's head, and what it says of what follows.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Response<()>,
    pub(super) framing: Framing,
    /// Whether the connection can be used again once the body ended.
    pub(super) is_keep_alive: bool,
}

/// How a response's body is delimited (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// Where a header lies in its head.
#[derive(Clone, Copy, Default)]
struct Field {
    name: (usize, usize),
    value: (usize, usize),
}

/// Whether the bytes behind the first `scanned` may have brought the end of the head.
///
/// Keeps a head that trickles in from being parsed at each byte.
pub(super) fn may_be_whole(read: &[u8], scanned: usize) -> bool {
    let unseen = &read[scanned.saturating_sub(3)..];
    scanned == 0 || unseen.windows(2).any(|pair| pair == b"\n\n") || unseen.windows(3).any(|end| end == b"\n\r\n")
}

/// Takes a whole head off the front of what was read; `None` while it is not whole.
pub(super) fn parse(read: &mut BytesMut, is_head_method: bool, head_bytes_max: usize) -> Result<Option<Answer>, Error> {
    let mut fields = [Field::default(); HEADERS_MAX];
    let Some(Line { length, field_count, status, is_http10 }) = scan(read, &mut fields)? else {
        return if read.len() > head_bytes_max { Err(Kind::HeadTooLarge.into()) } else { Ok(None) };
    };
    if length > head_bytes_max {
        return Err(Kind::HeadTooLarge.into());
    }
    let bytes = read.split_to(length).freeze();
    let mut facts = Facts { is_keep_alive: !is_http10, ..Facts::default() };
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).map_err(|source| Error::new(Kind::Malformed, source))?;
    *head.version_mut() = Version::HTTP_11;
    *head.headers_mut() = collect(&bytes, &fields[..field_count], &mut facts)?;
    let framing = facts.framing(status, is_head_method, is_http10)?;
    let is_keep_alive = facts.is_keep_alive && !facts.is_close && framing != Framing::UntilClose;
    Ok(Some(Answer { head, framing, is_keep_alive }))
}

/// What the first pass finds.
struct Line {
    length: usize,
    field_count: usize,
    status: u16,
    is_http10: bool,
}

/// Finds out where everything lies.
fn scan(read: &[u8], fields: &mut [Field; HEADERS_MAX]) -> Result<Option<Line>, Error> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, read, &mut headers);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Kind::HeadTooLarge.into()),
        Err(source) => return Err(Error::new(Kind::Malformed, source)),
    };
    let start = read.as_ptr().addr();
    let place = |part: &[u8]| {
        let from = part.as_ptr().addr() - start;
        (from, from + part.len())
    };
    for (field, header) in fields.iter_mut().zip(response.headers.iter()) {
        *field = Field { name: place(header.name.as_bytes()), value: place(header.value) };
    }
    Ok(Some(Line {
        length,
        field_count: response.headers.len(),
        status: response.code.unwrap_or_default(),
        is_http10: response.version == Some(0),
    }))
}

/// Makes the map; what concerns the connection goes into the facts.
fn collect(bytes: &Bytes, fields: &[Field], facts: &mut Facts) -> Result<HeaderMap, Error> {
    let malformed = |source: http::Error| Error::new(Kind::Malformed, source);
    let mut map = HeaderMap::with_capacity(fields.len());
    for Field { name, value } in fields {
        let name = HeaderName::from_bytes(&bytes[name.0..name.1]).map_err(|source| malformed(source.into()))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.0..value.1));
        let value = value.map_err(|source| malformed(source.into()))?;
        if facts.learn(&name, value.as_bytes())? {
            map.append(name, value);
        }
    }
    Ok(map)
}

/// What the headers say of the connection.
#[derive(Default)]
struct Facts {
    is_keep_alive: bool,
    is_close: bool,
    length: Option<u64>,
    is_chunked: bool,
}

impl Facts {
    /// Looks at one header; false when it is not to be passed on.
    fn learn(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, Error> {
        if *name == header::CONTENT_LENGTH {
            let length = parse_length(value).ok_or_else(|| malformed("content-length is not a number"))?;
            let is_first = self.length.is_none();
            if self.length.replace(length).is_some_and(|other| other != length) {
                return Err(malformed("content-length is given twice, and differs"));
            }
            return Ok(is_first);
        }
        if *name == header::TRANSFER_ENCODING {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(malformed("transfer-encoding is not chunked"));
            }
            self.is_chunked = true;
            return Ok(false);
        }
        if *name == header::CONNECTION {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    self.is_close = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    self.is_keep_alive = true;
                }
            }
        }
        Ok(true)
    }

    fn framing(&self, status: u16, is_head_method: bool, is_http10: bool) -> Result<Framing, Error> {
        if self.is_chunked && self.length.is_some() {
            return Err(malformed("both content-length and transfer-encoding are given"));
        }
        if self.is_chunked && is_http10 {
            return Err(malformed("transfer-encoding in an HTTP/1.0 answer"));
        }
        Ok(match (self.is_chunked, self.length) {
            _ if is_head_method || matches!(status, 100..=199 | 204 | 304) => Framing::Length(0),
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        })
    }
}

fn malformed(why: &'static str) -> Error {
    Error::new(Kind::Malformed, why)
}

/// Digits only, 19 at most.
fn parse_length(value: &[u8]) -> Option<u64> {
    let is_number = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
