//! The gateway that `cargo xtask bench proxy` measures: one worker, every policy on, no control plane.
//!
//! `bench_gateway UPSTREAM` listens on a free port and says which; requests for `bench.localhost`
//! go to the one instance at that address.

#![expect(clippy::print_stdout, reason = "who starts it reads the address")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bowline_gateway::{Gateway, Settings};
use bowline_model::{
    Instance, InstanceId, ServiceName,
    gateway::RouteTable,
    policy::{Balance, BreakerPolicy, CallPolicy, RetryPolicy},
    route::{Backend, HostPattern, PathPattern, Route, RouteMatch},
};
use bowline_registry::{
    Discovered, Discovery, Error, HeartbeatAnswer, InstanceEvent, InstanceWatch, Query, Registry, Revision,
    ServiceSummary,
};
use bowline_runtime::{BoxFuture, metric, task};
use bowline_telemetry::{ParentBased, Tracer, queue};

/// The share of requests whose trace is kept.
const SAMPLED: f64 = 0.01;

/// Spans that wait, spans of one batch, and how long a batch waits to be full.
const SPANS_MAX: usize = 4096;
const BATCH_MAX: usize = 512;
const BATCH_WAIT: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream: SocketAddr = std::env::args().nth(1).ok_or("usage: bench_gateway IP:PORT")?.parse()?;
    // Beside the gateway's one worker: discovery and the spans' queue, which have little to do.
    task::shared_runtime(1)?.block_on(serve(upstream))
}

async fn serve(upstream: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let metrics = metric::Registry::default();
    let (reporter, mut spans) = queue(SPANS_MAX, &metrics);
    let tracer = Tracer::new("gateway", "bench", ParentBased::new(SAMPLED), reporter);
    let discovery = Arc::new(Discovery::new(Arc::new(Fixed(instance(upstream)?)), None));
    let settings = Settings { workers: 1, ..Settings::new(([127, 0, 0, 1], 0).into()) };
    let table = RouteTable { routes: routes()?, ..RouteTable::default() };
    let gateway = Gateway::start(settings, table, discovery, tracer, &metrics).await?;
    println!("listening on {}", gateway.addr());
    while let Some(batch) = spans.next_batch(BATCH_MAX, BATCH_WAIT).await {
        drop(batch);
    }
    Ok(())
}

fn instance(upstream: SocketAddr) -> Result<Instance, Box<dyn std::error::Error>> {
    Ok(Instance::new(InstanceId::new("order-1")?, ServiceName::new("order")?, upstream.into()))
}

/// The route that is measured, among others of the same host and of other hosts.
fn routes() -> Result<Vec<Route>, Box<dyn std::error::Error>> {
    let policy = CallPolicy {
        timeout: Duration::from_secs(5),
        retry: Some(RetryPolicy::default()),
        breaker: Some(BreakerPolicy { slow_call: Some(Duration::from_secs(1)), ..BreakerPolicy::default() }),
        balance: Balance::P2cEwma.into(),
        ..CallPolicy::default()
    };
    let route = |name: &str, host: &str, path: &str| -> Result<Route, Box<dyn std::error::Error>> {
        let methods = vec!["GET".to_owned(), "POST".to_owned()];
        Ok(Route {
            hosts: vec![HostPattern::parse(host)?],
            matches: vec![RouteMatch { path: PathPattern::parse(path)?, methods, headers: Vec::new() }],
            policy: policy.clone(),
            ..Route::new(name, vec![Backend { service: ServiceName::new("order")?, weight: 100 }])
        })
    };
    Ok(vec![
        route("users", "bench.localhost", "/users/**")?,
        route("orders", "bench.localhost", "/orders/**")?,
        route("items", "bench.localhost", "/orders/{id}/items")?,
        route("other", "*.localhost", "/orders/{id}/items")?,
    ])
}

/// A registry that knows one instance, for ever.
struct Fixed(Instance);

/// Nothing ever changes.
struct Never;

impl InstanceWatch for Never {
    fn next(&mut self) -> BoxFuture<'_, Result<InstanceEvent, Error>> {
        Box::pin(std::future::pending())
    }
}

impl Registry for Fixed {
    fn register(&self, _: Instance, _: Option<Duration>) -> BoxFuture<'_, Result<Revision, Error>> {
        Box::pin(async { Ok(1) })
    }

    fn heartbeat(&self, _: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn deregister(&self, _: &InstanceId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async { Ok(false) })
    }

    fn discover(&self, _: &Query) -> BoxFuture<'_, Result<Discovered, Error>> {
        let instances = vec![self.0.clone()];
        Box::pin(async move { Ok(Discovered { revision: 1, history: None, instances, more: false }) })
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn watch(&self, _: &Query, _: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>> {
        Box::pin(async { Ok(Box::new(Never) as Box<dyn InstanceWatch>) })
    }
}
