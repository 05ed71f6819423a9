//! TLS on connections: who we are and whom we believe is in the configurations, which are made elsewhere.

use std::{fmt, io, sync::Arc};

use bowline_model::ServiceName;
use bowline_runtime::time::Instant;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, ServerConfig, pki_types::ServerName},
};

use crate::{
    body::BoxError,
    socket::Socket,
    stream::{Stream, Tls},
};

/// How connections are made to endpoints that [demand TLS](crate::Endpoint::tls).
///
/// The name that the configuration's verifier is asked about, and that is told to the server, is that of
/// the service that is called: `payment`.
#[derive(Clone)]
pub struct ClientTls {
    /// Our certificate, and whose we believe.
    pub config: Arc<ClientConfig>,
    /// Until when a connection takes new requests; none: as long as it stands.
    pub until: Option<Until>,
}

/// Says, of a connection whose handshake is done, until when it is used, by the certificate that the peer showed, in
/// DER; none: as long as it stands. Requests that it has then are finished.
pub type Until = Arc<dyn Fn(&[u8]) -> Option<Instant> + Send + Sync>;

/// How connections are taken.
#[derive(Clone)]
pub struct ServerTls {
    /// Our certificate, and whose we believe.
    pub config: Arc<ServerConfig>,
    /// Whether a connection that does not begin with a handshake is taken as it is.
    pub takes_plain: bool,
    /// Until when a connection is kept; none: as long as it stands. Clients should let go of it before, since a
    /// request may be on its way when it ends.
    pub until: Option<Until>,
}

/// Why there is no connection under TLS; its cause is rustls's error, or the socket's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("`{0}` demands TLS, and there is no certificate yet to show it")]
    NoCertificate(ServiceName),
    #[error("TLS handshake with `{service}` failed")]
    Handshake { service: ServiceName, source: BoxError },
}

impl ClientTls {
    /// The handshake, without a time limit.
    pub(crate) async fn connect(&self, service: &ServiceName, socket: Socket) -> Result<Stream, ConnectError> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match connector.connect(server_name(service), socket).await {
            Ok(stream) => Ok(Stream::Tls(Tls::new(stream, self.until.as_ref()))),
            Err(error) => Err(ConnectError::Handshake { service: service.clone(), source: cause(error) }),
        }
    }
}

/// What an I/O error was made of, which is not its source; itself where it was made of nothing.
pub(crate) fn cause(error: io::Error) -> BoxError {
    if error.get_ref().is_none() {
        return error.into();
    }
    error.into_inner().unwrap_or_else(|| "unknown".into())
}

/// The name of a service as TLS has it.
fn server_name(service: &ServiceName) -> ServerName<'static> {
    ServerName::try_from(service.as_str().to_owned()).expect("a service's name is a DNS label")
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("takes_plain", &self.takes_plain).finish_non_exhaustive()
    }
}
