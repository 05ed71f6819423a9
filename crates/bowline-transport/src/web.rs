//! One request to a URL of the world outside: no redirects, no cookies, bounded in time and size.

use std::{fmt, io, sync::Arc, time::Duration};

use bowline_model::Code;
use bowline_runtime::{net::TcpStream, task, time};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OnceCell,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};

use crate::body::BoxError;

/// Why there is no answer. What it says tells host and port, and nothing else of the URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// No connection could be made.
    #[error("nobody can be reached at {authority}")]
    Connect {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is a connection, and no TLS on it.
    #[error("the certificate of {authority} is not trusted, or TLS fails otherwise")]
    Tls {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The request may have arrived, and its answer is no HTTP, or did not come.
    #[error("what {authority} answers is no HTTP")]
    Http {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The answer's body is too long, or broke off.
    #[error("the answer of {authority} has more than {bytes_max} bytes, or broke off")]
    Body {
        /// Host and port.
        authority: String,
        /// What it began to answer.
        status: StatusCode,
        /// The bound.
        bytes_max: usize,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// There was no answer in time.
    #[error("there was no answer of {authority} in {timeout:?}")]
    Timeout {
        /// Host and port.
        authority: String,
        /// The bound, connecting included.
        timeout: Duration,
    },
}

/// The bounds of one request.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For all of it, connecting included.
    pub timeout: Duration,
    /// The most bytes of the answer's body.
    pub bytes_max: usize,
}

/// An address outside, `http://` or `https://`. Debugging and `Display` tell all of it.
pub struct Url {
    text: String,
    is_tls: bool,
    host: String,
    port: u16,
    /// Host and port as they are written.
    authority: String,
    path: String,
    /// Absent: the one that trusts the system's roots.
    connector: Option<TlsConnector>,
}

/// An open connection to what a [`Url`] names, for one request after the other.
#[derive(Debug)]
pub struct Connection {
    client: SendRequest<Full<Bytes>>,
    authority: String,
    host: HeaderValue,
    target: Uri,
    _driver: task::Guarded<()>,
}

/// The connector that trusts the system's roots, which are read once in a process.
static SYSTEM: OnceCell<TlsConnector> = OnceCell::const_new();

impl WebError {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Connect { .. } | Self::Tls { .. } => Code::Unavailable,
            Self::Http { .. } | Self::Body { .. } => Code::BadGateway,
            Self::Timeout { .. } => Code::DeadlineExceeded,
        }
    }

    /// Whether asking again later may help.
    pub fn retryable(&self) -> bool {
        !matches!(self, Self::Body { .. })
    }

    /// Whether it is certain that nobody has acted upon the request.
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Tls { .. })
    }
}

impl Url {
    /// Reads a URL; `None` where it is none, has another scheme, or holds credentials.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            text: text.to_owned(),
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            connector: None,
        })
    }

    /// The same, believing these roots instead of the system's.
    ///
    /// # Errors
    /// When TLS cannot be configured.
    pub fn with_roots(mut self, roots: RootCertStore) -> io::Result<Self> {
        self.connector = Some(connector(roots)?);
        Ok(self)
    }

    /// Host and port, as they are written: what may be told of it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query, which may be a secret.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sends one request over a connection of its own and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// Any [`WebError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the request may have been acted upon.
    pub async fn request(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, WebError> {
        let answer = async { self.connect().await?.send(method, headers, body, bounds.bytes_max).await };
        let timeout = || WebError::Timeout { authority: self.authority.clone(), timeout: bounds.timeout };
        time::timeout(bounds.timeout, answer).await.map_err(|_| timeout())?
    }

    /// Opens a connection; without a time limit.
    ///
    /// # Errors
    /// [`WebError::Connect`], [`WebError::Tls`], [`WebError::Http`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves no connection.
    pub async fn connect(&self) -> Result<Connection, WebError> {
        let authority = || self.authority.clone();
        let connecting = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = connecting.map_err(|source| WebError::Connect { authority: authority(), source })?;
        if !self.is_tls {
            return self.handshake(stream).await;
        }
        let tls = |source| WebError::Tls { authority: authority(), source };
        let connector = match &self.connector {
            Some(connector) => connector,
            None => SYSTEM.get_or_try_init(system_connector).await.map_err(tls)?,
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| tls(io::Error::other(error)))?;
        self.handshake(connector.connect(name, stream).await.map_err(tls)?).await
    }

    async fn handshake<S>(&self, stream: S) -> Result<Connection, WebError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let authority = self.authority.clone();
        let handshaken = http1::handshake(TokioIo::new(stream)).await;
        let (client, connection) =
            handshaken.map_err(|source| WebError::Http { authority: authority.clone(), source })?;
        // Its error is the request's as well.
        let driver = task::Guarded::new(task::spawn(async move {
            let _ended = connection.await;
        }));
        let host = HeaderValue::from_str(&authority).expect("the authority was parsed from a URL");
        let target = self.path.parse().expect("the path was parsed from a URL");
        Ok(Connection { client, authority, host, target, _driver: driver })
    }
}

impl Connection {
    /// Waits until it takes a request; whether it does.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn is_ready(&mut self) -> bool {
        self.client.ready().await.is_ok()
    }

    /// Sends one request and reads the whole answer, whatever its status; without a time limit.
    ///
    /// # Errors
    /// [`WebError::Http`], [`WebError::Body`]: the connection is of no more use then.
    ///
    /// # Cancel safety
    /// The connection is of no more use; the request may have been acted upon.
    pub async fn send(
        &mut self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, WebError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.uri_mut() = self.target.clone();
        request.headers_mut().insert(header::HOST, self.host.clone());
        let http = |source| WebError::Http { authority: self.authority.clone(), source };
        let (head, body) = self.client.send_request(request).await.map_err(http)?.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let (authority, status) = (self.authority.clone(), head.status);
        let broken = |source| WebError::Body { authority, status, bytes_max, source };
        Ok(Response::from_parts(head, body.map_err(broken)?.to_bytes()))
    }
}

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Url {}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Url").field(&self.text).finish()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A connector that trusts the system's roots (or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name).
async fn system_connector() -> io::Result<TlsConnector> {
    let loaded = task::spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let detail = loaded.errors.into_iter().next().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(io::Error::other(format!("the system has no certificates to trust{detail}")));
    }
    connector(roots)
}

/// A connector that trusts these roots.
fn connector(roots: RootCertStore) -> io::Result<TlsConnector> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
}
