//! The wire types of the API: what stands in requests and answers, apart from the domain's types.

mod access;
mod alerts;
mod breakers;
mod caches;
mod changes;
mod config;
mod deploy;
mod events;
mod explain;
mod graph;
mod health;
mod logs;
mod mesh;
mod messages;
mod observed;
pub(crate) mod prometheus;
mod sagas;
mod session;
mod system;

use std::{collections::BTreeMap, time::Duration};

use bowline_model::{Address, Health, Instance, InstanceId, Protocol, ServiceName, units};
use bowline_registry::HistoryId;
use bowline_telemetry::SpanData;
use serde::{Deserialize, Serialize};

pub use access::{
    AuditActor, AuditChange, AuditClass, AuditEntry, AuditList, ChangeKind, CreatedToken, NewToken, Role, Token,
    TokenList,
};
pub use alerts::{
    ActiveAlert, AlertHistory, AlertList, AlertTransition, NewSilence, Notification, NotificationList, ReceiverAnswer,
    RuleGroup, RuleList, RuleStanding, ScrapeTarget, ScrapeTargetList, SilenceList, StandingSilence,
};
pub use breakers::{BreakerList, BreakersQuery, HeldBreakers, MissingHolder};
pub use caches::{
    CacheList, CachesQuery, InstanceCache, LEFT_HEADER, MARKS_HEADER, OwnCaches, SharedInvalidation, SharedMarks,
    SharedOutcome, TICKET_HEADER,
};
pub use changes::{ChangeList, SystemChange, SystemChangeKind};
pub use config::{
    ConfigAck, ConfigCheck, ConfigEvent, ConfigHistory, ConfigList, NO_SCHEMA, Publication, Rollback, Verdict,
    decode_config_error, encode_config_error, schema_tag,
};
pub use deploy::{
    Deployment, DeploymentFigures, DeploymentList, DeploymentTransition, NewDeployment, ServiceDeployments,
};
pub use events::{ChangedEvent, EventKind, HelloEvent};
pub use explain::{ExplainRequest, ExplainedAuth, ExplainedBackend, ExplainedInstance, ExplainedLimit, Explanation};
pub use graph::{GraphEdge, GraphFailure, GraphFigures, GraphOperation, GraphService, ServiceGraph};
pub use health::{
    HealthList, HealthProbe, HealthState, HealthTransition, InstanceHealth, OwnHealth, RolledHealth, ServiceHealth,
    ServiceHealthDetail,
};
pub use logs::{LogLine, LogList, LogStream, LogsQuery};
pub use mesh::{
    CHAIN_MAX, CertificateProof, CertificateRequest, CreatedJoinToken, DER_BYTES_MAX, Der, IssuedCertificate,
    MeshRoots, MeshStatus, MeshWorkload, NewJoinToken, ders,
};
pub use messages::{
    AddressedMessage, DeadCount, DeadMessage, DeadPage, DeadSelection, DeliveryAnswer, DeliveryAnswers,
    DeliveryOutcomes, GroupStart, KeptMessage, MessageFault, MessagePage, NewSubscription, NextTry, PublishAnswer,
    PublishAnswers, PublishBatch, PublishedMessage, Seek, StoredMessage, SubscriptionEvent, Topic, TopicDeclaration,
    TopicEnds, TopicGroup, TopicList, WhichDead, decode_message_error, encode_message_error,
};
pub use observed::Observed;
pub use prometheus::{MatrixSeries, Point, QueryValue, VectorSeries};
pub use sagas::{Saga, SagaEvent, SagaList, SagaRetried, SagasQuery};
pub use session::{NewSession, OpenedSession, Session, SessionBy};
pub use system::{DeclaredBoundary, DeclaredCall, DeclaredRoute, DeclaredService, DeclaredSystem};

/// `PUT /v1/instances/{id}`: an instance as its owner describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The service it is a copy of.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "order"))]
    pub service: ServiceName,
    /// Where it is reached: `IP:PORT` or `unix:/PATH`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "127.0.0.1:9000"))]
    pub address: Address,
    /// `http1` (the default), `http2` with prior knowledge, or `both`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub protocol: Protocol,
    /// Its share of the traffic, 1 to 1000; 100 where absent.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// The release it runs.
    #[serde(default)]
    pub version: String,
    /// The failure domain it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// `healthy` (the default), `unhealthy` or `draining`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub health: Health,
    /// Whatever should be known of it; at most 64 pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How long it stays without a heartbeat, `"1s"` to `"1h"`; absent: until deregistered.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "10s"))]
    pub ttl: Option<Duration>,
}

fn default_weight() -> u32 {
    100
}

impl Registration {
    /// The description of an instance.
    pub fn of(instance: Instance, ttl: Option<Duration>) -> (InstanceId, Self) {
        let Instance { id, service, address, protocol, weight, version, zone, health, metadata } = instance;
        (id, Self { service, address, protocol, weight, version, zone, health, metadata, ttl })
    }

    /// The instance of that id, and the lease it asks for.
    pub fn into_instance(self, id: InstanceId) -> (Instance, Option<Duration>) {
        let Self { service, address, protocol, weight, version, zone, health, metadata, ttl } = self;
        (Instance { id, service, address, protocol, weight, version, zone, health, metadata }, ttl)
    }
}

/// The answer to a registration or a deregistration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    /// The revision from which on a watcher sees it.
    pub revision: u64,
}

/// `GET /v1/instances`: instances at a revision, sorted by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceList {
    /// Watch from here to miss nothing.
    pub revision: u64,
    /// The history the revision is of: a store that was made anew has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
    /// The instances.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub instances: Vec<Instance>,
    /// Whether some were left off: ask again with `after`, the last one's id. A page ends at the
    /// query's limit, or earlier at 8 MiB.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// `GET /v1/services`: every service that has an instance, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceList {
    /// The services.
    pub services: Vec<Service>,
}

/// One service with its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Service {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ServiceName,
    /// Instances registered.
    pub instances: usize,
    /// Of these, the healthy ones.
    pub healthy: usize,
}

/// One line of `GET /v1/instances?watch=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WatchEvent {
    /// An instance came or changed.
    Put {
        /// Resume from here.
        revision: u64,
        /// The instance as it is now.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        instance: Instance,
    },
    /// An instance went: deregistered or expired.
    Delete {
        /// Resume from here.
        revision: u64,
        /// Its id.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        id: InstanceId,
        /// What it was a copy of.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        service: ServiceName,
    },
    /// Nothing happened. The first line of every watch, and sent now and then so that a dead
    /// connection is noticed.
    Bookmark {
        /// Resume from here.
        revision: u64,
        /// The history the revision is of. Who resumes gives it, or compares it with the one before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        history: Option<String>,
    },
    /// The watch ends with an error.
    Error {
        /// Its code; `out_of_range`: list anew.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        code: bowline_model::Code,
        /// What happened.
        detail: String,
    },
}

/// A history's name on the wire: 16 hexadecimal digits.
pub fn encode_history(history: HistoryId) -> String {
    history.to_string()
}

/// The history of that name.
pub fn decode_history(text: &str) -> Option<HistoryId> {
    let is_name = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_name.then(|| text.parse().ok()).flatten()
}

/// `POST /v1/heartbeats`: many at once, at most 10,000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeartbeatBatch {
    /// Whose leases to renew.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, max_items = 10_000))]
    pub ids: Vec<InstanceId>,
}

/// The answer to [`HeartbeatBatch`], in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatAnswers {
    /// One for each id.
    pub answers: Vec<Heartbeat>,
}

/// What became of one heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heartbeat {
    /// Whose.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: InstanceId,
    /// Whether it is registered; if not, register again.
    pub known: bool,
    /// The lease's new length; absent where there is no lease.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ttl: Option<Duration>,
}

/// `POST /v1/spans`: ended spans, at most 10,000.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SpanBatch {
    /// The spans.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>, max_items = 10_000))]
    pub spans: Vec<SpanData>,
}

/// `GET /v1/traces`: what a search found, newest or slowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TraceList {
    /// The traces.
    pub traces: Vec<TraceSummary>,
    /// Whether the search ended at its bound of work: not all traces were looked at: of the newest the older are left out, of the slowest some may be.
    #[serde(default)]
    pub is_cut: bool,
    /// The `cursor` that goes on behind the last of them; absent where there is nothing older, and of the slowest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// From when on every trace that began is kept, in nanoseconds since 1970; 0 where none was deleted so far.
    #[serde(default)]
    pub kept_since_unix_nanos: u64,
}

/// One trace in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TraceSummary {
    /// Its id, 32 hexadecimal digits.
    pub trace_id: String,
    /// The service its first span is from.
    pub service: String,
    /// The name of its first span.
    pub name: String,
    /// How its first span ended, and with it the request as a whole: `ok`, `error`, or `unset`.
    #[serde(default)]
    pub status: String,
    /// Whether its first span has no parent: if it has one, the span that it began with has not come, or is kept elsewhere.
    #[serde(default)]
    pub has_root: bool,
    /// When it began, in nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// From its first begin to its last end, in nanoseconds.
    pub duration_nanos: u64,
    /// How many spans are kept of it.
    pub span_count: usize,
    /// Every service that took part, sorted.
    pub services: Vec<String>,
    /// Whether a span of it failed; the request as a whole may have been answered nevertheless (`status`).
    pub has_error: bool,
}

/// `GET /v1/traces/{id}`: a trace with its spans, sorted by begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trace {
    /// Its id, 32 hexadecimal digits.
    pub trace_id: String,
    /// The spans.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub spans: Vec<SpanData>,
}

/// `GET /v1/server`: who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerInfo {
    /// The release of Bowline.
    pub version: String,
    /// The name of its system; absent where it knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Where its state lives; told only where the API listens on a loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
    /// Its process.
    pub pid: u32,
    /// The store's revision now.
    pub revision: u64,
    /// With `nonce`: HMAC-SHA-256 in hexadecimal digits, over the nonce and the address the API listens
    /// on, under the SHA-256 of the root token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}
