//! The upstreams behind the routes, each fed with the instances that discovery knows.

use std::{collections::BTreeMap, sync::Arc};

use bowline_model::{Instance, ServiceName, mesh::Steering, route::Route};
use bowline_registry::Discovery;
use bowline_runtime::{metric::Registry, task};
use bowline_upstream::Upstream;
use tokio::sync::watch;

/// Who says so in metrics.
pub(crate) const REPORTER: &str = "gateway";

/// The upstream of each route and service: breakers and budgets are per route, so that one route's
/// timeouts do not close another's way.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    fed: BTreeMap<(String, ServiceName), Fed>,
    /// How the calls to each service are steered, whether a route names it now or later.
    steering: BTreeMap<ServiceName, Steering>,
}

/// An upstream and the task that keeps its instances current.
#[derive(Debug)]
struct Fed {
    upstream: Arc<Upstream>,
    _feeding: task::Guarded<()>,
}

impl Backends {
    /// The upstreams of these routes: those that `self` has already, with their state, and new ones.
    pub(crate) fn renew(&mut self, routes: &[Route], discovery: &Discovery, metrics: &Registry) {
        let mut next = BTreeMap::new();
        for route in routes {
            for backend in &route.backends {
                let key = (route.name.clone(), backend.service.clone());
                let fed = next.remove(&key).or_else(|| self.fed.remove(&key));
                let fed = match fed {
                    Some(fed) => fed.with_policy(route),
                    None => Fed::new(route, &backend.service, discovery, metrics),
                };
                self.steer(&backend.service, &fed);
                next.insert(key, fed);
            }
        }
        self.fed = next;
    }

    /// Steers the calls to services, of all routes; those that are not named are not steered.
    pub(crate) fn set_steering(&mut self, steering: &BTreeMap<ServiceName, Steering>) {
        self.steering.clone_from(steering);
        for ((_, service), fed) in &self.fed {
            self.steer(service, fed);
        }
    }

    fn steer(&self, service: &ServiceName, fed: &Fed) {
        fed.upstream.set_steering(self.steering.get(service).cloned().unwrap_or_default());
    }

    /// Waits until discovery knows each service, and passes on what it knows.
    pub(crate) async fn settle(&self, discovery: &Discovery) {
        for ((_, service), fed) in &self.fed {
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
        Arc::clone(&self.fed[&key].upstream)
    }
}

impl Fed {
    fn new(route: &Route, service: &ServiceName, discovery: &Discovery, metrics: &Registry) -> Self {
        let upstream = Upstream::new(service.clone(), route.policy.clone(), REPORTER, metrics);
        let mut instances = discovery.instances(service);
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
