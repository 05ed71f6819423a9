//! What would become of a request at the gateway, on the wire.

use bowline_model::{mesh::MeshDemands, policy::CallPolicy};
use serde::{Deserialize, Serialize};

/// `POST /v1/explain`: a request that is asked about, and not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Its method.
    #[cfg_attr(feature = "openapi", schema(example = "GET"))]
    pub method: String,
    /// Its URL.
    #[cfg_attr(feature = "openapi", schema(example = "http://shop.localhost/orders/1"))]
    pub url: String,
    /// Its headers, name and value each; at most 100. They are not kept or logged.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<String>>))]
    pub headers: Vec<(String, String)>,
    /// The address it would come from, which limits by address count; absent: this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// What would become of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The route it takes; null where no route has it.
    pub route: Option<String>,
    /// The service it goes to: of several, the one with the greatest weight.
    pub service: Option<String>,
    /// What the gateway answers itself; null: the service answers.
    pub status: Option<u16>,
    /// Why, as in `x-bowline-reason`; null where the service answers, or a preflight is answered.
    pub reason: Option<String>,
    /// The same for people.
    pub detail: Option<String>,
    /// Whether it is a preflight of the CORS protocol that the route answers.
    pub is_preflight: bool,
    /// How the listener tells who calls, before routes are looked at; null: it does not ask.
    pub listener_auth: Option<ExplainedAuth>,
    /// How often the listener may be asked; null: without limit.
    pub listener_limit: Option<ExplainedLimit>,
    /// How the route tells who calls; null: it does not ask.
    pub auth: Option<ExplainedAuth>,
    /// How often the route may be asked; null: without limit.
    pub limit: Option<ExplainedLimit>,
    /// What is done to the request and its answer, in the order that the request passes.
    pub middleware: Vec<String>,
    /// The largest body, in bytes.
    pub body_max: Option<u64>,
    /// Timeout, retry, breaker and balance.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub policy: Option<CallPolicy>,
    /// What the sidecars of the mesh demand of whoever calls: `mode` and `authorization`; absent: there is no mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub mesh: Option<MeshDemands>,
    /// Where it may go.
    pub backends: Vec<ExplainedBackend>,
}

/// How somebody is told, and who this one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainedAuth {
    /// The provider's name.
    pub provider: String,
    /// `jwt` or `api_key`.
    pub kind: String,
    /// Who it is; null where that is not known.
    pub subject: Option<String>,
    /// Why this one is refused.
    pub refused: Option<String>,
}

/// A limit, and what this caller has left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainedLimit {
    /// `address`, `subject` or `header:NAME`.
    pub by: String,
    /// How many in the long run: `100/s`; null of a limit by a window.
    pub rate: Option<String>,
    /// How many at once; null of a limit by a window.
    pub burst: Option<u32>,
    /// How many in any window of time: `100 in 1m`; null of a limit by a pace.
    #[serde(default)]
    pub window: Option<String>,
    /// How many this caller may ask now, this one included; null where it does not come so far.
    pub remaining: Option<u32>,
    /// Until this one would be let through, in milliseconds; null where it is.
    pub retry_after_ms: Option<u64>,
}

/// A backend, and who serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainedBackend {
    /// The service.
    pub service: String,
    /// Its share beside the other backends.
    pub weight: u32,
    /// Its instances, as the gateway knows them.
    pub instances: Vec<ExplainedInstance>,
}

/// An instance, and what the gateway knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainedInstance {
    /// Its id.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// `healthy`, `unhealthy` or `draining`.
    pub health: String,
    /// `closed`, `open` or `half_open`; null where the route has no breaker.
    pub breaker: Option<String>,
    /// Requests in flight from the gateway.
    pub in_flight: u64,
    /// Why it is left out for a while: `consecutive`, `failure_rate`, `success_rate`; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected: Option<String>,
    /// Whether the request may go there.
    pub is_candidate: bool,
}
