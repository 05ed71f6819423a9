//! OTLP: what foreign SDKs send goes into the trace store, and from there to whoever is to have it, too.
//!
//! Each takes gRPC and HTTP, so that whoever mistakes one port for the other is served too.

use std::{net::SocketAddr, sync::Arc};

use bowline_observe::{
    graph::ServiceGraph,
    traces::{Tap, TraceStore},
};
use bowline_otlp::{Admission, Admit, Exporter, Receiver, Refused, Sink};
use bowline_runtime::{
    drain::Drain,
    metric,
    net::{self, TcpListener},
    task::{self, JoinHandle},
    time::Duration,
};
use bowline_telemetry::SpanData;
use bowline_transport::server;
use http::{Version, request::Parts};

use crate::{
    access::{self, Access},
    events::News,
    guard,
    node::Error,
};

/// Where OTLP is taken; absent: nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtlpAddrs {
    /// Where SDKs that speak gRPC are pointed to.
    pub grpc: Option<SocketAddr>,
    /// Where SDKs that speak HTTP are.
    pub http: Option<SocketAddr>,
}

/// The listeners, opened.
pub(crate) struct Listeners {
    grpc: Option<TcpListener>,
    http: Option<TcpListener>,
}

impl Listeners {
    /// Opens them.
    ///
    /// # Errors
    /// When an address is taken, or not ours.
    pub(crate) fn open(addrs: OtlpAddrs) -> Result<Self, Error> {
        let open = |addr: Option<SocketAddr>, flag| {
            let listen = |addr| net::listen(addr).map_err(|source| Error::ListenOtlp { addr, flag, source });
            addr.map(listen).transpose()
        };
        Ok(Self { grpc: open(addrs.grpc, "--otlp-grpc")?, http: open(addrs.http, "--otlp-http")? })
    }

    /// Where they listen.
    pub(crate) fn addrs(&self) -> OtlpAddrs {
        let addr = |listener: &Option<TcpListener>| listener.as_ref().and_then(|listener| listener.local_addr().ok());
        OtlpAddrs { grpc: addr(&self.grpc), http: addr(&self.http) }
    }

    /// Serves on each until it is drained.
    pub(crate) fn serve(
        self,
        traces: &Arc<TraceStore>,
        access: &Arc<Access>,
        metrics: &metric::Registry,
        drain: &Drain,
        grace: Duration,
    ) -> Vec<JoinHandle<()>> {
        let Self { grpc, http } = self;
        let listeners = [("otlp_grpc", grpc), ("otlp_http", http)];
        let serve = |(name, listener): (&str, TcpListener)| {
            // An address that nobody knows is open to everybody.
            let is_loopback = listener.local_addr().is_ok_and(|addr| addr.ip().to_canonical().is_loopback());
            let door = Door { access: Arc::clone(access), is_loopback };
            let settings = bowline_otlp::Settings { metrics: metrics.clone(), ..bowline_otlp::Settings::default() };
            let receiver = Receiver::new(Traces(Arc::clone(traces)), door, settings);
            let settings =
                server::Settings { grace, metrics: server::Metrics::new(metrics, name), ..server::Settings::default() };
            task::spawn(receiver.serve(listener, settings, drain.clone()))
        };
        listeners.into_iter().filter_map(|(name, listener)| Some((name, listener?))).map(serve).collect()
    }
}

/// Who sees what the trace store takes: the service graph, who is told that there is news, and whoever spans are passed
/// on to.
#[derive(Debug)]
pub(crate) struct Taps {
    graph: Arc<dyn Tap>,
    news: News,
    exporter: Option<Exporter>,
}

impl Taps {
    pub(crate) fn new(graph: &ServiceGraph, news: News, exporter: Option<Exporter>) -> Self {
        Self { graph: graph.tap(), news, exporter }
    }
}

impl Tap for Taps {
    fn appended(&self, spans: &[SpanData]) {
        self.graph.appended(spans);
        self.news.saw(spans);
        if let Some(exporter) = &self.exporter {
            exporter.offer(spans);
        }
    }

    /// What was kept before was passed on before.
    fn replayed(&self, spans: &[SpanData]) {
        self.graph.replayed(spans);
    }
}

/// Where the spans go.
struct Traces(Arc<TraceStore>);

impl Sink for Traces {
    fn take(&self, spans: Vec<SpanData>) -> usize {
        self.0.append(spans)
    }
}

/// Who may send spans to a listener: what the API demands for them, by where this one listens.
struct Door {
    access: Arc<Access>,
    is_loopback: bool,
}

impl Admit for Door {
    fn admit<'a>(&'a self, head: &'a Parts, peer: Option<SocketAddr>) -> Admission<'a> {
        Box::pin(async move {
            // No page in a browser can speak gRPC as SDKs do, which put what they like into `:authority`.
            if head.version != Version::HTTP_2 {
                guard::check(&head.headers, &head.uri, self.is_loopback).map_err(refused)?;
            }
            access::demand_spans(&self.access, head, peer, self.is_loopback).await.map_err(refused)
        })
    }
}

fn refused(error: crate::error::ApiError) -> Refused {
    let (code, message) = error.into_parts();
    Refused { code, message }
}
