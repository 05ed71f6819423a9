//! The sidecar: mutual TLS and authorization before an application, policy and identity for its calls.

mod calls;
mod entrance;
mod first;
mod neighbour;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_config::{ConfigManager, Version};
use bowline_identity::Identity;
use bowline_model::{
    Address, ConfigKey, InstanceId, ServiceName,
    error::chain,
    mesh::{Mode, Snapshot, Workload},
    policy::InvalidPolicy,
    system::Outbound,
};
use bowline_proxy::{
    Engine, StartError, Switch,
    follow::{Follow, read_snapshot},
    matcher::InvalidRoute,
};
use bowline_registry::Discovery;
use bowline_runtime::{metric::Registry, task, time};
use bowline_telemetry::Tracer;

pub use self::first::{First, NoSnapshot, first_snapshot};
use self::{calls::Calls, entrance::Entrance};

/// The longest a sidecar waits for discovery before it starts with what is known.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Whose sidecar it is, and what it works with.
pub struct Settings {
    /// The service that the application is an instance of.
    pub service: ServiceName,
    /// Which instance, for acknowledgements.
    pub instance: InstanceId,
    /// The zone it is in, where it says so: its calls may prefer instances of the same.
    pub zone: Option<String>,
    /// Where it takes connections of the mesh; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the application listens, for nobody but its sidecar.
    pub app: Address,
    /// Who makes the application's calls.
    pub outbound: Outbound,
    /// A folder of this sidecar alone, where its snapshot is kept for the next start, if anywhere.
    pub snapshot_dir: Option<PathBuf>,
    /// Who it is. There should be a certificate: without one nobody comes in.
    pub identity: Identity,
    /// Who knows the instances of those who are called.
    pub discovery: Arc<Discovery>,
    /// Who publishes snapshots.
    pub config: Arc<dyn ConfigManager>,
    /// Where spans go; of the service, not of Bowline.
    pub tracer: Tracer,
    /// Where metrics go.
    pub metrics: Registry,
    /// What it acts by until it is told otherwise: [`first_snapshot`].
    pub first: First,
}

/// Why a sidecar does not start, or refuses a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The snapshot is not one that it can act by.
    #[error("the snapshot of the mesh is refused: {reason}")]
    Snapshot {
        /// Why.
        reason: String,
    },
    /// A rule cannot be compiled.
    #[error("a rule of the mesh cannot be compiled")]
    Rule(#[source] InvalidRoute),
    /// The policy of a call makes no sense.
    #[error("the policy of the calls to `{target}` is refused")]
    Policy {
        /// Who is called.
        target: ServiceName,
        /// Why.
        #[source]
        source: InvalidPolicy,
    },
    /// The system gives no randomness.
    #[error("no secret can be made: the system gives no randomness")]
    Randomness,
    /// It cannot listen.
    #[error("the sidecar cannot listen")]
    Listen(#[source] StartError),
}

/// A running sidecar. Dropping it cuts what is in flight; see [`Sidecar::drain`].
pub struct Sidecar {
    inbound: Engine,
    outbound: Option<Engine>,
    environment: BTreeMap<String, String>,
    following: task::Guarded<()>,
    rotation: Option<task::Guarded<()>>,
}

/// What acts by the snapshot, and is replaced by the next one.
struct Serving {
    identity: Identity,
    entrance: Entrance,
    inbound: Switch,
    /// Where the sidecar makes the application's calls.
    outbound: Option<(Arc<Mutex<Calls>>, Switch)>,
}

impl Sidecar {
    /// Opens the listeners; it takes requests when this returns, and acts by every later snapshot that is
    /// published for its service, until it ends.
    ///
    /// What comes in by mutual TLS is allowed or denied by the rules, then befallen by faults, and then passed
    /// on to the application: never retried, and bounded by the caller's `x-bowline-timeout-ms` alone. In
    /// permissive mode plain requests are taken, too; a sidecar that started in strict mode takes them from
    /// its next start on, one that started in permissive mode denies them as soon as the mode is strict.
    ///
    /// With [`Outbound::Sidecar`] and at least one declared call it makes the application's calls, by the
    /// policies of the snapshot: over a local port for each call, and over an HTTP proxy for
    /// `http://TARGET.mesh`. [`Sidecar::environment`] tells the application of both. The ports serve only processes
    /// of the user that the sidecar runs as, and nobody where the system does not say whose a connection is; the
    /// proxy serves whoever knows its secret. A call that is declared later is made by the proxy at once, and has a
    /// port of its own from the next start on.
    ///
    /// A snapshot of another system, workload or format, or that cannot be compiled, is refused; what was acted
    /// by stays. It waits up to 2 s until discovery knows whom the application calls, and then starts with what is
    /// known.
    ///
    /// With [`Outbound::Application`] the application and its callers report what happens, so it reports
    /// nothing but what it denies, delays or aborts.
    ///
    /// # Errors
    /// Any [`Error`]; nothing is left behind.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let First { snapshot, version } = &settings.first;
        check(&settings.identity, snapshot)?;
        let entrance = Entrance::new(&settings);
        let inbound = entrance.compile(snapshot)?;
        let inbound = entrance.start(&settings, inbound)?;
        let outbound = start_calls(&settings).await?;
        let key = ConfigKey::snapshot(&Workload::Service(settings.service.clone()));
        let follow = Follow {
            config: Arc::clone(&settings.config),
            key,
            instance: settings.instance.clone(),
            service: settings.service.clone(),
            last_good: settings.snapshot_dir.as_deref().map(|dir| first::last_good(dir, &settings.service)),
            runs: *version,
        };
        tracing::info!(service = %settings.service, addr = %inbound.addr(), mode = ?snapshot.mode, "sidecar listens");
        let environment = outbound.as_ref().map(|started| started.environment.clone()).unwrap_or_default();
        let (outbound, calls) = match outbound {
            Some(calls::Started { engine, calls, environment: _ }) => {
                let switch = engine.switch();
                let calls = Arc::new(Mutex::new(calls));
                entrance.tell_breakers_of(&calls);
                (Some(engine), Some((calls, switch)))
            }
            None => (None, None),
        };
        let serving = Serving { identity: settings.identity, entrance, inbound: inbound.switch(), outbound: calls };
        let following = task::Guarded::new(task::spawn(follow.run(move |version| serving.take(version))));
        Ok(Self { inbound, outbound, environment, following, rotation: None })
    }

    /// Has the sidecar keep what renews its certificate.
    #[must_use]
    pub fn with_rotation(self, rotation: task::Guarded<()>) -> Self {
        Self { rotation: Some(rotation), ..self }
    }

    /// Where it takes connections of the mesh: what is registered as the instance's address.
    pub fn addr(&self) -> SocketAddr {
        self.inbound.addr()
    }

    /// What the application has to be told to make its calls through the sidecar.
    ///
    /// | variable | value |
    /// |---|---|
    /// | `BOWLINE_CALL_PAYMENT` | `http://127.0.0.1:PORT`, for each declared call, the name in capitals with `_` for `-` |
    /// | `HTTP_PROXY`, `http_proxy` | the HTTP proxy for `http://payment.mesh`, with the credentials that it demands |
    /// | `NO_PROXY`, `no_proxy` | this machine, as clients would otherwise ask the proxy for the ports above |
    ///
    /// Empty where it makes no calls. Hosts outside the mesh are not passed on by the proxy: whoever calls
    /// them names them in `NO_PROXY`.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.environment.clone()
    }

    /// Takes nothing new for the application, and ends when what was taken is answered. The application's own
    /// calls are made as before.
    ///
    /// Whoever comes is refused a connection. A request on one that stands is taken still, for a moment, and its
    /// answer is the last there: its sender cannot know, and might be unable to send it twice.
    ///
    /// # Cancel safety
    /// Nothing new is taken all the same; waiting can begin again.
    pub async fn refuse_new(&self) {
        self.inbound.refuse_new().await;
    }

    /// Takes no more connections, lets what is in flight finish, and cuts what is left after `grace`; the
    /// application can make calls until what came in is answered.
    ///
    /// Answers whether everything finished in time.
    ///
    /// # Cancel safety
    /// Dropping the future cuts what is in flight.
    pub async fn drain(self, grace: Duration) -> bool {
        let Self { inbound, outbound, environment: _, following, rotation: _rotation } = self;
        let end = time::now() + grace;
        drop(following);
        let is_finished = inbound.drain(grace).await;
        let Some(outbound) = outbound else { return is_finished };
        outbound.drain(end.saturating_duration_since(time::now())).await && is_finished
    }
}

/// Begins to make the application's calls, where that is the sidecar's to do.
async fn start_calls(settings: &Settings) -> Result<Option<calls::Started>, Error> {
    let snapshot = &settings.first.snapshot;
    if settings.outbound == Outbound::Application || snapshot.outbound.is_empty() {
        return Ok(None);
    }
    let mut calls = Calls::new(settings);
    let matcher = calls::check(snapshot)?;
    let serving = calls.renew(snapshot, matcher);
    if time::timeout(SETTLE_MAX, calls.settle()).await.is_err() {
        tracing::warn!(service = %settings.service, "sidecar starts before the registry said where its callees are");
    }
    calls::start(settings, calls, serving).map(Some)
}

impl Serving {
    /// Acts by a version, or says why not.
    fn take(&self, version: &Version) -> Result<(), String> {
        let snapshot = read_snapshot(&version.document.text)?;
        self.apply(&snapshot).map_err(|error| chain(&error))
    }

    /// Replaces what is served for the requests that come from now on, or nothing.
    fn apply(&self, snapshot: &Snapshot) -> Result<(), Error> {
        check(&self.identity, snapshot)?;
        let inbound = self.entrance.compile(snapshot)?;
        if let Some((calls, switch)) = &self.outbound {
            let matcher = calls::check(snapshot)?;
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            switch.set(calls.renew(snapshot, matcher));
        }
        self.inbound.set(inbound);
        Ok(())
    }
}

/// Whether a snapshot is ours to act by.
fn check(identity: &Identity, snapshot: &Snapshot) -> Result<Mode, Error> {
    let refuse = |reason: String| Err(Error::Snapshot { reason });
    let id = identity.id();
    if (&snapshot.system, &snapshot.workload) != (&id.system, &id.workload) {
        return refuse(format!("it is that of `{}` of `{}`, not of `{id}`", snapshot.workload, snapshot.system));
    }
    snapshot.mode.map_or_else(|| refuse("the system has no mesh: bowline.toml has no [mesh]".to_owned()), Ok)
}

impl fmt::Debug for Sidecar {
    /// Without the environment, which has the secret of the HTTP proxy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inbound, outbound, .. } = self;
        f.debug_struct("Sidecar").field("inbound", inbound).field("outbound", outbound).finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, instance, listen, app, outbound, identity, .. } = self;
        f.debug_struct("Settings")
            .field("service", service)
            .field("instance", instance)
            .field("listen", listen)
            .field("app", app)
            .field("outbound", outbound)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}
