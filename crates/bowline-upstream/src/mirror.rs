//! Copies of requests for another version, whose answers nobody sees.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use bowline_balance::{Balancer, Snapshot};
use bowline_model::{mesh, policy::BalancePolicy, units::Share};
use bowline_runtime::{rand, time::Instant};
use bowline_telemetry::names;
use bowline_transport::{Body, Pool, send_aside};
use http::{HeaderName, HeaderValue, Request, request::Parts};

use crate::{
    member::Member,
    metrics::{Mirrored, Outcome},
};

/// The most copies of one service's requests that are under way at once; beyond, they are dropped.
pub(crate) const MIRRORED_MAX: usize = 64;

const MIRROR: HeaderName = HeaderName::from_static(names::MIRROR_HEADER);

/// Where copies go, and how many.
pub(crate) struct Mirror {
    version: String,
    share: Share,
    balancer: Balancer,
    set: ArcSwap<Snapshot<Member>>,
    under_way: UnderWay,
    metrics: Arc<Mirrored>,
}

/// How many copies of a service's requests are under way, whatever its mirror is since.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

/// The place of one copy; given back when this is dropped.
struct Place(UnderWay);

impl Mirror {
    pub(crate) fn new(
        mirror: &mesh::Mirror,
        balance: &BalancePolicy,
        all: &Snapshot<Member>,
        under_way: UnderWay,
        metrics: Mirrored,
    ) -> Self {
        let mesh::Mirror { version, share } = mirror.clone();
        let set = ArcSwap::from_pointee(all.subset(|instance| instance.version == version));
        Self { version, share, balancer: Balancer::new(balance), set, under_way, metrics: Arc::new(metrics) }
    }

    /// Takes note of who is there now.
    pub(crate) fn renew(&self, all: &Snapshot<Member>) {
        self.set.store(Arc::new(all.subset(|instance| instance.version == self.version)));
    }

    /// Whether this request is one of the share.
    pub(crate) fn draws(&self) -> bool {
        rand::hits(self.share.millionths())
    }

    /// Sends a copy, in a task of its own; breakers and load of who gets it are not told.
    pub(crate) fn copy<P: Pool>(&self, pool: &P, head: &Parts, body: &Body, deadline: Instant, now: Instant) {
        let Some(body) = body.as_replayable() else { return self.metrics.streamed.increment() };
        let Some(place) = self.under_way.enter() else { return self.metrics.dropped.increment() };
        let set = self.set.load();
        let Some(member) = self.balancer.pick(&set, now, None, |_| true) else {
            return self.metrics.no_instance.increment();
        };
        let metrics = Arc::clone(&self.metrics);
        send_aside(pool, Member::endpoint_of(member).clone(), copy_of(head, body), deadline, move |sent| {
            metrics.sent(Outcome::of(sent.as_ref().map(|sent| sent.as_ref().copied())));
            drop(place);
        });
    }
}

/// The same request, marked. What is attached to it here stays with the original.
fn copy_of(head: &Parts, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers.clone();
    request.headers_mut().insert(MIRROR, HeaderValue::from_static("1"));
    request
}

impl UnderWay {
    fn enter(&self) -> Option<Place> {
        let place = Place(self.clone());
        // Above the bound the place is given back at once, by its drop.
        (self.0.fetch_add(1, Relaxed) < MIRRORED_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("version", &self.version).field("share", &self.share).finish_non_exhaustive()
    }
}
