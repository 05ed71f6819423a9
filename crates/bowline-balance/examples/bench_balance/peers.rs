//! What the registry has for the same work.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hashring::HashRing;
use maglev::{ConsistentHasher as _, Maglev};
use pingora_ketama::{Bucket, Continuum};
use tower::{
    Service,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PeakEwma},
};

pub(crate) fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1 + number))
}

/// A service that answers at once.
#[derive(Debug)]
pub(crate) struct Instant;

impl Service<()> for Instant {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

type Services = ServiceList<Vec<PeakEwma<Instant>>>;

/// tower's balance of the two less loaded by peak EWMA, all services ready.
pub(crate) struct Tower(Balance<Services, ()>);

impl Tower {
    pub(crate) fn new(count: u16) -> Self {
        let (rtt, decay_nanos) = (Duration::from_millis(1), 10e9);
        let service = |_| PeakEwma::new(Instant, rtt, decay_nanos, CompleteOnResponse::default());
        let services = (0..count).map(service).collect();
        Self(Balance::new(ServiceList::new::<()>(services)))
    }

    /// A pick, the request that goes there, and its answer.
    pub(crate) fn call(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let ready = self.0.poll_ready(&mut context);
        assert!(ready.is_ready(), "all services are ready");
        let answer = pin!(self.0.call(())).poll(&mut context);
        assert!(black_box(answer).is_ready(), "it answers at once");
    }
}

/// As many as can be built: it keeps the order of all places for each node, which are 80 GB for ten thousand.
pub(crate) const MAGLEV_NODES: u16 = 500;

/// With a table as large as ours.
pub(crate) fn maglev() -> Maglev<SocketAddr> {
    Maglev::with_capacity((0..MAGLEV_NODES).map(address), 65_537)
}

pub(crate) fn in_maglev(maglev: &Maglev<SocketAddr>, key: &str) {
    black_box(maglev.get(&key));
}

pub(crate) fn in_ketama(ketama: &Continuum, key: &str) {
    black_box(ketama.node(key.as_bytes()));
}

pub(crate) fn in_hashring(ring: &HashRing<SocketAddr>, key: &str) {
    black_box(ring.get(&key));
}

pub(crate) fn ketama(nodes: &[SocketAddr]) -> Continuum {
    Continuum::new(&nodes.iter().map(|node| Bucket::new(*node, 1)).collect::<Vec<_>>())
}

/// It has one point for each node.
pub(crate) fn hashring(nodes: &[SocketAddr]) -> HashRing<SocketAddr> {
    let mut ring = HashRing::new();
    ring.batch_add(nodes.to_vec());
    ring
}
