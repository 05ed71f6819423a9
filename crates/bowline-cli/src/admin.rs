//! `/metrics`, `/livez` and `/readyz` of a process that has no API, for operators: on an address of its own.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Context as _;
use bowline_runtime::{
    drain, metric, net,
    task::{self, Guarded},
};
use bowline_transport::{Body, server};
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, service::service_fn};

/// A listener that answers operators until it is dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    addr: SocketAddr,
    _serving: Guarded<()>,
}

impl Admin {
    /// Listens there.
    pub(crate) fn open(addr: SocketAddr, metrics: &metric::Registry) -> anyhow::Result<Self> {
        let cannot = || format!("cannot listen on {addr} for operators: choose another address with --admin");
        let listener = net::listen(addr).with_context(cannot)?;
        let addr = listener.local_addr().with_context(cannot)?;
        let metrics = metrics.clone();
        // Nobody drains it: it answers until the end.
        let (drainer, drain) = drain::channel();
        let serving = async move {
            let service = move |_peer: &server::Peer| {
                let metrics = metrics.clone();
                service_fn(move |request: Request<Incoming>| {
                    std::future::ready(Ok::<_, Infallible>(answer(&request, &metrics)))
                })
            };
            server::serve(listener, server::Settings::default(), drain, service).await;
            drop(drainer);
        };
        Ok(Self { addr, _serving: Guarded::new(task::spawn(serving)) })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn answer(request: &Request<Incoming>, metrics: &metric::Registry) -> Response<Body> {
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let (status, body) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, metrics.render()),
        "/livez" | "/readyz" => (StatusCode::OK, "ok\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n".to_owned()),
    };
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, text);
    response.body(Body::full(body)).expect("a status and a constant header make a response")
}
