//! A whole system as declared: `Microservices(S) = ⟨Services(S), Communication(S), Deployment(S)⟩`.
//!
//! | the formula | the type | in `bowline.toml` |
//! |---|---|---|
//! | `Services(S)` | [`System::services`] | `[service.X]` |
//! | `Communication(S)` | the union of [`Service::calls`] | `[service.X.calls.Y]` |
//! | `SyncComm(s₁, s₂, m)` | a [`Call`] from s₁ to s₂ of [`CallMode::Sync`]; its messages are requests | `mode = "sync"` |
//! | `AsyncComm(s₁, s₂, m)` | one of [`CallMode::Async`] | `mode = "async"` |
//! | `MessagePassing(s₁, s₂)` | one of [`CallMode::Message`]; its messages pass through [`Call::topics`] | `mode = "message"` |
//! | `Boundary(s) = ⟨API(s), Data(s), State(s)⟩` | [`Boundary`] | `[service.X.boundary]` |
//! | `Isolation(s₁, s₂) = Boundary(s₁) ∩ Boundary(s₂) = ∅` | proved by [`mod@crate::check`] | – |
//! | `independent(s₁, s₂)` | proved by [`mod@crate::check`] | – |
//! | `Deployment(S)` | [`System::deployments`] | `[deploy.X]` |

use std::{collections::BTreeMap, fmt, net::SocketAddr, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    caches::CachesPolicy,
    data::DatabasesPolicy,
    deploy::{Deployment, Plan},
    gateway::RouteTable,
    mesh::MeshPolicy,
    messages::{MessagesPolicy, TopicDeclaration},
    monitor::{AlertPolicy, MetricsPath, MetricsPolicy, TracingPolicy},
    name::{ConfigKey, ServiceName},
    policy::{CallPolicy, ShedPolicy},
    problem::Position,
};

/// The most instances of one release of a service.
pub const REPLICAS_MAX: u32 = 100;

/// What a `bowline.toml` declares.
///
/// `Microservices(S) = ⟨Services(S), Communication(S), Deployment(S)⟩`: services and routes in the
/// order of the file; each service carries its boundary and its declared calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The system's name; a DNS label.
    pub name: ServiceName,
    /// Services(S).
    pub services: Vec<Service>,
    /// How requests from outside come in.
    pub table: RouteTable,
    /// Where each of the file's routes is declared, by its name.
    pub routes: BTreeMap<String, RouteSite>,
    /// Documents of configuration that are published with it.
    pub configs: Vec<ConfigDeclaration>,
    /// What its mesh demands; absent: it has none.
    pub mesh: Option<MeshPolicy>,
    /// Which traces are kept, and where spans are passed on to.
    pub tracing: TracingPolicy,
    /// What is scraped, and how long it is kept.
    pub metrics: MetricsPolicy,
    /// What is watched for, and who is told.
    pub alerts: AlertPolicy,
    /// Where messages live.
    pub messages: MessagesPolicy,
    /// Where processes share what they cache.
    pub caches: CachesPolicy,
    /// Where databases live that are not files in the data folder.
    pub databases: DatabasesPolicy,
    /// What is said of how topics are kept; [`System::all_topics`] has them all.
    pub topics: Vec<TopicDeclaration>,
    /// What becomes of who breaks a boundary.
    pub boundaries: BoundaryPolicy,
    /// Deployment(S): how releases of services are rolled out.
    pub deployments: Vec<Deployment>,
}

/// What becomes of what the file does not declare, or declares against the axioms: the table `[boundary]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundaryPolicy {
    /// How much of it is let pass.
    pub enforce: Enforce,
    /// How many attempts one request from outside may become at any one service:
    /// [`AMPLIFICATION_RANGE`].
    pub amplification_max: u32,
}

/// The least and the most that [`BoundaryPolicy::amplification_max`] is.
pub const AMPLIFICATION_RANGE: RangeInclusive<u32> = 1..=1_000_000;

impl Default for BoundaryPolicy {
    /// Denied; 50 attempts.
    fn default() -> Self {
        Self { enforce: Enforce::default(), amplification_max: 50 }
    }
}

/// How much of what breaks a boundary is let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforce {
    /// All of it: neither is the file proved before it is run, nor do sidecars ask what is declared.
    Off,
    /// All of it, and it is told: by `bowline up`, and by sidecars as a dry run.
    Warn,
    /// Nothing: `bowline up` starts no system that breaks an axiom, and sidecars refuse.
    #[default]
    Deny,
}

impl Enforce {
    /// The ways there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 3] = [("off", Self::Off), ("warn", Self::Warn), ("deny", Self::Deny)];

    /// Its name in `bowline.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

/// Where a route is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteSite {
    /// Its name.
    pub position: Position,
    /// Its `timeout`, where it says one.
    pub timeout_position: Option<Position>,
}

/// A document of configuration that a system brings along: `[config."shop/order"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDeclaration {
    /// Its key.
    pub key: ConfigKey,
    /// Where it is declared.
    pub position: Position,
    /// The file with the document, relative to `bowline.toml`: published when the key is new, and again
    /// when the file changed since.
    pub document: Option<String>,
    /// The file with the JSON Schema that every version has to fit, relative to `bowline.toml`.
    pub schema: Option<String>,
}

impl System {
    /// A system of that name, and nothing else.
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            services: Vec::new(),
            table: RouteTable::default(),
            routes: BTreeMap::new(),
            configs: Vec::new(),
            mesh: None,
            tracing: TracingPolicy::default(),
            metrics: MetricsPolicy::default(),
            alerts: AlertPolicy::default(),
            messages: MessagesPolicy::default(),
            caches: CachesPolicy::default(),
            databases: DatabasesPolicy::default(),
            topics: Vec::new(),
            boundaries: BoundaryPolicy::default(),
            deployments: Vec::new(),
        }
    }

    /// How releases of a service are rolled out: as its section says, else by default.
    pub fn plan(&self, service: &ServiceName) -> Plan {
        let declared = self.deployments.iter().find(|deployment| deployment.service == *service);
        declared.map(|deployment| deployment.plan.clone()).unwrap_or_default()
    }

    /// Whether traffic may be split between versions of a service: some have one, or are rolled out.
    pub fn has_versions(&self) -> bool {
        !self.deployments.is_empty() || self.services.iter().any(|service| !service.version.is_empty())
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name.as_str() == name)
    }
}

/// A service: a logical name, how it is built and run, what it owns and whom it calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Where it is declared.
    pub position: Position,
    /// A shell command that makes it ready to run; equal ones run once.
    pub build: Option<String>,
    /// A shell command that runs one instance. Absent: it runs elsewhere and registers itself.
    pub run: Option<String>,
    /// How many instances, 0 to 100.
    pub replicas: u32,
    /// How an instance's health is found out.
    pub check: Check,
    /// Environment for build and run.
    pub env: BTreeMap<String, String>,
    /// What it owns.
    pub boundary: Boundary,
    /// Communication(S): whom it calls, and how.
    pub calls: Vec<Call>,
    /// Who makes its calls in a mesh.
    pub outbound: Outbound,
    /// Where it listens in a mesh.
    pub bind: Bind,
    /// Where it listens for what is not HTTP.
    pub listen: Vec<Listener>,
    /// Where its instances show their metrics.
    pub metrics: MetricsPath,
    /// What it sheds of what comes in; absent: it takes what comes.
    pub shed: Option<ShedPolicy>,
    /// The release that `run` is; empty when not told.
    pub version: String,
    /// Other releases that run beside it.
    pub versions: Vec<Version>,
}

impl Service {
    /// A service that nothing is said of: it runs elsewhere and registers itself.
    pub fn new(name: ServiceName, position: Position) -> Self {
        Self {
            name,
            position,
            build: None,
            run: None,
            replicas: 0,
            check: Check::default(),
            env: BTreeMap::new(),
            boundary: Boundary::default(),
            calls: Vec::new(),
            outbound: Outbound::default(),
            bind: Bind::default(),
            listen: Vec::new(),
            metrics: MetricsPath::default(),
            shed: None,
            version: String::new(),
            versions: Vec::new(),
        }
    }

    /// Whether it should have instances: it runs elsewhere and registers itself, or some are to be run here. One whose
    /// `replicas` are 0 in all its releases is switched off, as by a profile that has something else in its place.
    pub fn is_awaited(&self) -> bool {
        self.run.is_none() || self.replicas > 0 || self.versions.iter().any(|version| version.replicas > 0)
    }
}

/// Where the one instance of a service listens for what is not HTTP: it is reached there itself, past sidecars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it listens for; one of its service's.
    pub name: ServiceName,
    /// Where: a port other than 0.
    pub addr: SocketAddr,
}

impl Listener {
    /// The variable by which the instance is told: `BOWLINE_LISTEN_MQTT`.
    pub fn variable(&self) -> String {
        format!("BOWLINE_LISTEN_{}", self.name.as_str().to_ascii_uppercase().replace('-', "_"))
    }
}

/// Which hop owns the policy of a service's calls in a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outbound {
    /// Its sidecar: a local port for each declared call, and an HTTP proxy.
    #[default]
    Sidecar,
    /// The application itself, which links `bowline`.
    Application,
}

impl Outbound {
    /// Both, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 2] = [("sidecar", Self::Sidecar), ("application", Self::Application)];
}

/// Where an application listens that only its sidecar is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bind {
    /// On a Unix socket below the data folder.
    #[default]
    Unix,
    /// On a port of loopback, for what cannot do the other.
    Port,
}

impl Bind {
    /// Both, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 2] = [("unix", Self::Unix), ("port", Self::Port)];
}

/// A release that runs beside a service's own: `[service.X.versions.V]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its name; valid by [`is_version`](crate::mesh::is_version).
    pub name: String,
    /// Where it is declared.
    pub position: Position,
    /// As [`Service::build`]; absent: the service's.
    pub build: Option<String>,
    /// As [`Service::run`]; absent: the service's.
    pub run: Option<String>,
    /// As [`Service::replicas`].
    pub replicas: u32,
    /// Added to, and over, the service's environment.
    pub env: BTreeMap<String, String>,
}

/// A health check over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The path that answers 2xx when the instance takes requests.
    pub http: String,
    /// Time between checks.
    pub every: Duration,
    /// The longest a check may take.
    pub timeout: Duration,
    /// Successes in a row that make an instance healthy, 1 to 100.
    pub healthy_after: u32,
    /// Failures in a row that make a healthy instance unhealthy, 1 to 100.
    pub unhealthy_after: u32,
}

impl Default for Check {
    /// `/readyz`, every 2 s, within 500 ms; one success is enough, and so are two failures.
    fn default() -> Self {
        Self {
            http: "/readyz".to_owned(),
            every: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            healthy_after: 1,
            unhealthy_after: 2,
        }
    }
}

/// `Boundary(s) = ⟨API(s), Data(s), State(s)⟩`: what a service owns, and no other service does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Boundary {
    /// Operations: method and path template.
    pub api: Vec<Operation>,
    /// Databases and tables: `sqlite:order.db`.
    pub data: Vec<Resource>,
    /// Topics, caches and other state: `topic:order.placed`.
    pub state: Vec<Resource>,
}

/// What a service offers: `GET /orders/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The HTTP method.
    pub method: String,
    /// The path template.
    pub path: crate::route::PathPattern,
    /// Where it is declared.
    pub position: Position,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// The kind of resources that messages pass through.
pub const TOPIC: &str = "topic";

/// A system-wide name of something owned, `kind:name`.
///
/// `/` nests: `postgres:shop` holds `postgres:shop/orders`, and who owns the former owns the latter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `sqlite`, `postgres`, `topic`, `cache` …
    pub kind: String,
    /// Its name within the kind.
    pub name: String,
    /// Where it is declared.
    pub position: Position,
}

impl Resource {
    /// The environment variable that tells its owner how to reach it, where Bowline provides it.
    ///
    /// `sqlite:order.db` is told in `BOWLINE_DATA_ORDER_DB`: the name in capitals, with `_` for
    /// what a variable's name cannot hold. What is within a database is reached as the database is.
    pub fn variable(&self) -> String {
        crate::data::variable(&self.name)
    }

    /// Whether the other is this, or within it.
    pub fn holds(&self, other: &Self) -> bool {
        let is_within = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.kind == other.kind && other.name.strip_prefix(&self.name).is_some_and(is_within)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// A declared edge of Communication(S) with its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The service called.
    pub target: ServiceName,
    /// Where it is declared.
    pub position: Position,
    /// Whether the caller waits.
    pub mode: CallMode,
    /// Time, failure and choice.
    pub policy: CallPolicy,
    /// Where its `timeout` is, where it says one.
    pub timeout_position: Option<Position>,
    /// What it is called for, of what the target offers; empty: all of that.
    pub operations: Vec<Operation>,
    /// Through which topics its messages pass, where its mode is [`CallMode::Message`].
    pub topics: Vec<Resource>,
}

/// Whether a caller waits for whom it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallMode {
    /// `SyncComm(s₁, s₂, m) = send(s₁, m) · wait(s₁) · receive(s₂, m) · respond(s₂, r) · receive(s₁, r)`.
    #[default]
    Sync,
    /// `AsyncComm(s₁, s₂, m) = send(s₁, m) · continue(s₁) · receive(s₂, m) · process(s₂, m)`.
    Async,
    /// `MessagePassing(s₁, s₂) = queue(m) · deliver(m) · process(m)`.
    Message,
}

impl CallMode {
    /// The modes there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 3] =
        [("sync", Self::Sync), ("async", Self::Async), ("message", Self::Message)];

    /// Its name in `bowline.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Message => "message",
        }
    }
}

impl Call {
    /// A call for all that the target offers, by the default policy.
    pub fn new(target: ServiceName, position: Position) -> Self {
        Self {
            target,
            position,
            mode: CallMode::default(),
            policy: CallPolicy::default(),
            timeout_position: None,
            operations: Vec::new(),
            topics: Vec::new(),
        }
    }
}
