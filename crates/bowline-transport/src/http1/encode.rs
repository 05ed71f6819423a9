//! The head of a request as bytes.

use std::fmt::Write as _;

use bowline_model::Address;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};

use crate::{
    endpoint::Endpoint,
    error::{Error, Kind},
    forward,
};

/// How a request's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By `Content-Length`; so many bytes are still to come.
    Length(u64),
    Chunked,
}

/// Headers that the connection's own replace. `TE` is nothing without a `Connection` that names it,
/// and chunked answers may have trailers without it.
const OURS: [HeaderName; 8] = [
    header::TE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Appends the head to the buffer.
pub(super) fn head(parts: &Parts, endpoint: &Endpoint, framing: Framing, out: &mut BytesMut) -> Result<(), Error> {
    if parts.method == Method::CONNECT {
        return Err(Error::new(Kind::Unsupported, "CONNECT asks for a tunnel"));
    }
    request_line(parts, out);
    host(parts, endpoint, out);
    for (name, value) in &parts.headers {
        if !OURS.contains(name) {
            field(name, value, out);
        }
    }
    match framing {
        Framing::Length(0) if !has_body_by_nature(&parts.method) => {}
        Framing::Length(length) => write!(out, "content-length: {length}\r\n").expect("memory grows"),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends the line that begins a chunk.
pub(super) fn chunk_size(length: usize, out: &mut BytesMut) {
    write!(out, "{length:x}\r\n").expect("memory grows");
}

/// Appends the end of a chunked body.
pub(super) fn last_chunk(trailers: Option<&HeaderMap>, out: &mut BytesMut) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| forward::is_trailer(name)) {
        field(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Whether the absence of a body has to be said.
fn has_body_by_nature(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn request_line(parts: &Parts, out: &mut BytesMut) {
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with('/') && target != "*" {
        out.extend_from_slice(b"/");
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

fn host(parts: &Parts, endpoint: &Endpoint, out: &mut BytesMut) {
    out.extend_from_slice(b"host: ");
    if let Some(host) = parts.headers.get(header::HOST) {
        out.extend_from_slice(host.as_bytes());
    } else if let Some(host) = parts.uri.host() {
        out.extend_from_slice(host.as_bytes());
        if let Some(port) = parts.uri.port() {
            write!(out, ":{port}").expect("memory grows");
        }
    } else {
        match &endpoint.address {
            Address::Tcp(addr) => write!(out, "{addr}").expect("memory grows"),
            Address::Unix(_) => out.extend_from_slice(b"localhost"),
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[track_caller]
    fn check(request: http::request::Builder, framing: Framing, expect: &str) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let endpoint = Endpoint::http1("127.0.0.1:80".parse::<Address>().unwrap());
        let mut out = BytesMut::new();
        head(&parts, &endpoint, framing, &mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), expect.replace('\n', "\r\n"));
    }

    #[test]
    fn the_head_is_written_as_the_body_demands() {
        check(Request::get("/a?b=c"), Framing::Length(0), "GET /a?b=c HTTP/1.1\nhost: 127.0.0.1:80\n\n");
        check(
            Request::post("http://u@shop.test:81?x").header("content-length", "999").header("connection", "close"),
            Framing::Length(0),
            "POST /?x HTTP/1.1\nhost: shop.test:81\ncontent-length: 0\n\n",
        );
        check(
            Request::put("/").header("host", "h").header("transfer-encoding", "gzip").header("a", "1").header("a", "2"),
            Framing::Chunked,
            "PUT / HTTP/1.1\nhost: h\na: 1\na: 2\ntransfer-encoding: chunked\n\n",
        );
        check(Request::options("*"), Framing::Length(0), "OPTIONS * HTTP/1.1\nhost: 127.0.0.1:80\n\n");
        check(
            Request::get("/").header("upgrade", "websocket").header("keep-alive", "1"),
            Framing::Length(3),
            "GET / HTTP/1.1\nhost: 127.0.0.1:80\ncontent-length: 3\n\n",
        );
    }

    #[test]
    fn tunnels_are_refused() {
        let (parts, ()) = Request::connect("a.test:443").body(()).unwrap().into_parts();
        let endpoint = Endpoint::http1("127.0.0.1:80".parse::<Address>().unwrap());
        let error = head(&parts, &endpoint, Framing::Length(0), &mut BytesMut::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
    }
}
