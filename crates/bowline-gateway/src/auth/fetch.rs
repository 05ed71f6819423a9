//! Fetches one small document from a URL: no redirects, no cookies, bounded in time and size.

use std::{fmt, io, time::Duration};

use bowline_runtime::{net::TcpStream, task, time};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OnceCell,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::tls;

/// The longest that a document may take, connecting included.
pub(super) const FETCH_MAX: Duration = Duration::from_secs(5);

/// Why a document was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
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
    #[error("what {authority} answers is no HTTP")]
    Http {
        authority: String,
        #[source]
        source: hyper::Error,
    },
    #[error("{authority} answers with {status}, not with 200")]
    Status { authority: String, status: u16 },
    #[error("the document has more than {bytes_max} bytes, or broke off")]
    Body {
        bytes_max: usize,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("there was no answer in {FETCH_MAX:?}")]
    Timeout,
}

/// A document's address, `http://` or `https://`.
pub(crate) struct Url {
    text: String,
    is_tls: bool,
    host: String,
    port: u16,
    /// Host and port as they are written.
    authority: String,
    path: String,
    connector: OnceCell<TlsConnector>,
}

impl Url {
    /// Reads a URL; `None` where it is none, has another scheme, or holds credentials.
    pub(crate) fn parse(text: &str) -> Option<Self> {
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
            connector: OnceCell::new(),
        })
    }

    /// Fetches the document, of at most `bytes_max` bytes.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn fetch(&self, bytes_max: usize) -> Result<Bytes, FetchError> {
        time::timeout(FETCH_MAX, self.connect_and_get(bytes_max)).await.map_err(|_| FetchError::Timeout)?
    }

    async fn connect_and_get(&self, bytes_max: usize) -> Result<Bytes, FetchError> {
        let authority = || self.authority.clone();
        let connecting = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = connecting.map_err(|source| FetchError::Connect { authority: authority(), source })?;
        if !self.is_tls {
            return self.get(stream, bytes_max).await;
        }
        let tls = |source| FetchError::Tls { authority: authority(), source };
        let connector = self.connector.get_or_try_init(tls::system_connector).await.map_err(tls)?;
        let name = ServerName::try_from(self.host.clone()).map_err(|error| tls(io::Error::other(error)))?;
        let stream = connector.connect(name, stream).await.map_err(tls)?;
        self.get(stream, bytes_max).await
    }

    async fn get<S>(&self, stream: S, bytes_max: usize) -> Result<Bytes, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let http = |source| FetchError::Http { authority: self.authority.clone(), source };
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let _connection = task::Guarded::new(task::spawn(async move { connection.await.ok() }));
        let request = Request::get(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .expect("path and authority were parsed from a URL");
        let response = client.send_request(request).await.map_err(http)?;
        if response.status() != http::StatusCode::OK {
            let status = response.status().as_u16();
            return Err(FetchError::Status { authority: self.authority.clone(), status });
        }
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        Ok(body.map_err(|source| FetchError::Body { bytes_max, source })?.to_bytes())
    }
}

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

#[cfg(test)]
mod tests;
