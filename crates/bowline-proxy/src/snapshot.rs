//! What the workers act upon: the compiled routes and whom they lead to. Immutable; replaced as a whole.

use std::{ops::Deref, sync::Arc};

use bowline_model::route::Route;
use bowline_runtime::{metric::Registry, rand};
use bowline_upstream::Upstream;
use http::{
    HeaderValue, Method,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
    request::Parts,
};

use crate::{
    cells::Cells,
    client::is_own,
    error::Error,
    filter::{Filter, Refusal},
    gate::Gates,
    headers,
    matcher::{Matcher, Query},
    target::Target,
};

/// The routes, compiled, with the upstream of each backend.
#[derive(Debug)]
pub struct Snapshot {
    matcher: Matcher,
    pub(crate) routes: Box<[Served]>,
    /// What every request passes, whatever its route.
    pub(crate) listener: Option<Arc<dyn Filter>>,
    answers_preflights: bool,
}

/// What is known of a request before any filter of its route is asked.
#[derive(Debug)]
pub struct LookedUp {
    /// Where it goes, if anywhere.
    pub found: Option<Found>,
    /// Why it goes no further, once the listener let it in.
    pub refusal: Option<Box<Refusal>>,
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub struct Found {
    /// The place of its route.
    pub route: usize,
    /// Whether it is a preflight that the route answers.
    pub is_preflight: bool,
    /// Whom the client asked for.
    pub(crate) host: HeaderValue,
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
    /// What its requests and answers pass.
    pub(crate) filter: Option<Arc<dyn Filter>>,
    /// What keeps its failures from flooding the log.
    pub(crate) gates: Gates,
}

/// One of a route's destinations.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) cells: Cells,
    /// The service's own name, for `Host`.
    pub(crate) host: HeaderValue,
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
                let host = HeaderValue::from_str(backend.service.as_str()).expect("a name is visible ASCII");
                Backend { upstream: upstream_of(route, index), cells, host, weight_sum }
            });
            Served {
                backends: backends.collect(),
                name: route.name.clone(),
                body_max: route.body_max,
                filter: None,
                gates: Gates::default(),
            }
        };
        let routes = routes.iter().map(serve).collect();
        Self { matcher, routes, listener: None, answers_preflights: false }
    }

    /// The same with filters: the listener's, and that of each route by its place.
    #[must_use]
    pub fn with_filters(
        mut self,
        listener: Option<Arc<dyn Filter>>,
        mut filter_of: impl FnMut(usize) -> Option<Arc<dyn Filter>>,
    ) -> Self {
        for (index, route) in self.routes.iter_mut().enumerate() {
            route.filter = filter_of(index);
        }
        let answers = |route: &Served| route.filter.as_ref().is_some_and(|filter| filter.answers_preflights());
        self.answers_preflights = self.routes.iter().any(answers);
        self.listener = listener;
        self
    }

    /// Looks at a request of a stranger as it came in, the same way as at one that is served, and makes its head
    /// what filters see.
    pub fn look_up(&self, head: &mut Parts) -> LookedUp {
        let found = if is_own(head) { Err(Error::NoRoute) } else { self.find(head) };
        let upgrade = headers::strip(&mut head.headers);
        let refused = |error: Error| Some(Box::new(Refusal::from(error)));
        match found {
            Err(error) => LookedUp { found: None, refusal: refused(error) },
            Ok(found) if !self.routes[found.route].has_weight() => {
                LookedUp { found: Some(found), refusal: refused(Error::NoBackend) }
            }
            Ok(found) => LookedUp { found: Some(found), refusal: upgrade.err().and_then(refused) },
        }
    }

    /// Finds the route of a request.
    pub(crate) fn find(&self, head: &Parts) -> Result<Found, Error> {
        if head.method == Method::CONNECT {
            return Err(Error::Connect);
        }
        let target = Target::read(head)?;
        let query = Query { host: target.host, path: target.path, method: &head.method, headers: &head.headers };
        let preflight = if self.answers_preflights { self.find_preflight(head, query) } else { None };
        let (route, is_preflight) = match preflight {
            Some(route) => (route, true),
            None => (self.matcher.find(query)?, false),
        };
        Ok(Found { route, is_preflight, host: target.to_header(&head.headers) })
    }

    /// The route that answers a preflight: that of the request which it asks for, as far as its headers
    /// are known.
    ///
    /// Source: Fetch, CORS protocol, CORS-preflight request.
    fn find_preflight(&self, head: &Parts, query: Query<'_>) -> Option<usize> {
        if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
            return None;
        }
        let asked = Method::from_bytes(head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()?;
        let route = self.matcher.find(Query { method: &asked, ..query }).ok()?;
        let is_answered = self.routes[route].filter.as_ref().is_some_and(|filter| filter.answers_preflights());
        is_answered.then_some(route)
    }
}

impl Deref for Held {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl Served {
    /// Whether any of its backends has a weight.
    fn has_weight(&self) -> bool {
        self.backends.last().is_some_and(|backend| backend.weight_sum > 0)
    }

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
