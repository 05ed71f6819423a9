//! Tests of what clients are believed.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use bowline_runtime::time;

use super::*;

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn client(trust: Trust) -> Client {
    let peer = Peer { remote: Some(([192, 0, 2, 1], 5).into()), ..Peer::default() };
    Client::new(peer, 0, Rc::default(), None, trust)
}

#[test]
fn who_asks_is_the_peer_or_whom_a_trusted_one_named_last() {
    let check = |is_proxy, pairs: &[(&'static str, &'static str)], expected: &str| {
        let headers = map(pairs);
        let address = client(Trust::Stranger { is_proxy }).address(&headers, Seen::look(&headers));
        assert_eq!(address, Some(expected.parse().unwrap()), "{pairs:?}");
    };
    check(true, &[], "192.0.2.1");
    check(false, &[("x-forwarded-for", "198.51.100.7")], "192.0.2.1");
    check(true, &[("x-forwarded-for", "198.51.100.7")], "198.51.100.7");
    check(true, &[("x-forwarded-for", "203.0.113.9, 198.51.100.7")], "198.51.100.7");
    check(true, &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "[2001:db8::1]:99")], "2001:db8::1");
    check(true, &[("x-forwarded-for", "::ffff:198.51.100.7")], "198.51.100.7");
    check(true, &[("x-forwarded-for", "unknown")], "192.0.2.1");
}

#[test]
fn whom_an_engine_believes_depends_on_whose_it_is_and_who_asks() {
    let check = |peers, id: &str, expected| {
        let id = id.parse::<SpiffeId>().ok();
        assert_eq!(Trust::of(peers, id.as_ref(), false), expected, "{peers:?} {id:?}");
    };
    let stranger = Trust::Stranger { is_proxy: false };
    for id in ["", "spiffe://shop/service/order", "spiffe://shop/gateway"] {
        check(Peers::Strangers, id, stranger);
        check(Peers::Application, id, Trust::Application);
    }
    check(Peers::Mesh, "", stranger);
    check(Peers::Mesh, "spiffe://shop/service/order", Trust::Peer);
    check(Peers::Mesh, "spiffe://shop/bowline", Trust::Peer);
    check(Peers::Mesh, "spiffe://shop/gateway", Trust::Gateway);
}

#[test]
fn own_headers_are_kept_as_the_table_says() {
    let said = ["x-bowline-subject", "x-bowline-auth", "x-bowline-mirror", "x-bowline-timeout-ms", "x-bowline-caller"];
    let check = |trust: Trust, expected: &[&str]| {
        let kept: Vec<_> = said.into_iter().filter(|name| trust.keeps(name)).collect();
        assert_eq!(kept, expected, "{trust:?}");
    };
    check(Trust::Stranger { is_proxy: true }, &[]);
    check(Trust::Application, &[]);
    check(Trust::Peer, &["x-bowline-mirror"]);
    check(Trust::Gateway, &["x-bowline-subject", "x-bowline-auth", "x-bowline-mirror"]);
}

#[test]
fn a_deadline_is_that_of_who_is_believed() {
    let now = time::now();
    let check = |trust, said: &'static str, expected: Option<u64>| {
        let headers = map(&[("x-bowline-timeout-ms", said)]);
        let deadline = client(trust).deadline(&headers, Seen::look(&headers), now);
        assert_eq!(deadline, expected.map(|millis| now + Duration::from_millis(millis)), "{trust:?} {said}");
    };
    check(Trust::Stranger { is_proxy: true }, "250", None);
    for trust in [Trust::Peer, Trust::Gateway, Trust::Application] {
        check(trust, "250", Some(250));
        check(trust, "0", Some(0));
        check(trust, "soon", None);
        check(trust, "-1", None);
    }
    let nothing = HeaderMap::new();
    assert_eq!(client(Trust::Peer).deadline(&nothing, Seen::look(&nothing), now), None);
}

static ASKED: AtomicUsize = AtomicUsize::new(0);

fn admits_counted(_: &Peer) -> bool {
    ASKED.fetch_add(1, SeqCst);
    true
}

#[tokio::test]
async fn who_is_served_is_found_out_once() {
    let client = || client(Trust::Application);
    assert!(client().is_admitted().await);
    for (admits, answer) in [(admits_counted as Admits, true), (|peer| !admits_counted(peer), false)] {
        let client = client().admitted_by(Some(admits));
        assert_eq!((client.is_admitted().await, client.is_admitted().await), (answer, answer));
    }
    assert_eq!(ASKED.load(SeqCst), 2);
    let panics: Admits = |_| panic!("it cannot say");
    assert!(!client().admitted_by(Some(panics)).is_admitted().await);
}
