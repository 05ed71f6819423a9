//! Which spans are reported, and what those who are called are told of the trace.

use std::sync::Arc;

use bowline_model::Code;
use bowline_proxy::{Filter, Refusal, Spans, Verdict, Visit};
use http::Request;

use crate::support::{Answer, Fake, Proxy, answer, attribute, full, route};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Answers with the trace that it was told of, and says that it began `theirs` where it was told of none.
fn traced() -> Fake {
    Fake::http1(|request| async move {
        let told = request.headers().get("traceparent").map(|told| told.to_str().unwrap().to_owned());
        let mut response = answer(200, told.clone().unwrap_or_else(|| "none".to_owned()));
        response.headers_mut().insert("x-trace-id", "theirs".parse().unwrap());
        response
    })
}

/// Does what the query says.
#[derive(Debug)]
struct Asked;

impl Filter for Asked {
    fn admit(&self, visit: &mut Visit<'_>) -> Verdict {
        match visit.head.uri.query() {
            Some("keep") => {
                visit.span.keep();
                visit.span.set("test.kept", true);
                Verdict::Pass
            }
            Some("refuse") => Verdict::Refuse(Box::new(Refusal::new(Code::PermissionDenied, "not_you", "not you"))),
            _ => Verdict::Pass,
        }
    }
}

fn eventful(fake: &Fake) -> Proxy {
    let filter: Arc<dyn Filter> = Arc::new(Asked);
    let instances = [fake.instance("a", "a-1")];
    Proxy::start_filtered_with(&route("a", "/a"), &instances, &filter, |settings| settings.spans = Spans::Eventful)
}

async fn ask(proxy: &Proxy, target: &str, parent: Option<&str>) -> Answer {
    let request = Request::get(target);
    let request = match parent {
        Some(parent) => request.header("traceparent", parent),
        None => request,
    };
    proxy.send(request.body(full("")).unwrap()).await
}

#[tokio::test]
async fn where_nothing_happens_the_trace_passes_as_it_came_and_nothing_is_reported() {
    let fake = traced();
    let proxy = eventful(&fake);
    let got = ask(&proxy, "/a", Some(PARENT)).await;
    assert_eq!((got.text(), got.headers["x-trace-id"].to_str().unwrap()), (PARENT, TRACE));
    let got = ask(&proxy, "/a", None).await;
    assert_eq!((got.text(), got.headers["x-trace-id"].to_str().unwrap()), ("none", "theirs"));
    ask(&proxy, "/a?refuse", Some(PARENT)).await;
    // The refusal's is the only one.
    proxy.spans.only().await;
}

#[tokio::test]
async fn a_refusal_is_reported_as_a_child_of_who_asked() {
    let fake = traced();
    let proxy = eventful(&fake);
    let got = ask(&proxy, "/a?refuse", Some(PARENT)).await;
    got.assert_refused(403, "permission_denied", "not_you");
    assert_eq!(got.headers["x-trace-id"], TRACE);
    let span = proxy.spans.only().await;
    assert_eq!(
        (span.trace_id.to_string(), span.parent_span_id.unwrap().to_string()),
        (TRACE.to_owned(), PARENT[36..52].to_owned())
    );
    assert_eq!(attribute(&span, "bowline.reason").as_deref(), Some("not_you"));
    assert_eq!(attribute(&span, "url.path").as_deref(), Some("/a"));
}

#[tokio::test]
async fn what_fails_here_is_reported() {
    let proxy = Proxy::start_with(&[route("a", "/a")], &[], |settings| settings.spans = Spans::Eventful);
    let got = ask(&proxy, "/a", None).await;
    got.assert_refused(503, "unavailable", "no_instance");
    let span = proxy.spans.only().await;
    assert_eq!(span.trace_id.to_string(), got.headers["x-trace-id"].to_str().unwrap());
    assert_eq!(span.parent_span_id, None);
}

#[tokio::test]
async fn what_a_filter_keeps_is_reported_and_the_call_goes_on_beside_it() {
    let fake = traced();
    let proxy = eventful(&fake);
    let got = ask(&proxy, "/a?keep", Some(PARENT)).await;
    assert_eq!((got.text(), got.headers["x-trace-id"].to_str().unwrap()), (PARENT, TRACE));
    let span = proxy.spans.only().await;
    assert_eq!(attribute(&span, "test.kept").as_deref(), Some("true"));
    assert_eq!(attribute(&span, "bowline.attempts").as_deref(), Some("1"));
    assert_eq!(span.parent_span_id.unwrap().to_string(), PARENT[36..52]);
}

#[tokio::test]
async fn a_trace_that_begins_here_is_passed_on_where_its_span_is_kept() {
    let fake = traced();
    let proxy = eventful(&fake);
    let got = ask(&proxy, "/a?keep", None).await;
    let span = proxy.spans.only().await;
    assert_eq!(got.text(), format!("00-{}-{}-01", span.trace_id, span.span_id));
    assert_eq!(got.headers["x-trace-id"].to_str().unwrap(), span.trace_id.to_string());
}

#[tokio::test]
async fn every_request_has_a_span_where_that_is_asked_for() {
    let fake = traced();
    let proxy = Proxy::start(&[route("a", "/a")], &[fake.instance("a", "a-1")]);
    let got = ask(&proxy, "/a", Some(PARENT)).await;
    let span = proxy.spans.only().await;
    assert_eq!(got.text(), format!("00-{TRACE}-{}-01", span.span_id));
    assert_eq!(got.headers["x-trace-id"], TRACE);
}

#[tokio::test]
async fn requests_are_counted_only_where_that_is_asked_for() {
    let fake = traced();
    let proxy = Proxy::start_with(&[route("a", "/a")], &[fake.instance("a", "a-1")], |settings| {
        settings.counts_requests = false;
    });
    assert_eq!(ask(&proxy, "/a", None).await.status, 200);
    assert_eq!(ask(&proxy, "/b", None).await.status, 404);
    let text = proxy.metrics.render();
    for name in ["bowline_requests_total{", "bowline_request_duration_seconds", "bowline_requests_in_flight"] {
        assert!(!text.contains(name), "{text}");
    }
    assert!(text.contains("bowline_pool_connects_total"), "what else it does is counted: {text}");
}
