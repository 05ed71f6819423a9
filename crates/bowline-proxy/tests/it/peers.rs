//! What clients are believed: strangers, peers of the mesh by their certificates, the application beside us.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bowline_model::{Code, mesh::SpiffeId};
use bowline_proxy::{Addressed, Filter, Listener, Peers, Refusal, Settings, Verdict, Visit};
use bowline_runtime::{net::TcpStream, task};
use bowline_transport::ClientTls;
use bowline_upstream::Security;
use http::{HeaderValue, Request};
use hyper::client::conn;
use hyper_util::rt::TokioIo;
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::{
    authority::{Authority, peer_id},
    support::{Answer, Fake, Proxy, TestBody, answer, full, read, route},
};

/// What all of them say of themselves.
const SAID: [(&str, &str); 9] = [
    ("x-bowline-subject", "ada"),
    ("x-bowline-auth", "login"),
    ("x-bowline-mirror", "1"),
    ("x-bowline-caller", "service/forged"),
    ("x-bowline-reason", "forged"),
    ("x-bowline-timeout-ms", "5000"),
    ("forwarded", "for=10.9.8.7"),
    ("x-forwarded-for", "10.9.8.7"),
    ("x-real-ip", "10.9.8.7"),
];

/// Answers with the headers it got, a line each, sorted; and claims to refuse in Bowline's name.
fn echo() -> Fake {
    Fake::http1(|request| async move {
        let line = |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}\n", value.to_str().unwrap());
        let mut lines: Vec<_> = request.headers().iter().map(line).collect();
        lines.sort();
        let mut response = answer(200, lines.concat());
        response.headers_mut().insert("x-bowline-reason", HeaderValue::from_static("forged"));
        response
    })
}

fn said(target: &str) -> Request<TestBody> {
    let mut request = Request::get(target).header("host", "payment");
    for (name, value) in SAID {
        request = request.header(name, value);
    }
    request.body(full("")).unwrap()
}

/// An inbound sidecar before payment.
fn inbound(authority: &Authority, takes_plain: bool) -> impl FnOnce(&mut Settings) {
    let listener = Listener::new(([127, 0, 0, 1], 0).into()).with_tls(authority.server("payment", takes_plain));
    move |settings| {
        settings.listeners = vec![listener];
        settings.peers = Peers::Mesh;
        settings.peer_id = Some(peer_id);
    }
}

/// One request under TLS, over a connection of its own.
async fn send_tls(addr: SocketAddr, tls: &ClientTls, request: Request<TestBody>) -> Answer {
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("payment").unwrap();
    let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream).await.unwrap();
    let (mut client, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    task::spawn(async move { connection.await.ok() });
    read(client.send_request(request).await.unwrap()).await
}

/// Which of what is said, or is about who calls, reached the service.
fn reached(got: &Answer) -> Vec<&str> {
    assert!(!got.headers.contains_key("x-bowline-reason"), "a service cannot claim it: {got:?}");
    let is_of_us =
        |line: &&str| line.starts_with("x-bowline-") || line.contains("orwarded") || line.contains("real-ip");
    got.text().lines().filter(is_of_us).filter(|line| !line.starts_with("x-bowline-timeout-ms")).collect()
}

/// The time that the service was given.
fn timeout(got: &Answer) -> u64 {
    let line = got.text().lines().find_map(|line| line.strip_prefix("x-bowline-timeout-ms: "));
    line.unwrap().parse().unwrap()
}

const UNCHANGED: [&str; 3] = ["forwarded: for=10.9.8.7", "x-forwarded-for: 10.9.8.7", "x-real-ip: 10.9.8.7"];

#[tokio::test]
async fn a_peer_of_the_mesh_is_believed_by_its_certificate() {
    let (authority, fake) = (Authority::new(), echo());
    let instances = [fake.instance("payment", "p-1")];
    let proxy = Proxy::start_with(&[route("payment", "/**")], &instances, inbound(&authority, false));
    let ask = async |id: &str| send_tls(proxy.addr(), &authority.client(id), said("/a")).await;
    let got = ask("spiffe://shop/service/order").await;
    let own = ["x-bowline-caller: service/order", "x-bowline-mirror: 1"];
    assert_eq!(reached(&got), [&UNCHANGED[..1], &own, &UNCHANGED[1..]].concat());
    assert!(timeout(&got) <= 5000);
    let got = ask("spiffe://shop/gateway").await;
    let own = ["x-bowline-auth: login", "x-bowline-caller: gateway", "x-bowline-mirror: 1", "x-bowline-subject: ada"];
    assert_eq!(reached(&got), [&UNCHANGED[..1], &own, &UNCHANGED[1..]].concat());
    let got = ask("spiffe://shop/bowline").await;
    let own = ["x-bowline-caller: bowline", "x-bowline-mirror: 1"];
    assert_eq!(reached(&got), [&UNCHANGED[..1], &own, &UNCHANGED[1..]].concat());
}

#[tokio::test]
async fn who_shows_no_identity_is_a_stranger_in_the_mesh_too() {
    let (authority, fake) = (Authority::new(), echo());
    let instances = [fake.instance("payment", "p-1")];
    let proxy = Proxy::start_with(&[route("payment", "/**")], &instances, inbound(&authority, true));
    let expected = |proto: &str| {
        [
            format!("forwarded: for=127.0.0.1;host=\"payment\";proto={proto}"),
            "x-forwarded-for: 127.0.0.1".to_owned(),
            "x-forwarded-host: payment".to_owned(),
            format!("x-forwarded-proto: {proto}"),
        ]
    };
    let got = proxy.send(said("/a")).await;
    assert_eq!(reached(&got), expected("http"));
    assert!(timeout(&got) > 5000, "the route's own");
    let nobody = authority.client("urn:nobody");
    assert_eq!(reached(&send_tls(proxy.addr(), &nobody, said("/a")).await), expected("https"));
}

#[tokio::test]
async fn the_application_is_believed_how_long_it_waits_and_for_whom_it_asks() {
    let fake = echo();
    let instances = [fake.instance("payment", "p-1")];
    let proxy = Proxy::start_with(&[route("payment", "/**")], &instances, |settings| {
        settings.listeners[0].addressed = Addressed::To(HeaderValue::from_static("payment.mesh"));
        settings.peers = Peers::Application;
    });
    let got = proxy.send(said("/a")).await;
    assert_eq!(reached(&got), UNCHANGED);
    assert!(timeout(&got) <= 5000);
    let plain = proxy.get("/a").await;
    assert_eq!(reached(&plain), [""; 0], "nothing is added to what it says");
}

#[tokio::test]
async fn a_call_ends_when_its_caller_waits_no_longer() {
    let authority = Authority::new();
    let fake = Fake::raw(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let instances = [fake.instance("payment", "p-1")];
    let proxy = Proxy::start_with(&[route("payment", "/**")], &instances, inbound(&authority, false));
    let order = authority.client("spiffe://shop/service/order");
    for millis in ["0", "40"] {
        let request = Request::get("/a").header("host", "a").header("x-bowline-timeout-ms", millis);
        let got = send_tls(proxy.addr(), &order, request.body(full("")).unwrap()).await;
        got.assert_refused(504, "deadline_exceeded", "timeout");
    }
}

/// Refuses everybody, and notes who they were.
#[derive(Debug, Default)]
struct Refusing(Mutex<Vec<Option<SpiffeId>>>);

impl Filter for Refusing {
    fn admit(&self, visit: &mut Visit<'_>) -> Verdict {
        self.0.lock().unwrap().push(visit.peer.cloned());
        Verdict::Refuse(Box::new(Refusal::new(Code::PermissionDenied, "mesh_not_declared", "you may not")))
    }
}

/// A hop that calls payment at `addr`, under TLS as `id`.
fn hop(addr: SocketAddr, authority: &Authority, id: &str) -> Proxy {
    let instances = [crate::support::instance("payment", "p-1", addr, bowline_model::Protocol::Http1)];
    let tls = authority.client(id);
    let proxy = Proxy::start_with(&[route("payment", "/**")], &instances, |settings| settings.pool.tls = Some(tls));
    proxy.upstreams.values().for_each(|upstream| upstream.set_security(Security::Strict));
    proxy
}

#[tokio::test]
async fn what_a_sidecar_refuses_is_told_to_the_client_with_its_reason() {
    let authority = Authority::new();
    let refusing = Arc::new(Refusing::default());
    let filter: Arc<dyn Filter> = Arc::<Refusing>::clone(&refusing);
    let sidecar = Proxy::start_filtered_with(&route("payment", "/**"), &[], &filter, inbound(&authority, false));
    let gateway = hop(sidecar.addr(), &authority, "spiffe://shop/gateway");
    let got = gateway.get("/a").await;
    got.assert_refused(403, "permission_denied", "mesh_not_declared");
    let gateway_id = "spiffe://shop/gateway".parse().ok();
    assert_eq!(*refusing.0.lock().unwrap(), [gateway_id]);
}

#[tokio::test]
async fn what_a_service_claims_does_not_pass_its_sidecar() {
    let (authority, fake) = (Authority::new(), echo());
    let instances = [fake.instance("payment", "p-1")];
    let sidecar = Proxy::start_with(&[route("payment", "/**")], &instances, inbound(&authority, false));
    let gateway = hop(sidecar.addr(), &authority, "spiffe://shop/gateway");
    let got = gateway.send(said("/a")).await;
    assert_eq!(got.status, 200);
    assert!(reached(&got).contains(&"x-bowline-caller: gateway"), "{}", got.text());
    assert!(!got.text().contains("ada"), "the gateway's own clients are strangers: {}", got.text());
}
