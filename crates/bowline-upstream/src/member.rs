//! What is remembered of one instance: where it is dialled, and its breaker.

use bowline_balance::Member as Entry;
use bowline_model::{Instance, Protocol};
use bowline_transport::Endpoint;

use crate::{
    guard::{BreakerRules, Guard},
    metrics::{Attempts, Metrics},
};

/// What is remembered of one instance.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    /// The same over HTTP/2, where that is preferred; whether the instance takes it may change.
    multiplexed: Option<Endpoint>,
    /// Its own, where breakers are by instance.
    pub(crate) breaker: Option<Guard>,
    /// The release it is; empty when not told.
    pub(crate) version: String,
    /// Counts the attempts at instances of its version.
    pub(crate) attempts: Attempts,
}

impl Member {
    /// An instance, at an endpoint; over HTTP/2 once it takes that, where `prefers_http2`.
    pub(crate) fn new(
        endpoint: Endpoint,
        prefers_http2: bool,
        instance: &Instance,
        rules: Option<&BreakerRules>,
        metrics: &Metrics,
    ) -> Self {
        let rules = rules.filter(|rules| rules.is_by_instance());
        let breaker = rules.map(|rules| Guard::new(rules, instance.id.clone(), &metrics.breakers));
        let version = &instance.version;
        let attempts = metrics.attempts(version);
        let multiplexed = prefers_http2.then(|| Endpoint { protocol: Protocol::Http2, ..endpoint.clone() });
        Self { endpoint, multiplexed, breaker, version: version.clone(), attempts }
    }

    /// Where and how the instance is dialled now.
    pub(crate) fn endpoint_of(entry: &Entry<Self>) -> &Endpoint {
        let Self { endpoint, multiplexed, .. } = &*entry.state;
        let multiplexed = multiplexed.as_ref().filter(|_| entry.instance.protocol == Protocol::Both);
        multiplexed.unwrap_or(endpoint)
    }
}
