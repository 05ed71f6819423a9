//! What is answered where nobody answers.

use bowline_model::policy::FallbackPolicy;
use bowline_resilience::outcome::Verdict;
use bowline_telemetry::names;
use bowline_transport::{Pool, Side};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{attempt::Answer, body::ResponseBody, upstream::Upstream};

const FALLBACK: HeaderName = HeaderName::from_static(names::FALLBACK_HEADER);

/// Why a fallback is given for an answer that is a failure.
const REASON_FAILED: &str = "upstream_failed";

/// Among the extensions of a request: its caller has to know whether it was carried out, so that no fallback stands in
/// for an answer.
#[derive(Debug, Clone, Copy)]
pub struct NoFallback;

impl Upstream {
    /// Why the policy's fallback is to be given in the place of what came of a call; none where that stands: it is
    /// good, or the caller's own doing.
    pub(crate) fn fallback_reason<P: Pool>(&self, answer: &Answer<P>) -> Option<&'static str> {
        match answer {
            Ok(response) => (self.judge(response).verdict == Verdict::Bad).then_some(REASON_FAILED),
            Err(error) => (error.side() != Side::Downstream).then(|| error.reason()),
        }
    }
}

/// The answer that a policy gives itself, which says in [`names::FALLBACK_HEADER`] why.
pub(crate) fn answer<P: Pool>(policy: &FallbackPolicy, reason: &'static str) -> Response<ResponseBody<P>> {
    let FallbackPolicy { status, body, content_type } = policy;
    let mut response = Response::new(ResponseBody::own(Bytes::from(body.clone())));
    *response.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers_mut();
    if !body.is_empty()
        && let Ok(kind) = HeaderValue::from_str(content_type)
    {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(FALLBACK, HeaderValue::from_static(reason));
    response
}
