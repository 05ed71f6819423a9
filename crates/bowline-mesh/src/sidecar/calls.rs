//! The way out: the application's declared calls, by their policies, under its identity.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bowline_model::{
    ServiceName,
    mesh::{MESH_DOMAIN, Outbound, OwnBreakers, Snapshot},
    route::{Backend, HostPattern, Route},
};
use bowline_proxy::{Addressed, Engine, Fed, Listener, PROXY_USER, Peers, ProxySecret, matcher::Matcher};
use bowline_registry::Discovery;
use bowline_runtime::metric::Registry;
use bowline_transport::PoolSettings;
use bowline_upstream::{Security, Standpoint, Upstream};
use http::HeaderValue;

use super::{Error, Settings, neighbour};

/// Who says so in metrics.
const REPORTER: &str = "client";

/// Where the application's clients listen not for the proxy but for the sidecar's ports and their own.
const THIS_MACHINE: &str = "localhost,127.0.0.1,::1";

/// Whom the application calls, with what is known of them.
pub(super) struct Calls {
    callees: BTreeMap<ServiceName, Fed>,
    discovery: Arc<Discovery>,
    metrics: Registry,
    standpoint: Standpoint,
}

/// Calls that are made, and what the application has to know of that.
pub(super) struct Started {
    pub(super) engine: Engine,
    pub(super) calls: Calls,
    pub(super) environment: BTreeMap<String, String>,
}

/// Whether the calls of a snapshot can be made: by what they are found.
///
/// # Errors
/// [`Error::Policy`] names the first that makes no sense.
pub(super) fn check(snapshot: &Snapshot) -> Result<Matcher, Error> {
    for Outbound { target, policy, steering: _ } in &snapshot.outbound {
        policy.check().map_err(|source| Error::Policy { target: target.clone(), source })?;
    }
    Matcher::new(&routes(snapshot)).map_err(Error::Rule)
}

/// A route for each call, by the host that it is found by.
fn routes(snapshot: &Snapshot) -> Vec<Route> {
    let route = |call: &Outbound| {
        let backends = vec![Backend { service: call.target.clone(), weight: 1 }];
        Route {
            hosts: vec![HostPattern::Exact(host(&call.target))],
            // How much a service takes is its own to say.
            body_max: u64::MAX,
            policy: call.policy.clone(),
            ..Route::new(call.target.as_str(), backends)
        }
    };
    snapshot.outbound.iter().map(route).collect()
}

/// The name that a service has in the mesh: `payment.mesh`.
fn host(service: &ServiceName) -> String {
    format!("{service}.{MESH_DOMAIN}")
}

impl Calls {
    pub(super) fn new(settings: &Settings) -> Self {
        let (discovery, metrics) = (Arc::clone(&settings.discovery), settings.metrics.clone());
        let standpoint = Standpoint { zone: settings.zone.clone(), caller: settings.instance.to_string() };
        Self { callees: BTreeMap::new(), discovery, metrics, standpoint }
    }

    /// Makes the calls of a snapshot; what is known of a callee that was called before is kept.
    pub(super) fn renew(&mut self, snapshot: &Snapshot, matcher: Matcher) -> Arc<bowline_proxy::Snapshot> {
        let security = Security::of(snapshot.mode);
        let mut callees = BTreeMap::new();
        for Outbound { target, policy, steering } in &snapshot.outbound {
            let callee = self.callees.remove(target).unwrap_or_else(|| {
                let upstream = Upstream::new(target.clone(), policy.clone(), REPORTER, &self.metrics);
                upstream.set_standpoint(self.standpoint.clone());
                // Before it knows an instance that it could call in the clear.
                upstream.set_security(security);
                Fed::new(upstream, &self.discovery)
            });
            let upstream = callee.upstream();
            upstream.set_security(security);
            upstream.set_policy(policy.clone());
            upstream.set_steering(steering.clone());
            callees.insert(target.clone(), callee);
        }
        self.callees = callees;
        let routes = routes(snapshot);
        let upstream_of =
            |route: &Route, backend: usize| Arc::clone(self.callees[&route.backends[backend].service].upstream());
        Arc::new(bowline_proxy::Snapshot::new(matcher, &routes, REPORTER, &self.metrics, upstream_of))
    }

    /// What is told of the breakers of each callee.
    pub(super) fn breakers(&self) -> OwnBreakers {
        OwnBreakers { calls: self.callees.values().map(|callee| callee.upstream().breakers()).collect() }
    }

    /// Waits until discovery knows every callee.
    pub(super) async fn settle(&self) {
        for callee in self.callees.values() {
            callee.settle(&self.discovery).await;
        }
    }
}

/// Opens a port for each call, and the HTTP proxy.
pub(super) fn start(
    settings: &Settings,
    calls: Calls,
    serving: Arc<bowline_proxy::Snapshot>,
) -> Result<Started, Error> {
    let local = || Listener::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let secret = random_secret()?;
    let port = |target| local().addressed(Addressed::To(header(target))).admitting(neighbour::is_ours);
    let mut listeners: Vec<_> = calls.callees.keys().map(port).collect();
    listeners.push(local().addressed(Addressed::AsProxy { secret: Some(ProxySecret::new(&secret)) }));
    let engine = bowline_proxy::Settings {
        workers: 1,
        peers: Peers::Application,
        pool: PoolSettings { tls: Some(settings.identity.client_tls()), ..PoolSettings::of_proxy() },
        ..bowline_proxy::Settings::with_listeners(listeners, REPORTER)
    };
    let engine = Engine::start(&engine, serving, &settings.tracer, &settings.metrics).map_err(Error::Listen)?;
    let environment = environment(calls.callees.keys(), engine.addrs(), &secret);
    Ok(Started { engine, calls, environment })
}

/// What the application has to be told; the last address is that of the proxy.
fn environment<'a>(
    targets: impl Iterator<Item = &'a ServiceName>,
    addrs: &[SocketAddr],
    secret: &str,
) -> BTreeMap<String, String> {
    let port = |(target, addr): (&ServiceName, &SocketAddr)| {
        let name = target.as_str().to_ascii_uppercase().replace('-', "_");
        (format!("BOWLINE_CALL_{name}"), format!("http://{addr}"))
    };
    let mut variables: BTreeMap<_, _> = targets.zip(addrs).map(port).collect();
    if let Some(proxy) = addrs.last() {
        let proxy = format!("http://{PROXY_USER}:{secret}@{proxy}");
        for (name, value) in [("HTTP_PROXY", &*proxy), ("NO_PROXY", THIS_MACHINE)] {
            variables.insert(name.to_owned(), value.to_owned());
            variables.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    variables
}

fn header(target: &ServiceName) -> HeaderValue {
    HeaderValue::from_str(&host(target)).expect("a service's name is visible ASCII")
}

/// 128 bits that nobody guesses, fit for a URL.
fn random_secret() -> Result<String, Error> {
    use std::fmt::Write as _;
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Randomness)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    }))
}
