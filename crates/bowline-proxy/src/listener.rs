//! What an engine listens on, and how requests there say whom they are for.

use std::{fmt, net::SocketAddr};

use aws_lc_rs::constant_time;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bowline_transport::{ServerTls, server::Peer};
use http::{
    HeaderMap, HeaderValue, Method, Uri,
    header::{HOST, PROXY_AUTHORIZATION},
    request::Parts,
};

use crate::{
    error::Error,
    snapshot::{Found, Snapshot},
};

/// A place where an engine listens. All of its workers serve it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The address; port 0 takes a free one.
    pub at: SocketAddr,
    /// How connections are taken; none: in the clear.
    pub tls: Option<ServerTls>,
    /// How requests say whom they are for.
    pub addressed: Addressed,
    /// Whose connections are served; none: everybody's.
    pub admits: Option<Admits>,
}

/// Says whether a connection is served. Asked once for each, with its first request, where blocking is allowed.
pub type Admits = fn(&Peer) -> bool;

/// How the requests of a listener say whom they are for.
#[derive(Debug, Clone, Default)]
pub enum Addressed {
    /// Each names its host, and is passed on with that name.
    #[default]
    ByHost,
    /// All of them are for this host, whichever they name: the local port of one call.
    ///
    /// Whom a route leads to is asked under its own name, as by a client of Bowline's.
    To(HeaderValue),
    /// They are addressed as to an HTTP proxy, by absolute URIs: `GET http://payment.mesh/x HTTP/1.1`. Others
    /// are refused. Names as [`Addressed::To`] does.
    AsProxy {
        /// What clients have to show in `Proxy-Authorization`, which is never passed on; none: nothing.
        secret: Option<ProxySecret>,
    },
}

/// What the clients of an HTTP proxy show: `Basic` credentials of the user `bowline`.
#[derive(Clone)]
pub struct ProxySecret(Box<[u8]>);

/// The user that a [`ProxySecret`] is of.
pub const PROXY_USER: &str = "bowline";

impl Listener {
    /// A listener in the clear, for requests that name their hosts.
    pub fn new(at: SocketAddr) -> Self {
        Self { at, tls: None, addressed: Addressed::ByHost, admits: None }
    }

    /// The same with TLS.
    #[must_use]
    pub fn with_tls(self, tls: ServerTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The same for requests that are addressed so.
    #[must_use]
    pub fn addressed(self, addressed: Addressed) -> Self {
        Self { addressed, ..self }
    }

    /// The same for connections of whom that admits; requests of others are refused.
    #[must_use]
    pub fn admitting(self, admits: Admits) -> Self {
        Self { admits: Some(admits), ..self }
    }
}

impl ProxySecret {
    /// The password of the user [`PROXY_USER`].
    pub fn new(secret: &str) -> Self {
        Self(BASE64_STANDARD.encode(format!("{PROXY_USER}:{secret}")).into_bytes().into())
    }

    /// Whether a request shows it.
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes);
        let shown = shown.and_then(|shown| shown.split_at_checked(b"Basic ".len()));
        shown.is_some_and(|(scheme, credentials)| {
            scheme.eq_ignore_ascii_case(b"Basic ")
                && constant_time::verify_slices_are_equal(credentials.trim_ascii(), &self.0).is_ok()
        })
    }
}

impl Addressed {
    /// Whether whom a route leads to is asked under its own name.
    pub(crate) fn is_outbound(&self) -> bool {
        !matches!(self, Self::ByHost)
    }

    /// Finds the route of a request.
    pub(crate) fn find(&self, head: &mut Parts, snapshot: &Snapshot) -> Result<Found, Error> {
        match self {
            Self::ByHost => return snapshot.find(head),
            Self::To(host) => readdress(head, host),
            Self::AsProxy { secret } => take_proxied(head, secret.as_ref())?,
        }
        head.headers.remove(PROXY_AUTHORIZATION);
        snapshot.find(head).map_err(|error| match error {
            Error::NoRoute => Error::Egress { host: host_of(head) },
            other => other,
        })
    }
}

/// Has a request be for that host.
fn readdress(head: &mut Parts, host: &HeaderValue) {
    head.headers.insert(HOST, host.clone());
    if head.uri.authority().is_some()
        && let Some(target) = head.uri.path_and_query()
    {
        head.uri = Uri::from(target.clone());
    }
}

/// Refuses what is not for an HTTP proxy.
fn take_proxied(head: &Parts, secret: Option<&ProxySecret>) -> Result<(), Error> {
    if secret.is_some_and(|secret| !secret.is_shown(&head.headers)) {
        return Err(Error::ProxyAuth);
    }
    let refused = match head.uri.scheme_str() {
        // Told apart by whoever looks for its route.
        _ if head.method == Method::CONNECT => return Ok(()),
        Some("http") => return Ok(()),
        Some(_) => "only `http://` is passed on, over mutual TLS where the mesh demands it",
        None => "this is an HTTP proxy: write `GET http://SERVICE.mesh/path`, or set HTTP_PROXY to this address",
    };
    Err(Error::ProxyForm(refused))
}

/// Whom a request names, for the one who sent it.
fn host_of(head: &Parts) -> String {
    let named = || head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    head.uri.host().unwrap_or_else(named).to_owned()
}

impl fmt::Debug for ProxySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxySecret")
    }
}
