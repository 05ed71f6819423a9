//! Compresses answers with gzip for those who accept it (RFC 9110, 8.4 and 12.5.3).
//!
//! An answer whose length depends on a secret and on what its reader may choose tells of the secret by its
//! length when it is compressed (BREACH): a route that serves such answers has no `compress`.

use std::{
    io::{self, Write as _},
    mem,
};

use bowline_proxy::{Leaving, Recode, Visit};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
        ETAG,
    },
};

use super::{Middleware, vary};

/// A body that is known to be shorter stays as it is: there is little to win.
const BYTES_MIN: u64 = 1024;

/// How hard it tries, of 1 to 9: beyond this the time grows faster than the gain.
const LEVEL: u32 = 4;

/// Digests of the content as it was; what is sent is another.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// Media types that compress, beside `text/…`, `…+json` and `…+xml`.
const TYPES: [&str; 10] = [
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "image/svg+xml",
];

#[derive(Debug)]
pub(crate) struct Compress;

impl Middleware for Compress {
    fn name(&self) -> &'static str {
        "compress"
    }

    fn begin(&self, visit: &mut Visit<'_>) {
        if visit.head.method == Method::HEAD || visit.is_preflight {
            return;
        }
        let is_accepted = accepts_gzip(&visit.head.headers);
        visit.on_answer(move |leaving| {
            if is_compressible(leaving) {
                vary(&mut leaving.head.headers, "accept-encoding");
                if is_accepted {
                    compress(leaving);
                }
            }
        });
    }
}

fn compress(leaving: &mut Leaving<'_>) {
    let headers = &mut leaving.head.headers;
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    for name in &DIGESTS {
        headers.remove(name);
    }
    // The bytes are others, the meaning is the same: that is what a weak tag says (RFC 9110, 8.8.1).
    let weak = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = weak.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
    leaving.recode(Gzip(GzEncoder::new(Vec::new(), Compression::new(LEVEL))));
}

/// Whether an answer may be compressed, and is worth it.
fn is_compressible(leaving: &Leaving<'_>) -> bool {
    let (status, headers) = (leaving.head.status, &leaving.head.headers);
    let has_whole_body = !status.is_informational()
        && ![StatusCode::NO_CONTENT, StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
        && !headers.contains_key(CONTENT_RANGE);
    let is_plain = !headers.contains_key(CONTENT_ENCODING);
    let is_fixed = list(headers, &CACHE_CONTROL).any(|directive| directive.eq_ignore_ascii_case("no-transform"));
    let is_long = leaving.length.is_none_or(|length| length >= BYTES_MIN);
    has_whole_body && is_plain && !is_fixed && is_long && has_compressible_type(headers)
}

fn has_compressible_type(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        // Events are small, and some clients and proxies keep what is compressed until there is more of it.
        "text/event-stream" => false,
        other => {
            other.starts_with("text/") || other.ends_with("+json") || other.ends_with("+xml") || TYPES.contains(&other)
        }
    }
}

/// Whether gzip is accepted, and not less welcome than the body as it is.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for item in list(headers, &ACCEPT_ENCODING) {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let Some(weight) = weight.map_or(Some(1.0), |text| text.trim().parse::<f32>().ok()) else { continue };
        match coding.as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "*" => any = Some(weight),
            "identity" => identity = Some(weight),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

/// The items of a header that is a list.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// A body on its way through gzip.
struct Gzip(GzEncoder<Vec<u8>>);

const WRITES: &str = "writing to memory does not fail";

impl Gzip {
    fn take(&mut self, done: io::Result<()>) -> Bytes {
        done.expect(WRITES);
        mem::take(self.0.get_mut()).into()
    }
}

impl Recode for Gzip {
    fn push(&mut self, data: &[u8]) -> Bytes {
        let done = self.0.write_all(data);
        self.take(done)
    }

    fn flush(&mut self) -> Bytes {
        let done = self.0.flush();
        self.take(done)
    }

    fn finish(&mut self) -> Bytes {
        let done = self.0.try_finish();
        self.take(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_accept() {
        let check = |values: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(accepts_gzip(&headers), expected, "{values:?}");
        };
        for good in ["gzip", "GZIP", "x-gzip", "*", "br, gzip;q=0.5", "gzip ; q=1.0", "identity;q=0, *;q=0.1"] {
            check(&[good], true);
        }
        check(&["br", "gzip"], true);
        check(&[], false);
        for bad in ["", "br", "identity", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "gzip;q=x", "identity, gzip;q=0.5"] {
            check(&[bad], false);
        }
    }

    #[test]
    fn types() {
        let check = |media_type: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
            assert_eq!(has_compressible_type(&headers), expected, "{media_type}");
        };
        for good in ["text/html; charset=utf-8", "application/JSON", "application/problem+json", "image/svg+xml"] {
            check(good, true);
        }
        for bad in ["", "text/event-stream; charset=utf-8", "image/png", "application/octet-stream", "video/mp4"] {
            check(bad, false);
        }
    }
}
