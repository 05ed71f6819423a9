//! What tests of TLS have in common: an authority with a pair that it certified, and a server that gives back.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use bowline_model::{Address, ServiceName};
use bowline_runtime::{
    drain::{self, Drainer},
    net::{self, TcpStream},
    task,
};
use bowline_transport::{
    Body, ClientTls, Endpoint, Error, LocalPool, Pool, PoolSettings, ServerTls, send,
    server::{self, Incoming, Listener, Metrics, Peer, Settings, service_fn},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::Notify;

use crate::authority::{Authority, Leaf, Life::Current};

/// An authority, and a pair that it certified.
pub(super) struct World {
    pub(super) authority: Authority,
    pub(super) payment: Leaf,
    pub(super) order: Leaf,
}

/// A server that gives back what it is sent: at once, and at `/wait` when it is let.
pub(super) struct Echo {
    pub(super) endpoint: Endpoint,
    pub(super) metrics: Metrics,
    pub(super) drainer: Drainer,
    pub(super) serving: task::JoinHandle<()>,
    pub(super) gate: Rc<Notify>,
    pub(super) asked: Rc<Cell<usize>>,
    pub(super) seen: Rc<RefCell<Seen>>,
}

/// The certificates of those who connected.
pub(super) type Seen = Vec<Option<Arc<[u8]>>>;

impl World {
    pub(super) fn new() -> Self {
        let authority = Authority::new("ours");
        let [payment, order] = ["payment", "order"].map(|name| authority.leaf(name, Current));
        Self { authority, payment, order }
    }

    pub(super) fn server(&self) -> ServerTls {
        self.authority.server(&self.payment)
    }

    pub(super) fn client(&self) -> ClientTls {
        self.authority.client(Some(&self.order))
    }

    pub(super) fn pool(&self) -> LocalPool {
        pool(self.client())
    }
}

pub(super) fn pool(tls: ClientTls) -> LocalPool {
    LocalPool::new(PoolSettings { tls: Some(tls), ..PoolSettings::default() })
}

pub(super) fn start(tls: ServerTls) -> Echo {
    start_with(Settings { tls: Some(tls), ..Settings::default() })
}

pub(super) fn start_with(settings: Settings) -> Echo {
    let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    start_on(listener, address, settings)
}

pub(super) fn start_on(listener: impl Into<Listener> + 'static, address: Address, settings: Settings) -> Echo {
    let (drainer, drain) = drain::channel();
    let (gate, asked, seen) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)), Rc::<RefCell<Seen>>::default());
    let (gate_of, asked_of, seen_by) = (Rc::clone(&gate), Rc::clone(&asked), Rc::clone(&seen));
    let metrics = settings.metrics.clone();
    let serving = task::spawn_local(server::serve_local(listener, settings, drain, move |peer: &Peer| {
        seen_by.borrow_mut().push(peer.certificate.clone());
        let (gate, asked) = (Rc::clone(&gate_of), Rc::clone(&asked_of));
        service_fn(move |request: Request<Incoming>| {
            asked.set(asked.get() + 1);
            let gate = Rc::clone(&gate);
            async move {
                if request.uri().path() == "/wait" {
                    gate.notified().await;
                }
                Ok::<_, Infallible>(Response::new(Body::stream(request.into_body())))
            }
        })
    }));
    Echo { endpoint: Endpoint::http1(address), metrics, drainer, serving, gate, asked, seen }
}

impl Echo {
    /// It by both protocols, under TLS.
    pub(super) fn endpoints(&self) -> [Endpoint; 2] {
        self.plain().map(|endpoint| Endpoint { tls: Some(ServiceName::new("payment").unwrap()), ..endpoint })
    }

    pub(super) fn plain(&self) -> [Endpoint; 2] {
        let address = &self.endpoint.address;
        [Endpoint::http1(address.clone()), Endpoint::http2(address.clone())]
    }

    pub(super) async fn dial(&self) -> TcpStream {
        let Address::Tcp(addr) = self.endpoint.address else { panic!("it is TCP") };
        TcpStream::connect(addr).await.unwrap()
    }
}

pub(super) async fn put<P: Pool>(pool: &P, endpoint: &Endpoint, path: &str, body: Body) -> Result<Bytes, Error> {
    let request = Request::put(path).body(body).unwrap();
    let response = send(pool, endpoint, request).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}
