//! An id for each request: the client's where it gave one, told in the answer.

use bowline_proxy::Visit;
use bowline_runtime::rand;
use bowline_telemetry::names;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Middleware;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is kept.
const ID_BYTES_MAX: usize = 128;

#[derive(Debug)]
pub(crate) struct RequestId;

impl Middleware for RequestId {
    fn name(&self) -> &'static str {
        "request_id"
    }

    fn begin(&self, visit: &mut Visit<'_>) {
        let id = given(&visit.head.headers).unwrap_or_else(generated);
        visit.head.headers.insert(X_REQUEST_ID, id.clone());
        visit.span.set_with(names::BOWLINE_REQUEST_ID, || id.to_str().unwrap_or_default().to_owned());
        visit.on_answer(move |leaving| {
            leaving.head.headers.insert(X_REQUEST_ID, id);
        });
    }
}

/// The client's id, where it gave one of 1 to 128 visible characters.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let (id, other) = (values.next()?, values.next());
    let is_valid = (1..=ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    (is_valid && other.is_none()).then(|| id.clone())
}

fn generated() -> HeaderValue {
    HeaderValue::try_from(format!("{:032x}", rand::u128())).expect("hex digits are a header value")
}
