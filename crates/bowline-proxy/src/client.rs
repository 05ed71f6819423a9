//! The other end of a connection: who it is, and what of what it says is believed.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use bowline_model::{
    instance::OWN_PATHS,
    mesh::{SpiffeId, Workload},
};
use bowline_resilience::deadline::{Deadline, GRPC_TIMEOUT_HEADER, TIMEOUT_HEADER};
use bowline_runtime::{task, time::Instant};
use bowline_transport::{
    forward::{self, Forwarded},
    server::Peer,
};
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use tokio::sync::OnceCell;

use crate::{
    error::Error,
    headers::Seen,
    listener::{Addressed, Admits},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who the clients of an engine are, which decides what is believed of what they say in Bowline's headers
/// and about clients before them.
///
/// | what a client says | a stranger | a peer of the mesh | the gateway, in the mesh | the application |
/// |---|---|---|---|---|
/// | `x-bowline-timeout-ms` | taken away | bounds the call | bounds the call | bounds the call |
/// | `x-bowline-mirror` | taken away | passed on | passed on | taken away |
/// | `x-bowline-subject`, `x-bowline-auth` | taken away | taken away | passed on | taken away |
/// | `x-bowline-…` else | taken away | taken away | taken away | taken away |
/// | `Forwarded`, `X-Forwarded-…` and their kin | replaced | passed on | passed on | passed on |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Peers {
    /// Anybody, as at a gateway.
    #[default]
    Strangers,
    /// Workloads of the mesh, as at an inbound sidecar: those that showed a certificate with an identity.
    /// Others are strangers.
    ///
    /// A service is told who calls in `x-bowline-caller`: `service/order`. That the peer itself is a client is
    /// not added to what it says of others: the service sees what it would see without sidecars.
    Mesh,
    /// The application beside us, as at an outbound sidecar. What it says of clients before it is its own
    /// affair, as it would be without a sidecar.
    Application,
}

/// What one client is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing; `is_proxy`: but whom it says it forwards for.
    Stranger { is_proxy: bool },
    /// What a peer of the mesh says.
    Peer,
    /// That, and who calls.
    Gateway,
    /// What the application says.
    Application,
}

/// The other end of a connection, and what is said of it to those behind us.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: Peer,
    /// Whose certificate it showed.
    pub(crate) id: Option<SpiffeId>,
    /// The place of the listener it came by.
    pub(crate) listener: usize,
    pub(crate) addressed: Rc<Addressed>,
    pub(crate) trust: Trust,
    /// Who the service is told it is.
    pub(crate) caller: Option<HeaderValue>,
    /// Whether it is served at all.
    admission: Admission,
    /// What was said last, and for which host: the next request's is mostly the same.
    said: RefCell<Option<(HeaderValue, HeaderMap)>>,
}

/// Whether a client is served, as far as that was asked.
#[derive(Debug, Default)]
struct Admission {
    admits: Option<Admits>,
    answer: OnceCell<bool>,
}

impl Trust {
    pub(crate) fn of(peers: Peers, id: Option<&SpiffeId>, is_proxy: bool) -> Self {
        match (peers, id.map(|id| &id.workload)) {
            (Peers::Application, _) => Self::Application,
            (Peers::Mesh, Some(Workload::Gateway)) => Self::Gateway,
            (Peers::Mesh, Some(Workload::Service(_) | Workload::Platform)) => Self::Peer,
            (Peers::Mesh, None) | (Peers::Strangers, _) => Self::Stranger { is_proxy },
        }
    }

    /// Whether one of Bowline's own headers is passed on, as it was said.
    pub(crate) fn keeps(self, name: &str) -> bool {
        match name {
            "x-bowline-mirror" => matches!(self, Self::Peer | Self::Gateway),
            "x-bowline-priority" => matches!(self, Self::Application | Self::Peer | Self::Gateway),
            "x-bowline-subject" | "x-bowline-auth" => self == Self::Gateway,
            _ => false,
        }
    }
}

/// Whether a request is for what services answer Bowline alone.
pub(crate) fn is_own(head: &Parts) -> bool {
    head.uri.path().starts_with(OWN_PATHS)
}

impl Client {
    pub(crate) fn new(
        peer: Peer,
        listener: usize,
        addressed: Rc<Addressed>,
        id: Option<SpiffeId>,
        trust: Trust,
    ) -> Self {
        let caller = match (trust, &id) {
            (Trust::Peer | Trust::Gateway, Some(id)) => HeaderValue::from_str(&id.workload.to_string()).ok(),
            _ => None,
        };
        Self { peer, id, listener, addressed, trust, caller, admission: Admission::default(), said: RefCell::default() }
    }

    /// The same, served only if that says so.
    pub(crate) fn admitted_by(self, admits: Option<Admits>) -> Self {
        Self { admission: Admission { admits, answer: OnceCell::new() }, ..self }
    }

    /// Whether it is served; the first request finds out for the others.
    pub(crate) async fn is_admitted(&self) -> bool {
        let Admission { admits, answer } = &self.admission;
        let Some(admits) = *admits else { return true };
        let ask = || async {
            let peer = self.peer.clone();
            // Who asks and panics has not said yes.
            task::spawn_blocking(move || admits(&peer)).await.unwrap_or(false)
        };
        if let Some(answer) = answer.get() {
            return *answer;
        }
        // Apart, so that no other request carries it about.
        *Box::pin(answer.get_or_init(ask)).await
    }

    /// Who asks: the peer, or, where that is trusted, the client that it named last in `X-Forwarded-For`,
    /// as what stands before that is what its own client said. Asked before what it said is added to.
    pub(crate) fn address(&self, headers: &HeaderMap, seen: Seen) -> Option<IpAddr> {
        let peer = self.peer.remote.map(|remote| remote.ip());
        let is_believed = seen.forwarded && self.trust == Trust::Stranger { is_proxy: true };
        let named = if is_believed { last_forwarded(headers) } else { None };
        named.or(peer).map(|ip| ip.to_canonical())
    }

    /// Refuses a stranger what is asked of services by Bowline alone.
    pub(crate) fn check_own_paths(&self, head: &Parts) -> Result<(), Error> {
        let is_stranger = matches!(self.trust, Trust::Stranger { .. });
        if is_stranger && is_own(head) { Err(Error::NoRoute) } else { Ok(()) }
    }

    /// By when it wants its answer, if it says so and is believed; what is malformed counts as absent.
    pub(crate) fn deadline(&self, headers: &HeaderMap, seen: Seen, now: Instant) -> Option<Instant> {
        if !seen.internal || matches!(self.trust, Trust::Stranger { .. }) {
            return None;
        }
        let header = |name| headers.get(name).map(HeaderValue::as_bytes);
        Deadline::told(header(TIMEOUT_HEADER), header(GRPC_TIMEOUT_HEADER), now).map(Deadline::instant)
    }

    /// Says for whom a request is forwarded; `host` is whom the client asked for.
    pub(crate) fn add_forwarded(&self, headers: &mut HeaderMap, host: &HeaderValue, seen: Seen) {
        let Trust::Stranger { is_proxy } = self.trust else { return };
        if seen.forwarded && is_proxy {
            self.say(headers, host);
            return;
        }
        if seen.forwarded {
            forward::remove_forwarded(headers);
        }
        let mut said = self.said.borrow_mut();
        if said.as_ref().is_none_or(|(of, _)| of != host) {
            let mut fresh = HeaderMap::new();
            self.say(&mut fresh, host);
            *said = Some((host.clone(), fresh));
        }
        for (name, value) in said.iter().flat_map(|(_, said)| said) {
            headers.insert(name, value.clone());
        }
    }

    fn say(&self, headers: &mut HeaderMap, host: &HeaderValue) {
        let client = self.peer.remote.map(|remote| remote.ip());
        let host = host.to_str().ok().filter(|host| !host.is_empty());
        let proto = if self.peer.certificate.is_some() { "https" } else { "http" };
        forward::add_forwarded(headers, &Forwarded { client, host, proto });
    }
}

/// The address that stands last in `X-Forwarded-For`, with or without a port.
fn last_forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let list = headers.get_all(X_FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    let last = list.rsplit(',').next()?.trim();
    last.parse().ok().or_else(|| last.parse().ok().map(|addr: SocketAddr| addr.ip()))
}

#[cfg(test)]
mod tests;
