//! Tests of the headers.

use proptest::prelude::*;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn expected(is_sampled: bool) -> SpanContext {
    SpanContext { trace_id: TRACE.parse().unwrap(), span_id: SPAN.parse().unwrap(), is_sampled }
}

#[test]
fn traceparent_is_read_strictly() {
    let zeros = "0".repeat(32);
    let good = Some(expected(true));
    for (text, expect) in [
        (format!("00-{TRACE}-{SPAN}-01"), good),
        (format!("00-{TRACE}-{SPAN}-00"), Some(expected(false))),
        // Other flags do not matter; the second says that the id is random.
        (format!("00-{TRACE}-{SPAN}-03"), good),
        (format!("00-{TRACE}-{SPAN}-ff"), good),
        (format!("00-{TRACE}-{SPAN}-02"), Some(expected(false))),
        // Versions to come: the first four fields.
        (format!("01-{TRACE}-{SPAN}-01"), good),
        (format!("cc-{TRACE}-{SPAN}-01-what-ever"), good),
        (format!("cc-{TRACE}-{SPAN}-01-"), good),
        (format!("cc-{TRACE}-{SPAN}-01.what"), None),
        (format!("cc-{TRACE}-{SPAN}-010"), None),
        (format!("ff-{TRACE}-{SPAN}-01"), None),
        // Version 00 has four fields and nothing else.
        (format!("00-{TRACE}-{SPAN}-01-"), None),
        (format!("00-{TRACE}-{SPAN}-01-00"), None),
        (format!("00-{TRACE}-{SPAN}-1"), None),
        (format!("00-{TRACE}-{SPAN}"), None),
        (format!("00-{zeros}-{SPAN}-01"), None),
        (format!("00-{TRACE}-{}-01", &zeros[..16]), None),
        (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
        (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
        (format!("0A-{TRACE}-{SPAN}-01"), None),
        (format!("00-{TRACE}-{SPAN}-0G"), None),
        (format!("00-{TRACE}-{SPAN}-0A"), None),
        (format!("00_{TRACE}-{SPAN}-01"), None),
        (format!(" 00-{TRACE}-{SPAN}-01"), None),
        (String::new(), None),
    ] {
        assert_eq!(extract(&headers(&[("traceparent", &text)])), expect, "{text}");
    }
}

#[test]
fn two_traceparents_are_none() {
    let text = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(extract(&headers(&[("traceparent", &text), ("traceparent", &text)])), None);
}

#[test]
fn b3_in_one_header_is_read() {
    let parent = "05e3ac9a4f6e3b90";
    for (text, expect) in [
        (format!("{TRACE}-{SPAN}-1-{parent}"), Some(expected(true))),
        (format!("{TRACE}-{SPAN}-1"), Some(expected(true))),
        (format!("{TRACE}-{SPAN}-d"), Some(expected(true))),
        (format!("{TRACE}-{SPAN}-0"), Some(expected(false))),
        (format!("{TRACE}-{SPAN}"), Some(expected(true))),
        (format!("{TRACE}-{SPAN}-{parent}"), Some(expected(true))),
        (format!("{TRACE}-{SPAN}-2"), None),
        (format!("{TRACE}-{SPAN}-1-{parent}-1"), None),
        (format!("{TRACE}-{SPAN}-1-what"), None),
        ("0".to_owned(), None),
        (String::new(), None),
    ] {
        assert_eq!(extract(&headers(&[("b3", &text)])), expect, "{text}");
    }
    let short = extract(&headers(&[("b3", &format!("8448eb211c80319c-{SPAN}-1"))])).unwrap();
    assert_eq!(short.trace_id.to_string(), "00000000000000008448eb211c80319c");
}

#[test]
fn b3_in_several_headers_is_read() {
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    for (more, expect) in [
        (vec![], Some(expected(true))),
        (vec![("x-b3-sampled", "1")], Some(expected(true))),
        (vec![("x-b3-sampled", "0")], Some(expected(false))),
        (vec![("x-b3-sampled", "false")], Some(expected(false))),
        (vec![("x-b3-flags", "1")], Some(expected(true))),
    ] {
        assert_eq!(extract(&headers(&[&ids[..], &more].concat())), expect, "{more:?}");
    }
    assert_eq!(extract(&headers(&ids[..1])), None);
    assert_eq!(extract(&headers(&[("x-b3-sampled", "1")])), None);
}

#[test]
fn traceparent_goes_before_b3_and_a_bad_one_does_not() {
    let good = format!("00-{TRACE}-{SPAN}-01");
    let b3 = "463ac35c9f6413ad48485a3953bb6124-0020000000000001-0";
    assert_eq!(extract(&headers(&[("traceparent", &good), ("b3", b3)])), Some(expected(true)));
    let found = extract(&headers(&[("traceparent", "what"), ("b3", b3)])).unwrap();
    assert_eq!(found.span_id.to_string(), "0020000000000001");
    assert!(!found.is_sampled);
}

#[test]
fn injecting_replaces_what_was_there() {
    let mut headers = headers(&[("traceparent", "a"), ("traceparent", "b")]);
    inject(expected(true), &mut headers);
    assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
    assert_eq!(headers[TRACEPARENT], format!("00-{TRACE}-{SPAN}-01"));
}

#[test]
fn injecting_takes_the_callers_b3_away() {
    let mut headers = headers(&[
        ("b3", &format!("{TRACE}-0020000000000001-0")),
        ("accept", "*/*"),
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", "0020000000000001"),
        ("x-b3-parentspanid", "0020000000000002"),
        ("x-b3-sampled", "0"),
        ("x-b3-sampled", "0"),
        ("x-b3-flags", "0"),
        ("x-b4", "kept"),
        ("b30", "kept"),
    ]);
    inject(expected(true), &mut headers);
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "b30", "traceparent", "x-b4"]);
    assert_eq!(extract(&headers), Some(expected(true)));
}

proptest! {
    #[test]
    fn what_is_injected_is_extracted(trace in 1_u128.., span in 1_u64.., is_sampled: bool) {
        let ctx = SpanContext {
            trace_id: TraceId::new(trace).unwrap(),
            span_id: SpanId::new(span).unwrap(),
            is_sampled,
        };
        let mut headers = HeaderMap::new();
        inject(ctx, &mut headers);
        prop_assert_eq!(extract(&headers), Some(ctx));
    }

    #[test]
    fn no_header_panics(name in 0..5_usize, text in proptest::collection::vec(0x20_u8..0x7f, 0..80)) {
        let name = [TRACEPARENT, B3, B3_TRACE_ID, B3_SPAN_ID, B3_SAMPLED][name].clone();
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(&text).unwrap());
        let _ = extract(&headers);
    }
}
