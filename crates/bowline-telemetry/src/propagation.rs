//! Carries the context of a span between processes, in HTTP headers.
//!
//! Written as W3C `traceparent`; read as that, else as B3 (one header or several). What is passed on
//! has one context, never two that differ.
//!
//! Sources: W3C Trace Context level 2, sections 3.2 and 4.3; github.com/openzipkin/b3-propagation.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{SpanContext, SpanId, TraceId, id::parse_hex};

/// The header of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const B3: HeaderName = HeaderName::from_static("b3");
/// How all the others begin, `x-b3-parentspanid` as well.
const B3_PREFIX: &str = "x-b3-";
const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// The length of a `traceparent` of version 00: `00-<32>-<16>-<2>`.
const TRACEPARENT_LEN: usize = 55;

/// The context that a request brought along.
///
/// What is malformed counts as absent. B3 without a sampling decision leaves it to us, and we say
/// yes; B3 that has a decision and no ids counts as absent.
pub fn extract(headers: &HeaderMap) -> Option<SpanContext> {
    if let Some(value) = only(headers, &TRACEPARENT)
        && let Some(ctx) = parse_traceparent(value)
    {
        return Some(ctx);
    }
    if let Some(value) = only(headers, &B3) {
        return parse_b3(value);
    }
    parse_b3_headers(headers)
}

/// Writes the context of the calling span into the headers of a request, replacing another in any
/// form: who reads B3 first would go on from the caller's caller.
pub fn inject(ctx: SpanContext, headers: &mut HeaderMap) {
    let text = format_traceparent(ctx);
    let value = HeaderValue::from_bytes(&text).expect("hex digits and dashes are a header value");
    headers.insert(TRACEPARENT, value);
    // Mostly there is none: one look at the names is cheaper than a lookup of each.
    if headers.keys().any(is_b3) {
        let b3: Vec<HeaderName> = headers.keys().filter(|name| is_b3(name)).cloned().collect();
        for name in b3 {
            headers.remove(name);
        }
    }
}

fn is_b3(name: &HeaderName) -> bool {
    *name == B3 || name.as_str().starts_with(B3_PREFIX)
}

/// The text of a `traceparent` header, version 00.
fn format_traceparent(ctx: SpanContext) -> [u8; TRACEPARENT_LEN] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&mut text[3..35], ctx.trace_id.get());
    write_hex(&mut text[36..52], u128::from(ctx.span_id.get()));
    text[54] = b'0' + u8::from(ctx.is_sampled);
    text
}

fn write_hex(text: &mut [u8], mut number: u128) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// Reads `version-trace_id-parent_id-flags`; of versions to come, only these four fields.
fn parse_traceparent(text: &[u8]) -> Option<SpanContext> {
    let (head, rest) = text.split_at_checked(TRACEPARENT_LEN)?;
    let version = parse_hex(&head[..2], 2)?;
    let is_rest_allowed = rest.is_empty() || (version > 0 && rest[0] == b'-');
    let is_dashed = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
    if version == 0xff || !is_rest_allowed || !is_dashed {
        return None;
    }
    let flags = parse_hex(&head[53..], 2)?;
    Some(SpanContext {
        trace_id: TraceId::new(parse_hex(&head[3..35], 32)?)?,
        span_id: span_id(&head[36..52])?,
        is_sampled: flags & 1 == 1,
    })
}

/// Reads `trace_id-span_id[-sampled[-parent_id]]`.
fn parse_b3(text: &[u8]) -> Option<SpanContext> {
    let mut fields = text.split(|byte| *byte == b'-');
    let trace_id = b3_trace_id(fields.next()?)?;
    let span_id = span_id(fields.next()?)?;
    let is_sampled = match fields.next() {
        Some(b"0") => false,
        None | Some(b"1" | b"d") => true,
        // Without a decision, the third field may be the parent.
        Some(parent) => parse_hex(parent, 16).map(|_| true)?,
    };
    if let Some(parent) = fields.next() {
        parse_hex(parent, 16)?;
    }
    fields.next().is_none().then_some(SpanContext { trace_id, span_id, is_sampled })
}

fn parse_b3_headers(headers: &HeaderMap) -> Option<SpanContext> {
    let trace_id = b3_trace_id(only(headers, &B3_TRACE_ID)?)?;
    let span_id = span_id(only(headers, &B3_SPAN_ID)?)?;
    let is_debug = only(headers, &B3_FLAGS) == Some(b"1");
    let is_denied = matches!(only(headers, &B3_SAMPLED), Some(b"0" | b"false"));
    Some(SpanContext { trace_id, span_id, is_sampled: is_debug || !is_denied })
}

/// B3 allows ids of 8 bytes as well.
fn b3_trace_id(text: &[u8]) -> Option<TraceId> {
    let digits = if text.len() == 16 { 16 } else { 32 };
    TraceId::new(parse_hex(text, digits)?)
}

fn span_id(text: &[u8]) -> Option<SpanId> {
    SpanId::new(u64::try_from(parse_hex(text, 16)?).ok()?)
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first.as_bytes())
}

#[cfg(test)]
mod tests;
