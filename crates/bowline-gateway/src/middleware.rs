//! What is done to a route's requests and answers: the port, and what there is.

use std::fmt;

use bowline_proxy::Visit;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::VARY};

mod compress;
mod cors;
mod edits;
mod request_id;

pub(crate) use compress::Compress;
pub(crate) use cors::Cors;
pub(crate) use edits::{RequestEdits, ResponseEdits};
pub(crate) use request_id::RequestId;

/// Does something to a route's requests and their answers: the links of a gateway's chain after
/// authentication and limit. Requests pass them in order, answers in reverse.
///
/// One is shared by all workers.
pub trait Middleware: fmt::Debug + Send + Sync + 'static {
    /// What it is called in the route table.
    fn name(&self) -> &'static str;

    /// Begins with a request that may still be refused: registers what its answer passes, whatever it is.
    fn begin(&self, visit: &mut Visit<'_>) {
        let _ = visit;
    }

    /// Changes a request that was admitted.
    fn process(&self, visit: &mut Visit<'_>) {
        let _ = visit;
    }

    /// Answers a preflight of the CORS protocol; `None` where that is not its business.
    fn preflight(&self, headers: &HeaderMap) -> Option<Response<Bytes>> {
        let _ = headers;
        None
    }
}

/// Says that an answer depends on these headers of the request.
fn vary(headers: &mut HeaderMap, on: &'static str) {
    let is_said = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(on.as_bytes()))
    };
    if !headers.get_all(VARY).iter().any(is_said) {
        headers.append(VARY, HeaderValue::from_static(on));
    }
}
