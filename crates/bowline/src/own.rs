//! Who may ask for Bowline's own paths, `/-/bowline/…`.
//!
//! In a mesh that is Bowline alone, of which the sidecar makes sure. Without one whoever is on this machine may, as
//! they may ask Bowline there; but no page in a browser, whatever name it made itself resolve to 127.0.0.1, and nobody
//! through a proxy that says it is one.

use axum::{
    Router,
    extract::{Request, State},
    http::{header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bowline_model::{Code, ServiceName};
use bowline_transport::server::{Peer, is_loopback_name};

use crate::{HandlerError, Microservice};

impl Microservice {
    /// What only this process knows, for Bowline.
    pub(crate) fn own_routes(&self) -> Router {
        let routes = crate::cache::router(self.caches.clone()).merge(crate::client::router(self.clients.clone()));
        #[cfg(feature = "sql")]
        let routes = self.sagas.iter().cloned().fold(routes, |all, sagas| all.merge(crate::sagas::router(sagas)));
        guard(routes, &self.settings().service)
    }
}

/// What proxies say of whom they pass on.
const PASSED_ON: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Keeps everybody else out of these routes.
fn guard(routes: Router, service: &ServiceName) -> Router {
    routes.route_layer(middleware::from_fn_with_state(service.clone(), check))
}

async fn check(State(service): State<ServiceName>, request: Request, next: Next) -> Response {
    if !request.extensions().get::<Peer>().is_some_and(is_near) {
        let detail = "this is answered on this machine only, and to Bowline in a mesh: ask there, or add `[mesh]` to \
                      bowline.toml";
        return HandlerError::new(Code::PermissionDenied, detail).into_response();
    }
    if PASSED_ON.iter().any(|name| request.headers().contains_key(*name)) {
        let detail = "this is not answered through a proxy: have it pass on nothing below /-/bowline/";
        return HandlerError::new(Code::PermissionDenied, detail).into_response();
    }
    if is_of_page(&request, &service) {
        return HandlerError::new(Code::PermissionDenied, "this is not answered to pages in a browser").into_response();
    }
    next.run(request).await
}

/// Whether somebody on this machine asks: through the loopback, an address of its own, or a Unix socket.
fn is_near(peer: &Peer) -> bool {
    let local = peer.local.map(|local| local.ip());
    peer.remote
        .map(|remote| remote.ip())
        .is_none_or(|remote| remote.to_canonical().is_loopback() || Some(remote) == local)
}

/// Whether a browser may have sent it: it says for which page, or names a host that is neither this machine nor us.
fn is_of_page(request: &Request, service: &ServiceName) -> bool {
    let headers = request.headers();
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let mut named = named.chain(request.uri().authority().map(Authority::as_str));
    headers.contains_key(header::ORIGIN) || !named.all(|host| host == service.as_str() || is_loopback_name(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_near(remote: &str, local: &str, expect: bool) {
        let [remote, local] = [remote, local].map(|at| Some(at.parse().unwrap()));
        assert_eq!(is_near(&Peer { remote, local, certificate: None }), expect, "{remote:?} asks {local:?}");
    }

    #[test]
    fn near_is_who_is_on_this_machine() {
        check_near("127.0.0.1:5000", "127.0.0.1:80", true);
        check_near("[::ffff:127.0.0.1]:5000", "[::ffff:127.0.0.1]:80", true);
        check_near("[::1]:5000", "[::1]:80", true);
        check_near("10.0.0.7:5000", "10.0.0.7:80", true);
        check_near("10.0.0.8:5000", "10.0.0.7:80", false);
        check_near("[fe80::1]:5000", "[fe80::2]:80", false);
        assert!(is_near(&Peer::default()), "a Unix socket");
    }
}
