//! What is done to requests and answers: CORS, request ids, header edits, compression.

use std::{convert::Infallible, io::Read as _, net::SocketAddr, sync::Mutex, time::Duration};

use bowline_gateway::{Error, Gateway, PolicyError};
use bowline_model::{
    ServiceName,
    gateway::{CorsPolicy, HeaderEdits, JwtAlgorithm, LimitBy, LimitPolicy, Middleware, Quota, RouteTable},
    route::Route,
    units::Rate,
};
use bowline_runtime::{net, task, time};
use bowline_testkit::{Answer, HttpServer};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use crate::{
    support::{BOUND, FakeRegistry, Seen, ask, connect, instance, route, start, table},
    tokens::{Key, KeyServer, provider},
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A service whose answers the test makes.
fn service(
    answer: impl Fn(Request<Incoming>) -> Response<Body> + Clone + Send + 'static,
) -> (SocketAddr, task::Guarded<()>) {
    let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = task::spawn(async move {
        let mut connections = task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(request))));
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    (addr, task::Guarded::new(serving))
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

fn with(middleware: Middleware) -> Route {
    Route { middleware, ..route("order") }
}

async fn gateway(addr: SocketAddr, route: Route) -> Gateway {
    start(&FakeRegistry::new(&[instance("order", "o-1", addr)]), vec![route]).await
}

fn request(method: &str, headers: &[(&str, &str)]) -> http::request::Builder {
    let request = Request::builder().method(method).uri("/order/1").header("host", "a");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn get(gateway: &Gateway, headers: &[(&str, &str)]) -> Seen {
    ask(gateway.addr(), request("GET", headers)).await
}

/// The values of a header, as one text.
fn all(headers: &HeaderMap, name: &str) -> String {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(", ")
}

// === CORS ===

const ORIGIN: (&str, &str) = ("origin", "https://shop.test");

fn cors() -> CorsPolicy {
    CorsPolicy {
        origins: vec!["https://shop.test".to_owned(), "https://admin.test".to_owned()],
        methods: vec!["PUT".to_owned()],
        headers: vec!["content-type".to_owned(), "authorization".to_owned()],
        expose: vec!["x-request-id".to_owned()],
        credentials: true,
        max_age: Duration::from_mins(10),
    }
}

fn with_cors(policy: CorsPolicy) -> Route {
    with(Middleware { cors: Some(policy), ..Middleware::default() })
}

#[tokio::test]
async fn a_preflight_is_answered_for_the_service() {
    let order = HttpServer::start(|_| Answer::status(500));
    let gateway = gateway(order.addr(), with_cors(cors())).await;
    let seen = ask(gateway.addr(), request("OPTIONS", &[ORIGIN, ("access-control-request-method", "PUT")])).await;
    assert_eq!((seen.status.as_u16(), &*seen.body), (204, ""));
    assert_eq!(seen.headers["access-control-allow-origin"], ORIGIN.1);
    assert_eq!(seen.headers["access-control-allow-methods"], "GET, HEAD, POST, PUT");
    assert_eq!(seen.headers["access-control-allow-headers"], "content-type, authorization");
    assert_eq!(seen.headers["access-control-allow-credentials"], "true");
    assert_eq!(seen.headers["access-control-max-age"], "600");
    let vary = "origin, access-control-request-method, access-control-request-headers";
    assert_eq!(all(&seen.headers, "vary"), vary);
    assert!(!seen.headers.contains_key("access-control-expose-headers"));
    let other = [("origin", "https://evil.test"), ("access-control-request-method", "PUT")];
    let seen = ask(gateway.addr(), request("OPTIONS", &other)).await;
    assert_eq!(seen.status, 204);
    assert!(seen.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{seen:?}");
    assert_eq!(all(&seen.headers, "vary"), vary);
    assert_eq!(order.requests(), []);
}

#[tokio::test]
async fn a_preflight_needs_no_credentials_and_takes_nothing_from_the_routes_limit() {
    let key = Key::ed("ed");
    let keys = KeyServer::start(&[&key]);
    let provider = provider(&[JwtAlgorithm::EdDsa], keys.keys());
    let limit =
        |burst| LimitPolicy { by: LimitBy::Address, quota: Quota::Pace { rate: Rate::parse("1/h").unwrap(), burst } };
    let route = Route { auth: Some(provider.name.clone()), limit: Some(limit(1)), ..with_cors(cors()) };
    let mut table = RouteTable { auth: vec![provider], routes: vec![route], ..RouteTable::default() };
    table.listener.auth = Some(ServiceName::new("customers").unwrap());
    table.listener.limit = Some(limit(4));
    let order = HttpServer::start(|_| Answer::status(200));
    let gateway = gateway(order.addr(), crate::support::route("order")).await;
    gateway.set_table(&table).unwrap();
    let preflight = || request("OPTIONS", &[ORIGIN, ("access-control-request-method", "GET")]);
    assert_eq!(ask(gateway.addr(), preflight()).await.status, 204);
    let token = format!("Bearer {}", key.token("u-1"));
    let seen = get(&gateway, &[ORIGIN, ("authorization", &token)]).await;
    assert_eq!((seen.status.as_u16(), &seen.headers["access-control-allow-origin"]), (200, &ORIGIN.1.parse().unwrap()));
    let seen = get(&gateway, &[ORIGIN, ("authorization", &token)]).await;
    assert_eq!((seen.status.as_u16(), &seen.headers["access-control-allow-origin"]), (429, &ORIGIN.1.parse().unwrap()));
    // The listener counts preflights, and what it refuses can be read by pages, too.
    assert_eq!(ask(gateway.addr(), preflight()).await.status, 204);
    let seen = ask(gateway.addr(), preflight()).await;
    assert_eq!(seen.status, 429);
    gateway
        .set_table(&RouteTable {
            listener: bowline_model::gateway::ListenerPolicy { limit: None, ..table.listener.clone() },
            ..table
        })
        .unwrap();
    let seen = get(&gateway, &[ORIGIN]).await;
    assert_eq!((seen.status.as_u16(), &seen.headers["access-control-allow-origin"]), (401, &ORIGIN.1.parse().unwrap()));
}

#[tokio::test]
async fn the_gateways_word_on_origins_is_the_only_one() {
    let (addr, _serving) = service(|_| {
        let answer = Response::builder()
            .header("access-control-allow-origin", "*")
            .header("access-control-allow-headers", "x-secret")
            .header("vary", "accept");
        answer.body(full("")).unwrap()
    });
    let gateway = gateway(addr, with_cors(cors())).await;
    let seen = get(&gateway, &[ORIGIN]).await;
    assert_eq!(all(&seen.headers, "access-control-allow-origin"), ORIGIN.1);
    assert_eq!(all(&seen.headers, "access-control-expose-headers"), "x-request-id");
    assert!(!seen.headers.contains_key("access-control-allow-headers"), "{seen:?}");
    assert_eq!(all(&seen.headers, "vary"), "accept, origin");
    for headers in [&[][..], &[("origin", "https://evil.test")], &[("origin", "null")], &[ORIGIN, ORIGIN]] {
        let seen = get(&gateway, headers).await;
        assert_eq!((seen.status.as_u16(), all(&seen.headers, "access-control-allow-origin")), (200, String::new()));
        assert_eq!(all(&seen.headers, "vary"), "accept, origin");
    }
}

#[tokio::test]
async fn every_origin_and_every_header_may_be_allowed_but_not_with_credentials() {
    let any = || vec!["*".to_owned()];
    let open = CorsPolicy { origins: any(), methods: Vec::new(), headers: any(), credentials: false, ..cors() };
    let order = HttpServer::start(|_| Answer::status(200));
    let gateway = gateway(order.addr(), with_cors(open.clone())).await;
    let asked = [
        ORIGIN,
        ("access-control-request-method", "DELETE"),
        ("access-control-request-headers", "x-a, Authorization,x-b"),
    ];
    let seen = ask(gateway.addr(), request("OPTIONS", &asked)).await;
    assert_eq!(seen.headers["access-control-allow-origin"], "*");
    assert_eq!(seen.headers["access-control-allow-methods"], "DELETE", "the route takes any");
    assert_eq!(seen.headers["access-control-allow-headers"], "x-a, x-b");
    assert!(!seen.headers.contains_key("access-control-allow-credentials"));
    assert_eq!(all(&get(&gateway, &[]).await.headers, "vary"), "", "the answer is the same for all");
    let error = gateway.set_table(&table(vec![with_cors(CorsPolicy { credentials: true, ..open })])).unwrap_err();
    assert!(matches!(error, Error::Policy { source: PolicyError::AnyOriginWithCredentials, .. }), "{error:?}");
    assert!(error.to_string().contains("route `order`"), "{error}");
}

#[tokio::test]
async fn the_routes_methods_are_granted_where_the_policy_names_none() {
    let mut route = with_cors(CorsPolicy { methods: Vec::new(), ..cors() });
    route.matches[0].methods = vec!["PUT".to_owned(), "GET".to_owned()];
    let order = HttpServer::start(|_| Answer::status(200));
    let gateway = gateway(order.addr(), route).await;
    let preflight = |method| request("OPTIONS", &[ORIGIN, ("access-control-request-method", method)]);
    let seen = ask(gateway.addr(), preflight("PUT")).await;
    assert_eq!(seen.headers["access-control-allow-methods"], "GET, PUT");
    assert_eq!(ask(gateway.addr(), preflight("DELETE")).await.status, 405);
}

// === request ids and edits ===

#[tokio::test]
async fn each_request_has_an_id_and_a_good_one_of_the_clients_stays() {
    let order = HttpServer::start(|_| Answer::status(200));
    let gateway = gateway(order.addr(), with(Middleware { request_id: true, ..Middleware::default() })).await;
    let longest = "i".repeat(128);
    for good in ["a", "01F8-x/y=z", &longest] {
        let seen = get(&gateway, &[("x-request-id", good)]).await;
        assert_eq!(seen.headers["x-request-id"], good);
        assert_eq!(order.requests().pop().unwrap().headers["x-request-id"], good);
    }
    let long = "i".repeat(129);
    for bad in [
        &[][..],
        &[("x-request-id", "")],
        &[("x-request-id", "a b")],
        &[("x-request-id", &long)],
        &[("x-request-id", "a"), ("x-request-id", "b")],
    ] {
        let seen = get(&gateway, bad).await;
        let id = seen.headers["x-request-id"].to_str().unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(order.requests().pop().unwrap().headers["x-request-id"], id);
        assert_eq!(all(&seen.headers, "x-request-id"), id, "once");
    }
}

#[tokio::test]
async fn headers_are_removed_then_set_then_added() {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let edits = |prefix: &str| HeaderEdits {
        remove: vec![format!("{prefix}-removed"), format!("{prefix}-set")],
        set: pairs(&[(&format!("{prefix}-set"), "set"), (&format!("{prefix}-new"), "new")]),
        add: pairs(&[(&format!("{prefix}-added"), "added")]),
    };
    let (addr, _serving) = service(|request| {
        let mut answer = Response::new(full(format!("{:?}", request.headers())));
        for name in ["y-removed", "y-set", "y-added", "y-kept"] {
            answer.headers_mut().append(name, "own".parse().unwrap());
        }
        answer
    });
    let middleware = Middleware { request_headers: edits("x"), response_headers: edits("y"), ..Middleware::default() };
    let gateway = gateway(addr, with(middleware)).await;
    let headers = ["x-removed", "x-set", "x-added", "x-kept"].map(|name| (name, "client"));
    let seen = get(&gateway, &headers).await;
    let told = &seen.body;
    assert!(
        !told.contains("x-removed") && told.contains(r#""x-set": "set""#) && told.contains(r#""x-new": "new""#),
        "{told}"
    );
    assert!(
        told.contains(r#""x-added": "client", "x-added": "added""#) && told.contains(r#""x-kept": "client""#),
        "{told}"
    );
    assert!(!seen.headers.contains_key("y-removed"));
    for (name, expected) in [("y-set", "set"), ("y-new", "new"), ("y-added", "own, added"), ("y-kept", "own")] {
        assert_eq!(all(&seen.headers, name), expected);
    }
    // What `Connection` names cannot take away what is set.
    let seen = get(&gateway, &[("connection", "x-set, x-new")]).await;
    assert!(seen.body.contains("x-new") && seen.body.contains("x-set"), "{}", seen.body);
}

#[tokio::test]
async fn headers_that_frame_or_that_are_ours_are_not_a_policys_to_change() {
    let order = HttpServer::start(|_| Answer::status(200));
    let gateway = gateway(order.addr(), route("order")).await;
    let ours = ["x-bowline-subject", "x_bowline_auth", "x-bowline_subject"];
    for name in ["content-length", "transfer-encoding", "connection", "a b", ""].into_iter().chain(ours) {
        let edits = HeaderEdits { set: vec![(name.to_owned(), "1".to_owned())], ..HeaderEdits::default() };
        let middleware = Middleware { response_headers: edits, ..Middleware::default() };
        let error = gateway.set_table(&table(vec![with(middleware)])).unwrap_err();
        assert!(matches!(error, Error::Policy { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("route `order`"), "{error}");
    }
    let edits = HeaderEdits { add: vec![("x-a".to_owned(), "a\r\nb".to_owned())], ..HeaderEdits::default() };
    let middleware = Middleware { request_headers: edits, ..Middleware::default() };
    gateway.set_table(&table(vec![with(middleware)])).unwrap_err();
}

// === compression ===

fn compressing() -> Route {
    with(Middleware { compress: true, ..Middleware::default() })
}

/// A service that answers with the headers that the query names, and 2,000 bytes.
async fn compressing_gateway() -> (Gateway, task::Guarded<()>) {
    let (addr, serving) = service(|request| {
        let mut answer = Response::builder();
        let mut body = full("x".repeat(2000));
        for pair in request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap();
            match name {
                "status" => answer = answer.status(value.parse::<u16>().unwrap()),
                "short" => body = full("x".repeat(1023)),
                _ => answer = answer.header(name, value.replace("%22", "\"")),
            }
        }
        if request.method() == "HEAD" {
            answer = answer.header("content-length", "2000");
        }
        answer.body(body).unwrap()
    });
    (gateway(addr, compressing()).await, serving)
}

async fn ask_compressed(gateway: &Gateway, method: &str, query: &str) -> (HeaderMap, Bytes) {
    let request = Request::builder().method(method).uri(format!("/order/1?{query}")).header("host", "a");
    let request = request.header("accept-encoding", "gzip").body(Empty::new()).unwrap();
    let (head, body) = connect(gateway.addr()).await.send_request(request).await.unwrap().into_parts();
    (head.headers, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn an_answer_is_compressed_for_who_accepts_it() {
    let (gateway, _serving) = compressing_gateway().await;
    let query = "content-type=application/json&etag=%22v1%22&accept-ranges=bytes&content-digest=x";
    let (headers, body) = ask_compressed(&gateway, "GET", query).await;
    assert_eq!(
        (all(&headers, "content-encoding"), all(&headers, "vary")),
        ("gzip".to_owned(), "accept-encoding".to_owned())
    );
    assert_eq!(headers["etag"], "W/\"v1\"");
    for gone in ["content-length", "accept-ranges", "content-digest"] {
        assert!(!headers.contains_key(gone), "{headers:?}");
    }
    let mut text = String::new();
    GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    assert_eq!(text, "x".repeat(2000));
    assert!(body.len() < 200);
    // The others get it as it is, and are told that it depends.
    let request = Request::get(format!("/order/1?{query}")).header("host", "a");
    let seen = ask(gateway.addr(), request).await;
    assert_eq!((seen.body.len(), all(&seen.headers, "vary")), (2000, "accept-encoding".to_owned()));
    assert_eq!(
        (&seen.headers["etag"], &seen.headers["content-length"]),
        (&"\"v1\"".parse().unwrap(), &"2000".parse().unwrap())
    );
}

#[tokio::test]
async fn what_must_not_be_compressed_or_is_not_worth_it_stays_as_it_is() {
    let (gateway, _serving) = compressing_gateway().await;
    let json = "content-type=application/json";
    for query in [
        "content-type=image/png",
        "content-type=text/event-stream",
        "",
        &format!("{json}&short=1"),
        &format!("{json}&content-encoding=br"),
        &format!("{json}&cache-control=public,no-transform"),
        &format!("{json}&status=206&content-range=bytes"),
        &format!("{json}&status=304"),
        &format!("{json}&status=204"),
    ] {
        let (headers, body) = ask_compressed(&gateway, "GET", query).await;
        assert_ne!(all(&headers, "content-encoding"), "gzip", "{query}");
        assert!([0, 1023, 2000].contains(&body.len()), "{query}: {}", body.len());
    }
    let (headers, body) = ask_compressed(&gateway, "HEAD", json).await;
    assert_eq!(
        (all(&headers, "content-encoding"), all(&headers, "content-length"), body.len()),
        (String::new(), "2000".to_owned(), 0)
    );
}

#[tokio::test]
async fn a_compressed_stream_does_not_stall() {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let receiver = std::sync::Arc::new(Mutex::new(Some(receiver)));
    let (addr, _serving) = service(move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        let parts = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let part = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(part)), receiver))
        });
        Response::builder()
            .header("content-type", "application/x-ndjson")
            .body(StreamBody::new(parts).boxed_unsync())
            .unwrap()
    });
    let gateway = gateway(addr, compressing()).await;
    let mut client = connect(gateway.addr()).await;
    let asked = request("GET", &[("accept-encoding", "gzip")]).body(Empty::new()).unwrap();
    let response = client.send_request(asked).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut body = response.into_body();
    let mut seen = Vec::new();
    for line in ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n"] {
        sender.send(line.into()).await.unwrap();
        let told = async {
            while !decoded(&seen).ends_with(line) {
                seen.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
            }
        };
        time::timeout(BOUND, told).await.expect("each line comes as it is sent");
    }
    drop(sender);
    seen.extend_from_slice(&body.collect().await.unwrap().to_bytes());
    let mut whole = String::new();
    GzDecoder::new(&*seen).read_to_string(&mut whole).unwrap();
    assert_eq!(whole, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
}

/// What can be read of a stream so far.
fn decoded(bytes: &[u8]) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    let mut decoder = GzDecoder::new(bytes);
    while let Ok(1) = decoder.read(&mut byte) {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}
