//! The upstreams behind the routes, each fed with the instances that discovery knows.

use std::{collections::BTreeMap, sync::Arc};

use bowline_model::{Instance, ServiceName, route::Route};
use bowline_registry::Discovery;
use bowline_runtime::task;
use bowline_upstream::{Security, Upstream};
use tokio::sync::watch;

use crate::policies::Means;

/// Who says so in metrics.
pub(crate) const REPORTER: &str = "gateway";

/// The upstream of each route and service: breakers and budgets are per route, so that one route's
/// timeouts do not close another's way.
#[derive(Debug, Default)]
pub(crate) struct Backends(BTreeMap<(String, ServiceName), Fed>);

/// An upstream and the task that keeps its instances current.
#[derive(Debug)]
struct Fed {
    upstream: Arc<Upstream>,
    _feeding: task::Guarded<()>,
}

impl Backends {
    /// The upstreams of these routes: those that `self` has already, with their state, and new ones.
    pub(crate) fn renew(&mut self, routes: &[Route], means: &Means) {
        let mut next = BTreeMap::new();
        for route in routes {
            for backend in &route.backends {
                let key = (route.name.clone(), backend.service.clone());
                let fed = next.remove(&key).or_else(|| self.0.remove(&key));
                let fed = match fed {
                    Some(fed) => fed.with_policy(route),
                    None => Fed::new(route, &backend.service, means),
                };
                next.insert(key, fed);
            }
        }
        self.0 = next;
    }

    /// Has all of them call under TLS as that says.
    pub(crate) fn set_security(&self, security: Security) {
        for fed in self.0.values() {
            fed.upstream.set_security(security);
        }
    }

    /// Waits until discovery knows each service, and passes on what it knows.
    pub(crate) async fn settle(&self, discovery: &Discovery) {
        for ((_, service), fed) in &self.0 {
            discovery.settled(service).await;
            fed.upstream.set_instances(&discovery.instances(service).borrow());
        }
    }

    /// The upstream of a route's backend.
    ///
    /// # Panics
    /// Where [`Backends::renew`] has not seen the route.
    pub(crate) fn get(&self, route: &Route, backend: usize) -> Arc<Upstream> {
        let key = (route.name.clone(), route.backends[backend].service.clone());
        Arc::clone(&self.0[&key].upstream)
    }
}

impl Fed {
    fn new(route: &Route, service: &ServiceName, means: &Means) -> Self {
        let upstream = Upstream::new(service.clone(), route.policy.clone(), REPORTER, &means.metrics);
        upstream.set_security(*means.security.borrow());
        let mut instances = means.discovery.instances(service);
        // What is known already is there before the first request.
        upstream.set_instances(&instances.borrow_and_update());
        let feeding = task::spawn(feed(Arc::clone(&upstream), instances));
        Self { upstream, _feeding: task::Guarded::new(feeding) }
    }

    fn with_policy(self, route: &Route) -> Self {
        self.upstream.set_policy(route.policy.clone());
        self
    }
}

/// Passes on every set of instances; that an empty one is proven is discovery's promise.
async fn feed(upstream: Arc<Upstream>, mut instances: watch::Receiver<Arc<[Instance]>>) {
    while instances.changed().await.is_ok() {
        let now = Arc::clone(&instances.borrow_and_update());
        upstream.set_instances(&now);
    }
}
