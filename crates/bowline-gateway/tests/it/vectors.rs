//! The behaviours that every path to an upstream must show, by way of the gateway.

use std::{collections::BTreeMap, convert::identity, sync::Arc};

use bowline_gateway::{Gateway, Settings};
use bowline_model::{Instance, ServiceName, mesh::Steering, policy::CallPolicy, route::PathPattern};
use bowline_registry::Discovery;
use bowline_runtime::{metric, task, time};
use bowline_telemetry::Tracer;
use bowline_transport::{Endpoint, SharedPool, send};
use bowline_upstream::vectors::{Ask, Path, SERVICE, Seen, run_all};
use http_body_util::BodyExt as _;

use crate::support::{BOUND, FakeRegistry, route, table};

/// A gateway whose only route leads to the service, and its clients.
struct Gated {
    gateway: Gateway,
    clients: tokio::runtime::Runtime,
}

fn gated(workers: usize, policy: &CallPolicy, instances: &[Instance]) -> Gated {
    let clients = task::shared_runtime(2).unwrap();
    let within = clients.enter();
    let mut route = route(SERVICE);
    route.matches[0].path = PathPattern::parse("/**").unwrap();
    route.policy = policy.clone();
    let discovery = Arc::new(Discovery::new(Arc::new(FakeRegistry::new(instances)), None));
    let settings = Settings { workers, ..Settings::new(([127, 0, 0, 1], 0).into()) };
    let metrics = metric::Registry::default();
    let starting = Gateway::start(settings, table(vec![route]), discovery, Tracer::disabled(), &metrics);
    let gateway = clients.block_on(starting).unwrap();
    drop(within);
    Gated { gateway, clients }
}

impl Path for Gated {
    /// Over a connection of its own, so that the system deals the calls to the workers.
    ///
    /// How long a client waits is not the gateway's to know: it leaves, and that is what it sees.
    fn call(&self, _: usize, ask: &Ask) -> Seen {
        let endpoint = Endpoint::http1(self.gateway.addr());
        let asking = async {
            let response = send(&SharedPool::default(), &endpoint, ask.request()).await.unwrap();
            let (head, body) = response.into_parts();
            body.collect().await.unwrap();
            let reason = head.headers.get("x-bowline-reason").map(|reason| reason.to_str().unwrap().to_owned());
            Seen { status: head.status.as_u16(), reason }
        };
        let asking = async { time::timeout(ask.deadline.unwrap_or(BOUND), asking).await };
        let left = |_| Seen { status: 504, reason: Some("timeout".to_owned()) };
        self.clients.block_on(asking).unwrap_or_else(left)
    }

    fn steer(&self, steering: &Steering) -> bool {
        self.gateway.set_steering(&BTreeMap::from([(ServiceName::new(SERVICE).unwrap(), steering.clone())]));
        true
    }
}

#[test]
fn every_vector_holds_with_one_worker() {
    run_all(identity, |policy, instances| gated(1, policy, instances));
}

#[test]
fn every_vector_holds_with_two_workers() {
    run_all(identity, |policy, instances| gated(2, policy, instances));
}
