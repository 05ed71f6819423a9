//! One request out, one response in.

use bowline_model::Protocol;
use http::{Request, Response, request::Parts};

use crate::{body::Body, endpoint::Endpoint, error::Error, http1, http2, pool::Pool, response::ResponseBody};

/// Sends one request and waits for the head of its response, over a pooled connection or a new one.
///
/// Over HTTP/1 everything happens in the caller's own task: a small request is one write and one
/// read. The request's body is sent while the response is awaited, and, where the response comes
/// first, while its body is read. The connection is used again only if both ended cleanly. A pooled
/// connection that turns out to be dead before a byte came back is replaced by a new one, once, if
/// the request can be repeated (its body is at hand, and its method idempotent). Over HTTP/2 the
/// same is done, and besides, whatever the method, for what the connection did not take or its `GOAWAY`
/// left out.
///
/// Framing headers (`Content-Length`, `Transfer-Encoding`, `Connection`) are written as the body
/// demands, whatever the request has; `Host` is taken from the headers, else from the URI, else
/// from the endpoint. The time for connecting is bounded by the pool's settings; for the whole it
/// is the caller's to bound.
///
/// The future is `Send` where the pool is.
///
/// # Errors
/// Any [`Error`]; with [`Error::is_connect`] nothing was sent.
///
/// # Cancel safety
/// Dropping the future closes the connection that was in use, of HTTP/2 its stream; the request may have been sent.
pub async fn send<P: Pool>(
    pool: &P,
    endpoint: &Endpoint,
    request: Request<Body>,
) -> Result<Response<ResponseBody<P>>, Error> {
    let (head, mut body) = request.into_parts();
    send_parts(pool, endpoint, &head, &mut body).await
}

/// Has a connection wait in the pool for the next request to that endpoint, unless one does already.
///
/// # Errors
/// When it cannot be made.
///
/// # Cancel safety
/// Dropping the future closes what was being made.
pub async fn connect_ahead<P: Pool>(pool: &P, endpoint: &Endpoint) -> Result<(), Error> {
    match endpoint.protocol {
        Protocol::Http1 | Protocol::Both => http1::connect_ahead(pool, endpoint).await,
        Protocol::Http2 => http2::connect_ahead(pool, endpoint).await,
    }
}

/// As [`send`], for a request whose head is kept for another attempt.
///
/// The body is taken once there is a connection: after an error with [`Error::is_connect`] it is
/// still whole, after any other it is empty. When the future is dropped, [`Body::is_starved`] tells
/// whether it was the body that was waited for.
///
/// # Errors
/// As [`send`].
///
/// # Cancel safety
/// As [`send`].
pub async fn send_parts<P: Pool>(
    pool: &P,
    endpoint: &Endpoint,
    head: &Parts,
    body: &mut Body,
) -> Result<Response<ResponseBody<P>>, Error> {
    match endpoint.protocol {
        Protocol::Http1 | Protocol::Both => http1::send(pool, endpoint, head, body).await,
        Protocol::Http2 => http2::send(pool, endpoint, head, body).await,
    }
}
