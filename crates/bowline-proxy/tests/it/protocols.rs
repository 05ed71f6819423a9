//! HTTP/1.1 and HTTP/2 on either side.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use crate::support::{BoxError, Fake, Proxy, answer, full, http2, read, route};

async fn tell(request: Request<hyper::body::Incoming>) -> Response<crate::support::TestBody> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let host = parts.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
    let host = host.or_else(|| parts.uri.authority().map(ToString::to_string));
    answer(200, format!("{:?} {} {} {host:?} {}", parts.version, parts.method, parts.uri.path(), body.len()))
}

#[tokio::test]
async fn http2_in_front_of_http1() {
    let fake = Fake::http1(tell);
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let mut client = http2(proxy.addr()).await;
    let requests = (0..20_usize).map(|size| {
        let request = Request::post("http://shop.test:99/x").body(full(vec![b'x'; size * 1000])).unwrap();
        let sending = client.send_request(request);
        async move { (size, read(sending.await.unwrap()).await) }
    });
    for (size, got) in futures_util::future::join_all(requests).await {
        assert_eq!(got.text(), format!("HTTP/1.1 POST /x Some(\"shop.test:99\") {}", size * 1000));
        assert!(got.headers.contains_key("x-trace-id"));
    }
    let request = Request::get("http://shop.test/a/../b").body(full("")).unwrap();
    read(client.send_request(request).await.unwrap()).await.assert_refused(400, "invalid_argument", "bad_path");
}

#[tokio::test]
async fn http1_in_front_of_http2() {
    let fake = Fake::http2(tell);
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    for _ in 0..3 {
        let request = Request::post("/x").header("host", "shop.test").header("connection", "close");
        let got = proxy.send(request.body(full("12345")).unwrap()).await;
        assert_eq!(got.text(), "HTTP/2.0 POST /x Some(\"shop.test\") 5");
    }
}

#[tokio::test]
async fn http2_on_both_sides_with_trailers() {
    let fake = Fake::http2(|request| async move {
        let te = request.headers().get("te").map(|te| te.to_str().unwrap().to_owned());
        let trailers: HeaderMap = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
        let frames = [Frame::data(Bytes::from(format!("{te:?}"))), Frame::trailers(trailers)];
        let frames = frames.map(Ok::<_, BoxError>);
        Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
    });
    let proxy = Proxy::start(&[route("grpc", "/**")], &[fake.instance("grpc", "g-1")]);
    let mut client = http2(proxy.addr()).await;
    let request = Request::post("http://a/s/m").header("te", "trailers").body(full("x")).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), "Some(\"trailers\")");
}
