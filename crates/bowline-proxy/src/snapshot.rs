//! What the workers act upon: the compiled routes and whom they lead to. Immutable; replaced as a whole.

use std::{ops::Deref, sync::Arc};

use bowline_model::route::Route;
use bowline_runtime::{metric::Registry, rand};
use bowline_upstream::Upstream;

use crate::{cells::Cells, gate::Gates, matcher::Matcher};

/// The routes, compiled, with the upstream of each backend.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) matcher: Matcher,
    pub(crate) routes: Box<[Served]>,
}

/// A snapshot that one core holds: cloning an `Rc` of this touches no counter that cores share.
#[derive(Debug)]
pub(crate) struct Held(pub(crate) Arc<Snapshot>);

/// A route as it is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) body_max: u64,
    pub(crate) backends: Box<[Backend]>,
    /// What keeps its failures from flooding the log.
    pub(crate) gates: Gates,
}

/// One of a route's destinations.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) cells: Cells,
    /// The weights up to and including this one's, summed.
    weight_sum: usize,
}

impl Snapshot {
    /// Joins routes with the matcher compiled from them; `upstream_of` gives the upstream of each
    /// route's backend, by its place.
    ///
    /// Requests are counted in `metrics` under that `reporter`.
    ///
    /// # Panics
    /// Where the matcher was compiled from another number of routes.
    pub fn new(
        matcher: Matcher,
        routes: &[Route],
        reporter: &'static str,
        metrics: &Registry,
        mut upstream_of: impl FnMut(&Route, usize) -> Arc<Upstream>,
    ) -> Self {
        assert_eq!(matcher.route_count(), routes.len(), "the matcher was compiled from these routes");
        let serve = |route: &Route| {
            let mut weight_sum = 0;
            let backends = route.backends.iter().enumerate().map(|(index, backend)| {
                weight_sum += backend.weight as usize;
                let cells = Cells::new(metrics, reporter, backend.service.as_str(), &route.name);
                Backend { upstream: upstream_of(route, index), cells, weight_sum }
            });
            Served {
                backends: backends.collect(),
                name: route.name.clone(),
                body_max: route.body_max,
                gates: Gates::default(),
            }
        };
        Self { matcher, routes: routes.iter().map(serve).collect() }
    }
}

impl Deref for Held {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl Served {
    /// A backend at random, in proportion to the weights; `None` when all of them are 0.
    pub(crate) fn pick(&self) -> Option<usize> {
        match &*self.backends {
            [only] => (only.weight_sum > 0).then_some(0),
            backends => {
                let total = backends.last()?.weight_sum;
                let at = rand::below(total);
                (total > 0).then(|| backends.partition_point(|backend| backend.weight_sum <= at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::{ServiceName, policy::CallPolicy, route};

    use super::*;

    fn served(weights: &[u32]) -> Served {
        let service = || ServiceName::new("a").unwrap();
        let backends = weights.iter().map(|weight| route::Backend { service: service(), weight: *weight });
        let route = Route::new("r", backends.collect());
        let registry = Registry::default();
        let make = |_: &Route, _| Upstream::new(service(), CallPolicy::default(), "gateway", &registry);
        let matcher = Matcher::new(std::slice::from_ref(&route)).unwrap();
        let snapshot = Snapshot::new(matcher, &[route], "gateway", &registry, make);
        snapshot.routes.into_iter().next().unwrap()
    }

    #[test]
    fn backends_are_picked_in_proportion_to_their_weights() {
        let seed = rand::u64();
        println!("seed {seed}");
        rand::seed(seed);
        let served = served(&[0, 30, 0, 70]);
        let mut counts = [0_u32; 4];
        for _ in 0..100_000 {
            counts[served.pick().unwrap()] += 1;
        }
        assert_eq!((counts[0], counts[2]), (0, 0));
        assert!((28_000..32_000).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn without_weight_nothing_is_picked() {
        assert_eq!(served(&[0]).pick(), None);
        assert_eq!(served(&[0, 0]).pick(), None);
        assert_eq!(served(&[]).pick(), None);
        assert_eq!(served(&[7]).pick(), Some(0));
    }
}
