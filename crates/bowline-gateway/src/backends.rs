//! The upstreams behind the routes, each fed with the instances that discovery knows.

use std::{collections::BTreeMap, sync::Arc};

use bowline_model::{
    ServiceName,
    mesh::{CallBreakers, Steering},
    route::Route,
};
use bowline_proxy::Fed;
use bowline_registry::Discovery;
use bowline_upstream::{Security, Upstream};

use crate::policies::Means;

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

impl Backends {
    /// The upstreams of these routes: those that `self` has already, with their state, and new ones.
    pub(crate) fn renew(&mut self, routes: &[Route], means: &Means) {
        let mut next = BTreeMap::new();
        for route in routes {
            for backend in &route.backends {
                let key = (route.name.clone(), backend.service.clone());
                let fed = next.remove(&key).or_else(|| self.fed.remove(&key));
                let fed = fed.unwrap_or_else(|| {
                    let service = backend.service.clone();
                    let upstream = Upstream::new(service, route.policy.clone(), REPORTER, &means.metrics);
                    upstream.set_standpoint(means.standpoint.clone());
                    upstream.set_security(*means.security.borrow());
                    Fed::new(upstream, &means.discovery)
                });
                fed.upstream().set_policy(route.policy.clone());
                self.steer(&key, &fed);
                next.insert(key, fed);
            }
        }
        self.fed = next;
    }

    /// Steers the calls to services, of all routes; those that are not named are not steered.
    pub(crate) fn set_steering(&mut self, steering: &BTreeMap<ServiceName, Steering>) {
        self.steering.clone_from(steering);
        for (key, fed) in &self.fed {
            self.steer(key, fed);
        }
    }

    fn steer(&self, (route, service): &(String, ServiceName), fed: &Fed) {
        let mut steering = self.steering.get(service).cloned().unwrap_or_default();
        steering.breakers.retain(|order| order.is_for_route(route));
        fed.upstream().set_steering(steering);
    }

    /// The breakers of each route and service.
    pub(crate) fn breakers(&self) -> Vec<CallBreakers> {
        let told = |((route, _), fed): (&(String, ServiceName), &Fed)| CallBreakers {
            route: Some(route.clone()),
            ..fed.upstream().breakers()
        };
        self.fed.iter().map(told).collect()
    }

    /// Has all of them call under TLS as that says.
    pub(crate) fn set_security(&self, security: Security) {
        for fed in self.fed.values() {
            fed.upstream().set_security(security);
        }
    }

    /// Waits until discovery knows each service, and passes on what it knows.
    pub(crate) async fn settle(&self, discovery: &Discovery) {
        for fed in self.fed.values() {
            fed.settle(discovery).await;
        }
    }

    /// The upstream of a route's backend.
    ///
    /// # Panics
    /// Where [`Backends::renew`] has not seen the route.
    pub(crate) fn get(&self, route: &Route, backend: usize) -> Arc<Upstream> {
        let key = (route.name.clone(), route.backends[backend].service.clone());
        Arc::clone(self.fed[&key].upstream())
    }
}
