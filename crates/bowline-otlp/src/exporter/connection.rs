//! One connection to a collector, kept between requests.

use std::{io, io::Write as _, time::Duration};

use bowline_runtime::{net::TcpStream, task};
use bowline_transport::{BoxError, web::system_connector};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::Endpoint;

/// The most that is read of an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("nobody can be reached at {authority}")]
    Connect {
        authority: String,
        #[source]
        source: io::Error,
    },
    #[error("the certificate of {authority} is not trusted, or TLS fails otherwise")]
    Tls {
        authority: String,
        #[source]
        source: io::Error,
    },
    #[error("the request to {authority} failed")]
    Http {
        authority: String,
        #[source]
        source: BoxError,
    },
}

/// What the collector answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

pub(super) struct Connection {
    endpoint: Endpoint,
    headers: Vec<(HeaderName, HeaderValue)>,
    open: Option<(SendRequest<Full<Bytes>>, task::Guarded<()>)>,
    connector: Option<TlsConnector>,
}

impl Connection {
    pub(super) fn new(endpoint: Endpoint, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { endpoint, headers, open: None, connector: None }
    }

    /// Sends one request; connects before where it has to.
    ///
    /// # Cancel safety
    /// It has to be closed then.
    pub(super) async fn post(&mut self, body: &Bytes) -> Result<Answer, PostError> {
        let is_ready = match &mut self.open {
            Some((client, _)) => client.ready().await.is_ok(),
            None => false,
        };
        if !is_ready {
            self.connect().await?;
        }
        let http = |source: BoxError| PostError::Http { authority: self.endpoint.authority.clone(), source };
        let mut request = Request::post(&self.endpoint.path)
            .header(header::HOST, &self.endpoint.authority)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "gzip")
            .body(Full::new(body.clone()))
            .map_err(|error| http(error.into()))?;
        request.headers_mut().extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let Some((client, _)) = &mut self.open else { return Err(http("there is no connection".into())) };
        let (head, body) = client.send_request(request).await.map_err(|error| http(error.into()))?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(http)?;
        let seconds = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { status: head.status, retry_after: seconds.map(Duration::from_secs), body: body.to_bytes() })
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    async fn connect(&mut self) -> Result<(), PostError> {
        self.open = None;
        let Endpoint { host, port, authority, is_tls, .. } = self.endpoint.clone();
        let connecting = TcpStream::connect((host.as_str(), port)).await;
        let stream = connecting.map_err(|source| PostError::Connect { authority: authority.clone(), source })?;
        if !is_tls {
            return self.handshake(stream).await;
        }
        let tls = |source| PostError::Tls { authority: authority.clone(), source };
        let connector = match &self.connector {
            Some(connector) => connector.clone(),
            None => self.connector.insert(system_connector().await.map_err(tls)?).clone(),
        };
        let name = ServerName::try_from(host).map_err(|error| tls(io::Error::other(error)))?;
        let stream = connector.connect(name, stream).await.map_err(tls)?;
        self.handshake(stream).await
    }

    async fn handshake<S>(&mut self, stream: S) -> Result<(), PostError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let http =
            |error: hyper::Error| PostError::Http { authority: self.endpoint.authority.clone(), source: error.into() };
        let (client, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let driver = task::spawn(async move {
            // Its error is the request's as well.
            let _ended = connection.await;
        });
        self.open = Some((client, task::Guarded::new(driver)));
        Ok(())
    }
}

pub(super) fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("memory takes it");
    encoder.finish().expect("memory takes it").into()
}
