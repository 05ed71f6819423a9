//! What happens to headers on their way, and what a trace looks like.

use bowline_telemetry::propagation;
use http::{Request, Response};

use crate::support::{Fake, Proxy, answer, attribute, full, route};

/// Answers with the headers it got, a line each.
fn mirror() -> Fake {
    Fake::http1(|request| async move {
        let line =
            |(name, value): (&http::HeaderName, &http::HeaderValue)| format!("{name}: {}\n", value.to_str().unwrap());
        answer(200, request.headers().iter().map(line).collect::<String>())
    })
}

#[tokio::test]
async fn what_is_for_one_hop_or_ours_does_not_pass() {
    let fake = mirror();
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let request = Request::get("/")
        .header("host", "Shop.test:8080")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("x-bowline-timeout-ms", "1")
        .header("x-bowline-anything", "1")
        .header("x-forwarded-for", "10.9.8.7")
        .header("forwarded", "for=10.9.8.7")
        .header("x-kept", "yes")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let got = proxy.send(request.body(full("")).unwrap()).await;
    let lines: Vec<_> = got.text().lines().collect();
    let has = |line: &str| lines.contains(&line);
    for line in [
        "host: Shop.test:8080",
        "x-kept: yes",
        "cookie: a=1",
        "cookie: b=2",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: Shop.test:8080",
        "x-forwarded-proto: http",
        "forwarded: for=127.0.0.1;host=\"Shop.test:8080\";proto=http",
    ] {
        assert!(has(line), "{line} is not in {lines:?}");
    }
    for gone in ["x-hop", "keep-alive", "proxy-connection", "x-bowline-anything", "10.9.8.7"] {
        assert!(!got.text().contains(gone), "{gone} is in {lines:?}");
    }
    assert!(!has("x-bowline-timeout-ms: 1"), "{lines:?}");
}

#[tokio::test]
async fn a_proxy_before_us_is_believed_where_we_are_told_to() {
    let fake = mirror();
    let instances = [fake.instance("a", "a-1")];
    let proxy = Proxy::start_with(&[route("a", "/**")], &instances, |settings| settings.trusts_forwarded = true);
    let request = Request::get("/").header("x-forwarded-for", "10.9.8.7").header("x-forwarded-proto", "https");
    let got = proxy.send(request.body(full("")).unwrap()).await;
    assert!(got.text().contains("x-forwarded-for: 10.9.8.7, 127.0.0.1\n"), "{}", got.text());
    assert!(got.text().contains("x-forwarded-proto: https\n"), "{}", got.text());
}

#[tokio::test]
async fn an_answers_hop_headers_do_not_pass() {
    let fake = Fake::http1(|_| async {
        let response = Response::builder().header("connection", "x-hop").header("x-hop", "1").header("x-kept", "1");
        let response = response.header("x-bowline-reason", "breaker_open");
        response.header("keep-alive", "timeout=9").body(full("ok")).unwrap()
    });
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let got = proxy.get("/").await;
    assert_eq!(got.headers["x-kept"], "1");
    for gone in ["connection", "x-hop", "keep-alive", "x-bowline-reason"] {
        assert!(!got.headers.contains_key(gone), "{got:?}");
    }
}

#[tokio::test]
async fn a_trace_goes_on_through_the_proxy() {
    let fake = mirror();
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let incoming = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let got = proxy.send(Request::get("/").header("traceparent", incoming).body(full("")).unwrap()).await;
    assert_eq!(got.headers["x-trace-id"], "0af7651916cd43dd8448eb211c80319c");
    let span = proxy.spans.only().await;
    assert_eq!(span.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id.unwrap().to_string(), "b7ad6b7169203331");
    let sent = got.text().lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
    let headers = [(propagation::TRACEPARENT, sent.parse().unwrap())].into_iter().collect();
    let passed = propagation::extract(&headers).unwrap();
    assert_eq!((passed.trace_id, passed.span_id, passed.is_sampled), (span.trace_id, span.span_id, true));
    assert_eq!(attribute(&span, "bowline.instance").as_deref(), Some("a-1"));
}
