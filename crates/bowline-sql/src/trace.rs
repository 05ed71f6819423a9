//! The context of a span as a text that is kept in a row.

use bowline_telemetry::{SpanContext, propagation};
use http::{HeaderMap, HeaderValue};

/// The header that it is kept as.
pub(crate) const TRACEPARENT: &str = "traceparent";

pub(crate) fn format(context: SpanContext) -> String {
    let mut headers = HeaderMap::new();
    propagation::inject(context, &mut headers);
    headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

pub(crate) fn parse(text: &str) -> Option<SpanContext> {
    let headers = HeaderMap::from_iter([(propagation::TRACEPARENT, HeaderValue::from_str(text).ok()?)]);
    propagation::extract(&headers)
}
