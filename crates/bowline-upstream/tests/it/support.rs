//! A callee of each kind, policies, and one call.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bowline_model::policy::{Backoff, Balance, BreakerPolicy, CallPolicy, RetryPolicy};
use bowline_model::units::Share;
use bowline_model::{Address, Instance, InstanceId, Protocol, ServiceName};
use bowline_runtime::drain::Drainer;
use bowline_runtime::metric::Registry;
use bowline_runtime::{drain, net, task, time};
use bowline_telemetry::Span;
use bowline_transport::server::{Incoming, Settings, service_fn};
use bowline_transport::{Body, LocalPool, server};
use bowline_upstream::{Error, Upstream};
use http::{Request, Response};

pub(crate) const HANGING: Duration = Duration::from_secs(20);

pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let ended = task::core_runtime().unwrap().block_on(async { time::timeout(HANGING, test()).await });
    assert!(ended.is_ok(), "it hangs");
}

pub(crate) fn service() -> ServiceName {
    ServiceName::new("callee").unwrap()
}

/// Serves with a function; gone when dropped.
pub(crate) struct Callee {
    pub(crate) instance: Instance,
    pub(crate) _drainer: Drainer,
}

pub(crate) fn serve<F>(
    id: &str,
    protocol: Protocol,
    answer: impl Fn(Request<Incoming>) -> F + Clone + 'static,
) -> Callee
where
    F: Future<Output = Response<Body>> + 'static,
{
    let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let (drainer, drain) = drain::channel();
    task::spawn_local(server::serve_local(listener, Settings::default(), drain, move |_| {
        let answer = answer.clone();
        service_fn(move |request| {
            let answer = answer(request);
            async move { Ok::<_, Infallible>(answer.await) }
        })
    }));
    let instance = Instance { protocol, ..Instance::new(InstanceId::new(id).unwrap(), service(), address) };
    Callee { instance, _drainer: drainer }
}

pub(crate) fn status(status: u16) -> Ready<Response<Body>> {
    ready(Response::builder().status(status).body(Body::empty()).unwrap())
}

pub(crate) fn dead(id: &str) -> Instance {
    let address: Address = "unix:/nonexistent/bowline.sock".parse().unwrap();
    Instance::new(InstanceId::new(id).unwrap(), service(), address)
}

pub(crate) fn upstream(policy: CallPolicy, metrics: &Registry, instances: &[Instance]) -> Arc<Upstream> {
    let upstream = Upstream::new(service(), policy, "client", metrics);
    upstream.set_instances(instances);
    upstream
}

pub(crate) fn breaker() -> BreakerPolicy {
    BreakerPolicy {
        calls_min: 1,
        open_for: Duration::from_millis(20).into(),
        probes_max: 1,
        ..BreakerPolicy::default()
    }
}

pub(crate) fn plain() -> CallPolicy {
    CallPolicy {
        timeout: Duration::from_secs(5),
        retry: None,
        breaker: Some(breaker()),
        balance: Balance::RoundRobin.into(),
        ..CallPolicy::default()
    }
}

pub(crate) fn retrying() -> CallPolicy {
    let backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(2) };
    let retry = RetryPolicy { attempts_max: 3, backoff, budget: Share::from_percent(100), ..RetryPolicy::default() };
    CallPolicy { retry: Some(retry), breaker: None, ..plain() }
}

pub(crate) fn get() -> Request<Body> {
    Request::get("/").body(Body::empty()).unwrap()
}

pub(crate) async fn ask(upstream: &Upstream, pool: &LocalPool) -> Result<u16, Error> {
    let response = upstream.call(pool, get(), &mut Span::disabled(), None).await?;
    Ok(response.status().as_u16())
}

/// An HTTP/2 server that refuses its first streams unread, and answers the others.
pub(crate) fn refusing(id: &str, count: usize) -> Instance {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    task::spawn_local(async move {
        let mut stream = listener.accept().await.unwrap().0;
        stream.read_exact(&mut [0; 24]).await.unwrap();
        stream.write_all(SETTINGS).await.unwrap();
        let (mut head, mut seen) = ([0; 9], 0);
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
            if head[3] != 1 {
                continue;
            }
            seen += 1;
            let id = &head[5..];
            let answer = if seen <= count {
                [&[0, 0, 4, 3, 0], id, &[0, 0, 0, 7]].concat()
            } else {
                [&[0, 0, 1, 1, 5], id, &[0x88]].concat()
            };
            stream.write_all(&answer).await.unwrap();
        }
    });
    Instance { protocol: Protocol::Http2, ..Instance::new(InstanceId::new(id).unwrap(), service(), address) }
}
