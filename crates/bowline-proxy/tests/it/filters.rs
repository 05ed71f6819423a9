//! Filters of listeners and routes: their order, what they see, what they may do.

use std::sync::{Arc, Mutex};

use bowline_model::Code;
use bowline_proxy::{Filter, Recode, Refusal, Verdict, Visit};
use bowline_runtime::{task, time};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt as _;

use crate::support::{BOUND, Fake, Proxy, answer, attribute, channel, full, http1, raw, route};

type Decide = Box<dyn Fn(&mut Visit<'_>) -> Verdict + Send + Sync>;

/// Writes down what it is asked, and decides what the test says.
struct Noted {
    name: &'static str,
    log: Arc<Mutex<Vec<String>>>,
    decide: Decide,
    answers_preflights: bool,
}

impl std::fmt::Debug for Noted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Filter for Noted {
    fn begin(&self, visit: &mut Visit<'_>) {
        self.note("begin");
        let (name, log) = (self.name, Arc::clone(&self.log));
        visit.on_answer(move |leaving| {
            log.lock().unwrap().push(format!("{name} leaves {}", leaving.head.status.as_u16()));
            leaving.head.headers.append("x-passed", HeaderValue::from_static(name));
        });
    }

    fn admit(&self, visit: &mut Visit<'_>) -> Verdict {
        self.note("admit");
        (self.decide)(visit)
    }

    fn answers_preflights(&self) -> bool {
        self.answers_preflights
    }
}

impl Noted {
    fn note(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

#[derive(Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn filter(
        &self,
        name: &'static str,
        decide: impl Fn(&mut Visit<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Arc<dyn Filter> {
        self.make(name, false, decide)
    }

    fn make(
        &self,
        name: &'static str,
        answers_preflights: bool,
        decide: impl Fn(&mut Visit<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Arc<dyn Filter> {
        let (log, decide) = (Arc::clone(&self.0), Box::new(decide));
        Arc::new(Noted { name, log, decide, answers_preflights })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn refuse(_: &mut Visit<'_>) -> Verdict {
    let mut refusal = Refusal::new(Code::Unauthenticated, "no_badge", "show your badge");
    refusal.headers.insert("www-authenticate", HeaderValue::from_static("Badge"));
    Verdict::Refuse(Box::new(refusal))
}

/// A service that answers with the headers it got, a line each.
fn echo() -> Fake {
    Fake::http1(|request: Request<hyper::body::Incoming>| async move {
        let line = |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}\n", value.to_str().unwrap());
        answer(200, request.headers().iter().map(line).collect::<String>())
    })
}

#[tokio::test]
async fn a_request_passes_listener_then_route_and_its_answer_comes_back() {
    let (log, fake) = (Log::default(), echo());
    let listener = log.filter("listener", |_| Verdict::Pass);
    let own = log.filter("route", |visit| {
        visit.head.headers.insert("x-set", HeaderValue::from_static("1"));
        visit.on_answer(|leaving| {
            assert!(leaving.head.headers.insert("x-first", HeaderValue::from_static("1")).is_none());
        });
        visit.span.set("test.filter", "seen");
        Verdict::Pass
    });
    let proxy = Proxy::start_filtered(&route("a", "/a"), &[fake.instance("a", "a-1")], Some(listener), &own);
    let seen = proxy.get("/a").await;
    assert_eq!(seen.status, 200);
    assert!(seen.text().contains("x-set: 1\n"), "{}", seen.text());
    assert_eq!(seen.headers["x-passed"], "route");
    assert_eq!(seen.headers["x-first"], "1");
    assert_eq!(log.take(), ["route begin", "listener admit", "route admit", "route leaves 200"]);
    assert_eq!(attribute(&proxy.spans.only().await, "test.filter").as_deref(), Some("seen"));
}

#[tokio::test]
async fn what_clients_may_not_say_is_gone_before_a_filter_looks_and_what_it_says_stays() {
    let (log, fake) = (Log::default(), echo());
    let own = log.filter("route", |visit| {
        let headers = &mut visit.head.headers;
        assert!(headers.keys().all(|name| !name.as_str().starts_with("x-bowline-")), "{headers:?}");
        headers.insert("x-bowline-subject", HeaderValue::from_static("ada"));
        Verdict::Pass
    });
    let proxy = Proxy::start_filtered(&route("a", "/a"), &[fake.instance("a", "a-1")], None, &own);
    let text = raw(
        proxy.addr(),
        b"GET /a HTTP/1.1\r\nhost: a\r\nx-bowline-subject: eve\r\nx-bowline-subject: mallory\r\n\
          x-bowline_subject: eve\r\nX_Bowline-Subject: eve\r\nconnection: x-bowline-subject, close\r\n\r\n",
    )
    .await;
    assert!(text.contains("x-bowline-subject: ada\n"), "{text}");
    assert!(!text.contains("eve") && !text.contains("mallory"), "{text}");
}

#[tokio::test]
async fn no_filter_leads_to_paths_that_are_bowlines_own() {
    let (log, fake) = (Log::default(), Fake::named("a"));
    let strip = log.filter("route", |visit| {
        visit.head.uri = visit.head.uri.path().strip_prefix("/a").unwrap().parse().unwrap();
        Verdict::Pass
    });
    let proxy = Proxy::start_filtered(&route("a", "/a/**"), &[fake.instance("a", "a-1")], None, &strip);
    assert_eq!(proxy.get("/a/b").await.text(), "a");
    proxy.get("/a/-/bowline/sagas").await.assert_refused(404, "not_found", "no_route");
}

#[tokio::test]
async fn a_refusal_is_a_problem_and_passes_what_answers_pass() {
    let (log, fake) = (Log::default(), Fake::named("a"));
    let proxy =
        Proxy::start_filtered(&route("a", "/a"), &[fake.instance("a", "a-1")], None, &log.filter("route", refuse));
    let seen = proxy.get("/a").await;
    seen.assert_refused(401, "unauthenticated", "no_badge");
    assert_eq!(seen.headers["www-authenticate"], "Badge");
    assert_eq!(seen.headers["x-passed"], "route");
    assert_eq!(log.take(), ["route begin", "route admit", "route leaves 401"]);
    assert_eq!(proxy.counted("a", 401), 1);
}

#[tokio::test]
async fn an_answer_for_a_route_without_weight_passes_what_its_answers_pass() {
    let (log, fake) = (Log::default(), Fake::named("a"));
    let mut idle = route("a", "/a");
    idle.backends[0].weight = 0;
    let own = log.filter("route", |_| Verdict::Pass);
    let proxy = Proxy::start_filtered(&idle, &[fake.instance("a", "a-1")], None, &own);
    let seen = proxy.get("/a").await;
    seen.assert_refused(503, "unavailable", "no_backend");
    assert_eq!(seen.headers["x-passed"], "route");
}

#[tokio::test]
async fn whom_the_listener_refuses_does_not_learn_which_routes_there_are() {
    let (log, fake) = (Log::default(), Fake::named("a"));
    let own = log.filter("route", |_| Verdict::Pass);
    let proxy = Proxy::start_filtered(
        &route("a", "/a"),
        &[fake.instance("a", "a-1")],
        Some(log.filter("listener", refuse)),
        &own,
    );
    for path in ["/a", "/b", "/a//b"] {
        proxy.get(path).await.assert_refused(401, "unauthenticated", "no_badge");
    }
    let found = ["route begin", "listener admit", "route leaves 401"];
    assert_eq!(log.take(), [&found[..], &["listener admit", "listener admit"]].concat());
}

#[tokio::test]
async fn a_filter_may_answer_in_the_place_of_the_service() {
    let (log, fake) = (Log::default(), Fake::raw(|_| async { panic!("nobody is asked") }));
    let own =
        log.filter("route", |_| Verdict::Answer(Box::new(Response::builder().status(204).body(Bytes::new()).unwrap())));
    let proxy = Proxy::start_filtered(&route("a", "/a"), &[fake.instance("a", "a-1")], None, &own);
    let mut client = http1(proxy.addr()).await;
    for _ in 0..2 {
        let request = Request::post("/a").header("host", "a").body(full("body")).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 204);
        assert!(response.headers().contains_key("x-trace-id") && response.headers().contains_key("x-passed"));
        client.ready().await.unwrap();
    }
    assert_eq!(proxy.counted("a", 204), 2);
    // A body that nobody asked for may come or not: no request can follow on the connection.
    let text =
        raw(proxy.addr(), b"POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 204") && text.contains("connection: close\r\n"), "{text}");
}

#[tokio::test]
async fn a_filter_is_asked_again_when_what_it_waits_for_has_come() {
    let (log, fake) = (Log::default(), Fake::named("a"));
    let is_there = Arc::new(Mutex::new(false));
    let own = log.filter("route", move |_| {
        if *is_there.lock().unwrap() {
            return Verdict::Pass;
        }
        let is_there = Arc::clone(&is_there);
        Verdict::Wait(Box::pin(async move {
            task::yield_now().await;
            *is_there.lock().unwrap() = true;
        }))
    });
    let proxy = Proxy::start_filtered(&route("a", "/a"), &[fake.instance("a", "a-1")], None, &own);
    assert_eq!(proxy.get("/a").await.text(), "a");
    assert_eq!(log.take(), ["route begin", "route admit", "route admit", "route leaves 200"]);
    let undecided = log.filter("route", |_| Verdict::Wait(Box::pin(async {})));
    let proxy = Proxy::start_filtered(&route("a", "/a"), &[fake.instance("a", "a-1")], None, &undecided);
    proxy.get("/a").await.assert_refused(503, "unavailable", "undecided");
}

#[tokio::test]
async fn a_preflight_goes_to_the_route_of_the_request_it_asks_for() {
    let (log, fake) = (Log::default(), Fake::named("a"));
    let own = log.make("route", true, |visit| {
        if visit.is_preflight {
            return Verdict::Answer(Box::new(Response::builder().status(204).body(Bytes::new()).unwrap()));
        }
        Verdict::Pass
    });
    let mut only_put = route("a", "/a");
    only_put.matches[0].methods = vec!["PUT".to_owned()];
    let proxy = Proxy::start_filtered(&only_put, &[fake.instance("a", "a-1")], None, &own);
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(Method::OPTIONS).uri("/a");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        proxy.send(request.body(full("")).unwrap()).await.status.as_u16()
    };
    let origin = ("origin", "https://a.test");
    assert_eq!(ask(&[origin, ("access-control-request-method", "PUT")]).await, 204);
    assert_eq!(ask(&[origin, ("access-control-request-method", "GET")]).await, 405);
    assert_eq!(ask(&[origin, ("access-control-request-method", "é")]).await, 405);
    assert_eq!(ask(&[origin]).await, 405);
    assert_eq!(ask(&[("access-control-request-method", "PUT")]).await, 405);
}

/// Gives in upper case what it has kept, every four bytes at the soonest.
#[derive(Default)]
struct Upper(Vec<u8>);

impl Recode for Upper {
    fn push(&mut self, data: &[u8]) -> Bytes {
        self.0.extend(data.to_ascii_uppercase());
        if self.0.len() < 4 { Bytes::new() } else { self.flush() }
    }

    fn flush(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }

    fn finish(&mut self) -> Bytes {
        self.0.push(b'!');
        self.flush()
    }
}

fn upper(visit: &mut Visit<'_>) -> Verdict {
    visit.on_answer(|leaving| {
        leaving.head.headers.remove("content-length");
        leaving.recode(Upper::default());
    });
    Verdict::Pass
}

#[tokio::test]
async fn a_body_is_rewritten_as_it_streams_and_nothing_stalls() {
    let (sender, body) = channel();
    let body = Arc::new(Mutex::new(Some(body)));
    let fake = Fake::http1(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    });
    let own = Log::default().filter("route", upper);
    let proxy = Proxy::start_filtered(&route("a", "/a"), &[fake.instance("a", "a-1")], None, &own);
    let mut client = http1(proxy.addr()).await;
    let request = Request::get("/a").header("host", "a").body(full("")).unwrap();
    let mut body = client.send_request(request).await.unwrap().into_body();
    for (sent, seen) in [("a", "A"), ("bcde", "BCDE"), ("f", "F")] {
        sender.send(Ok(sent.into())).await.unwrap();
        let frame = time::timeout(BOUND, body.frame()).await.expect("nothing stalls").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), seen);
    }
    assert_eq!(proxy.in_flight(), 1);
    drop(sender);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "!");
    bowline_testkit::eventually(BOUND, || proxy.counted("a", 200) == 1 && proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn a_rewritten_body_that_breaks_off_is_counted_so() {
    let (sender, body) = channel();
    let body = Arc::new(Mutex::new(Some(body)));
    let fake = Fake::http1(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    });
    let own = Log::default().filter("route", upper);
    let proxy = Proxy::start_filtered(&route("a", "/a"), &[fake.instance("a", "a-1")], None, &own);
    let mut client = http1(proxy.addr()).await;
    let request = Request::get("/a").header("host", "a").body(full("")).unwrap();
    let body = client.send_request(request).await.unwrap().into_body();
    sender.send(Ok("a".into())).await.unwrap();
    sender.send(Err("broken".into())).await.unwrap();
    assert!(body.collect().await.is_err());
    bowline_testkit::eventually(BOUND, || proxy.counted("a", 502) == 1).await;
}

#[tokio::test]
async fn an_answer_of_ours_is_rewritten_too() {
    let own = Log::default().filter("route", |visit| {
        upper(visit);
        refuse(visit)
    });
    let proxy = Proxy::start_filtered(&route("a", "/a"), &[], None, &own);
    let seen = proxy.get("/a").await;
    assert!(seen.text().contains("SHOW YOUR BADGE") && seen.text().ends_with('!'), "{}", seen.text());
}
