//! TLS on connections: who we are and whom we believe is in the configurations, which are made elsewhere.

use std::{fmt, sync::Arc};

use bowline_model::ServiceName;
use tokio_rustls::rustls::{ClientConfig, ServerConfig, pki_types::ServerName};

/// How connections are made to endpoints that [demand TLS](crate::Endpoint::tls).
///
/// The name that the configuration's verifier is asked about, and that is told to the server, is that of
/// the service that is called: `payment`.
#[derive(Clone)]
pub struct ClientTls(pub Arc<ClientConfig>);

/// How connections are taken.
#[derive(Clone)]
pub struct ServerTls {
    /// Our certificate, and whose we believe.
    pub config: Arc<ServerConfig>,
    /// Whether a connection that does not begin with a handshake is taken as it is.
    pub takes_plain: bool,
}

/// The name of a service as TLS has it.
pub(crate) fn server_name(service: &ServiceName) -> ServerName<'static> {
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
