//! A whole system as declared: `Microservices(S) = ⟨Services(S), Communication(S), Deployment(S)⟩`.
//!
//! | the formula | the type | in `bowline.toml` |
//! |---|---|---|
//! | `Services(S)` | [`System::services`] | `[service.X]` |
//! | `Communication(S)` | the union of [`Service::calls`] | `[service.X.calls.Y]` |
//! | `SyncComm(s₁, s₂, m)` | a [`Call`] from s₁ to s₂; its messages are requests | `mode = "sync"` |
//! | `Boundary(s) = ⟨API(s), Data(s), State(s)⟩` | [`Boundary`] | `[service.X.boundary]` |
//! | `Isolation(s₁, s₂) = Boundary(s₁) ∩ Boundary(s₂) = ∅` | checked by [`mod@crate::parse`] | – |
//! | `Deployment(S)` | not built yet | `[deploy.X]` |

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    gateway::RouteTable,
    name::{ConfigKey, ServiceName},
    policy::CallPolicy,
    problem::Position,
};

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
    /// Documents of configuration that are published with it.
    pub configs: Vec<ConfigDeclaration>,
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
}

impl Default for Check {
    /// `/readyz`, every 2 s, within 500 ms.
    fn default() -> Self {
        Self { http: "/readyz".to_owned(), every: Duration::from_secs(2), timeout: Duration::from_millis(500) }
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

/// A system-wide name of something owned, `kind:name`.
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
    /// what a variable's name cannot hold.
    pub fn variable(&self) -> String {
        crate::data::variable(&self.name)
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
    /// Time, failure and choice.
    pub policy: CallPolicy,
}
