//! Documents over real sockets, with and without TLS.

use std::{net::SocketAddr, sync::Arc};

use bowline_model::error::chain;
use bowline_runtime::{net, task};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::*;

/// A root that nobody else trusts, and a certificate of it for `localhost`, each for a hundred years.
const ROOT: &str = include_str!("root.pem");
const CERTIFICATE: &str = include_str!("localhost.pem");
const KEY: &str = include_str!("localhost.key");

/// Answers one request with these bytes; over TLS where there is an acceptor.
fn serve(answer: &'static str, acceptor: Option<TlsAcceptor>) -> (SocketAddr, task::Guarded<()>) {
    let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = task::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        match acceptor {
            Some(acceptor) => {
                if let Ok(stream) = acceptor.accept(stream).await {
                    give(stream, answer).await;
                }
            }
            None => give(stream, answer).await,
        }
    });
    (addr, task::Guarded::new(serving))
}

async fn give(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.ok();
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()))
}

/// A URL whose roots are the test's.
fn trusting(text: &str) -> Url {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ROOT.as_bytes()).unwrap()).unwrap();
    Url(web::Url::parse(text).unwrap().with_roots(roots).unwrap())
}

const SMALL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_document_is_fetched_over_http_and_https() {
    let (addr, _serving) = serve(SMALL, None);
    assert_eq!(Url::parse(&format!("http://{addr}/keys")).unwrap().fetch(5).await.unwrap(), "hello");
    let (addr, _serving) = serve(SMALL, Some(acceptor()));
    let url = trusting(&format!("https://localhost:{}/keys?a=b", addr.port()));
    assert_eq!(url.fetch(5).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_certificate_of_another_name_or_root_is_not_trusted() {
    let (addr, _serving) = serve(SMALL, Some(acceptor()));
    let error = trusting(&format!("https://{addr}/keys")).fetch(5).await.unwrap_err();
    assert!(matches!(error, FetchError::Web(WebError::Tls { .. })), "{}", chain(&error));
    let (addr, _serving) = serve(SMALL, Some(acceptor()));
    let url = Url::parse(&format!("https://localhost:{}/keys", addr.port())).unwrap();
    let error = url.fetch(5).await.unwrap_err();
    assert!(matches!(error, FetchError::Web(WebError::Tls { .. })), "{}", chain(&error));
}

#[tokio::test]
async fn what_is_no_document_is_refused() {
    let check = async |answer: &'static str, expected: &str| {
        let (addr, _serving) = serve(answer, None);
        let error = Url::parse(&format!("http://{addr}/")).unwrap().fetch(5).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{answer:?}: {}", chain(&error));
    };
    check("HTTP/1.1 302 Found\r\nlocation: http://other.test/\r\ncontent-length: 0\r\n\r\n", "answers with 302").await;
    check("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "answers with 404").await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello!", "more than 5 bytes").await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", "broke off").await;
    check("220 ready\r\n", "no HTTP").await;
}

#[tokio::test]
async fn nobody_there_is_told_from_no_answer() {
    let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let error = Url::parse(&format!("http://{addr}/")).unwrap().fetch(5).await.unwrap_err();
    assert!(matches!(error, FetchError::Web(WebError::Connect { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_not_waited_for() {
    let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    assert!(matches!(url.fetch(5).await.unwrap_err(), FetchError::Web(WebError::Timeout { .. })));
}

#[test]
fn urls() {
    for good in ["http://a.test", "https://a.test/x?y=z", "http://[::1]:80/x"] {
        assert!(Url::parse(good).is_some(), "{good}");
    }
    assert_eq!(Url::parse("http://[::1]:80/x").unwrap().0.authority(), "[::1]:80");
    for bad in ["", "a.test", "/x", "ftp://a.test/", "file:///etc/passwd", "http://user:secret@a.test/"] {
        assert!(Url::parse(bad).is_none(), "{bad}");
    }
}
