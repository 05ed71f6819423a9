//! The kinds of listeners: by host, for one call, as an HTTP proxy.

use std::sync::{Arc, Mutex};

use bowline_model::route::Route;
use bowline_proxy::{Addressed, Filter, Listener, ProxySecret, Verdict, Visit};
use http::{HeaderValue, Request};

use crate::support::{Fake, Proxy, answer, full, http2, raw, read, route, with_host};

/// Answers with the request's line and headers, a line each.
fn echo() -> Fake {
    Fake::http1(|request| async move {
        let line = |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}\n", value.to_str().unwrap());
        let headers: String = request.headers().iter().map(line).collect();
        answer(200, format!("{} {}\n{headers}", request.method(), request.uri()))
    })
}

fn payment() -> Route {
    with_host(route("payment", "/**"), "payment.mesh")
}

fn to_payment() -> Addressed {
    Addressed::To(HeaderValue::from_static("payment.mesh"))
}

fn listener(addressed: Addressed) -> Listener {
    Listener::new(([127, 0, 0, 1], 0).into()).addressed(addressed)
}

fn start(fake: &Fake, listeners: Vec<Listener>) -> Proxy {
    let instances = [fake.instance("payment", "p-1")];
    Proxy::start_with(&[payment()], &instances, |settings| settings.listeners = listeners)
}

/// The head of a problem's answer, and its reason.
#[track_caller]
fn assert_refused(text: &str, status: u16, reason: &str) {
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    assert!(text.contains(&format!("x-bowline-reason: {reason}\r\n")), "{text}");
}

#[tokio::test]
async fn every_listener_is_served_by_all_workers() {
    let fake = echo();
    let proxy = start(&fake, vec![listener(Addressed::ByHost), listener(to_payment())]);
    let [first, second] = *proxy.engine.addrs() else { panic!("two listeners have two addresses") };
    assert_eq!(proxy.addr(), first);
    assert_ne!(first, second);
    for _ in 0..8 {
        let text = raw(first, b"GET /a HTTP/1.1\r\nhost: payment.mesh\r\nconnection: close\r\n\r\n").await;
        assert!(text.contains("host: payment.mesh\n"), "{text}");
        assert_refused(&raw(first, b"GET /a HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n").await, 404, "no_route");
        let text = raw(second, b"GET /a HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n").await;
        assert!(text.contains("GET /a\n") && text.contains("host: payment\n"), "{text}");
    }
    assert!(proxy.engine.drain(crate::support::BOUND).await, "all of them end");
}

#[tokio::test]
async fn a_port_of_one_call_is_for_it_whatever_host_is_named() {
    let fake = echo();
    let proxy = start(&fake, vec![listener(to_payment())]);
    for head in [
        "GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:1\r\n",
        "GET http://elsewhere.test/a?b HTTP/1.1\r\nhost: elsewhere.test\r\n",
        "GET /a?b HTTP/1.1\r\n",
        "GET /a?b HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
    ] {
        let text = raw(proxy.addr(), format!("{head}connection: close\r\n\r\n").as_bytes()).await;
        assert!(text.contains("GET /a?b\n") && text.contains("\nhost: payment\n"), "{head}: {text}");
        assert_eq!(text.matches("\nhost:").count(), 1, "{text}");
    }
    let request = Request::get(format!("http://{}/a", proxy.addr())).body(full("")).unwrap();
    let got = read(http2(proxy.addr()).await.send_request(request).await.unwrap()).await;
    assert!(got.text().contains("GET /a\n") && got.text().contains("\nhost: payment\n"), "{}", got.text());
}

#[tokio::test]
async fn a_call_that_is_no_longer_declared_is_refused_at_its_port() {
    let fake = echo();
    let mut proxy = start(&fake, vec![listener(to_payment())]);
    proxy.set_routes(&[], &[]);
    let got = proxy.get("/a").await;
    got.assert_refused(403, "permission_denied", "egress_not_declared");
    assert!(got.text().contains("[service.NAME.calls.payment]"), "{}", got.text());
}

#[tokio::test]
async fn an_http_proxy_goes_by_absolute_addresses() {
    let fake = echo();
    let proxy = start(&fake, vec![listener(Addressed::AsProxy { secret: None })]);
    let ask = async |head: &str| raw(proxy.addr(), format!("{head}connection: close\r\n\r\n").as_bytes()).await;
    for authority in ["payment.mesh", "Payment.Mesh", "payment.mesh:80"] {
        let head = format!("GET http://{authority}/a?b HTTP/1.1\r\nhost: other\r\nproxy-connection: keep-alive\r\n");
        let text = ask(&head).await;
        assert!(text.contains("GET /a?b\n") && text.contains("\nhost: payment\n"), "{text}");
    }
    assert_refused(&ask("GET /a HTTP/1.1\r\nhost: payment.mesh\r\n").await, 400, "proxy_form");
    assert_refused(&ask("GET https://payment.mesh/ HTTP/1.1\r\nhost: payment.mesh\r\n").await, 400, "proxy_form");
    let connect = ask("CONNECT payment.mesh:443 HTTP/1.1\r\nhost: payment.mesh:443\r\n").await;
    assert_refused(&connect, 400, "connect_unsupported");
    let undeclared = ask("GET http://bank.mesh/ HTTP/1.1\r\nhost: bank.mesh\r\n").await;
    assert_refused(&undeclared, 403, "egress_not_declared");
    assert!(undeclared.contains("`bank.mesh`") && undeclared.contains("[service.NAME.calls.bank]"), "{undeclared}");
    assert_refused(&ask("GET http://payment.mesh/a//b HTTP/1.1\r\nhost: payment.mesh\r\n").await, 400, "bad_path");
}

#[tokio::test]
async fn an_http_proxy_with_a_secret_demands_it_and_keeps_it() {
    let fake = echo();
    let secret = Some(ProxySecret::new("s3cret"));
    let proxy = start(&fake, vec![listener(Addressed::AsProxy { secret })]);
    // `bowline:s3cret`, `bowline:other`, `nobody:s3cret`.
    let (right, wrong, nobody) = ("Ym93bGluZTpzM2NyZXQ=", "Ym93bGluZTpvdGhlcg==", "bm9ib2R5OnMzY3JldA==");
    let ask = async |authorization: &str| {
        let head = "GET http://payment.mesh/a HTTP/1.1\r\nhost: payment.mesh\r\nconnection: close\r\n";
        raw(proxy.addr(), format!("{head}{authorization}\r\n").as_bytes()).await
    };
    for bad in [
        String::new(),
        format!("proxy-authorization: Basic {wrong}\r\n"),
        format!("proxy-authorization: Basic {nobody}\r\n"),
        format!("proxy-authorization: Bearer {right}\r\n"),
        "proxy-authorization: B\r\n".to_owned(),
        format!("authorization: Basic {right}\r\n"),
    ] {
        let text = ask(&bad).await;
        assert_refused(&text, 407, "proxy_credentials");
        assert!(text.contains("proxy-authenticate: Basic realm=\"bowline\"\r\n"), "{text}");
        assert!(text.contains("\"status\":407") && text.contains("\"code\":\"unauthenticated\""), "{text}");
    }
    for scheme in ["Basic", "basic"] {
        let text = ask(&format!("proxy-authorization: {scheme} {right}\r\nauthorization: mine\r\n")).await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("\nauthorization: mine\n"), "{text}");
        assert!(!text.contains(right), "{text}");
    }
    let connect = b"CONNECT payment.mesh:443 HTTP/1.1\r\nhost: payment.mesh:443\r\nconnection: close\r\n\r\n";
    assert_refused(&raw(proxy.addr(), connect).await, 407, "proxy_credentials");
    assert_eq!(format!("{:?}", ProxySecret::new("s3cret")), "ProxySecret");
}

/// Notes by which listener requests came.
#[derive(Debug, Default)]
struct ByListener(Mutex<Vec<usize>>);

impl Filter for ByListener {
    fn admit(&self, visit: &mut Visit<'_>) -> Verdict {
        assert_eq!(visit.peer, None);
        self.0.lock().unwrap().push(visit.listener);
        Verdict::Pass
    }
}

#[tokio::test]
async fn filters_see_by_which_listener_a_request_came() {
    let fake = echo();
    let seen = Arc::new(ByListener::default());
    let filter: Arc<dyn Filter> = Arc::<ByListener>::clone(&seen);
    let proxy = Proxy::start_filtered_with(&payment(), &[fake.instance("payment", "p-1")], &filter, |settings| {
        settings.listeners = vec![listener(Addressed::ByHost), listener(to_payment())];
    });
    for at in [1, 0] {
        raw(proxy.engine.addrs()[at], b"GET /a HTTP/1.1\r\nhost: payment.mesh\r\nconnection: close\r\n\r\n").await;
    }
    assert_eq!(*seen.0.lock().unwrap(), [1, 0]);
}
