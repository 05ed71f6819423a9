//! The mesh over HTTP: join tokens, certificates, roots, status.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use axum::{
    Extension, Json,
    extract::{State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::IntoResponse,
};
use bowline_config::ConfigManager;
use bowline_identity::Request;
use bowline_mesh::ca::{Authority, Certificate, Error, JOIN_TTL};
use bowline_model::{
    Code, ConfigKey, ServiceName,
    error::chain,
    mesh::{Snapshot, Workload},
};
use bowline_provider_remote::wire;
use bowline_resilience::rate::{Limit, Limiter};
use bowline_runtime::time::{self, Duration};

use crate::{
    access::From as CameFrom,
    actor::{self, Acting},
    api::Shared,
    error::ApiError,
};

/// The largest body of a request for a certificate: whoever sends it need not be known.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 10;
/// The operation by which the audit knows a join token that one call uses and forgets.
pub(crate) const JOIN_FOR_CALL: &str = "POST /v1/mesh/join-tokens (for a call)";
/// The longest that such a token is good.
const FOR_CALL_TTL_MAX: Duration = Duration::from_mins(1);
/// Between two requests for certificates of one address, in the long run.
const REQUEST_EVERY: Duration = Duration::from_millis(20);
/// Requests for certificates of one address at once.
const REQUESTS_AT_ONCE: u32 = 200;
/// The most addresses whose requests are counted.
const ADDRESSES_MAX: usize = 10_000;

/// What a node is told of its mesh.
#[derive(Debug, Clone)]
pub struct MeshSettings {
    /// The system: the trust domain.
    pub system: ServiceName,
    /// Its services: others get neither join tokens nor certificates.
    pub services: BTreeSet<ServiceName>,
    /// How long certificates live.
    pub certificate_ttl: Duration,
    /// The file of the key that the authority's own is sealed by; absent: `ca.key` in the data folder.
    pub ca_key: Option<PathBuf>,
}

/// The mesh of a node.
pub(crate) struct Mesh {
    pub(crate) authority: Arc<Authority>,
    limiter: Limiter,
}

impl Mesh {
    pub(crate) fn new(authority: Arc<Authority>) -> Self {
        let limit = Limit::new(REQUEST_EVERY, REQUESTS_AT_ONCE);
        Self { authority, limiter: Limiter::new(limit, ADDRESSES_MAX) }
    }

    /// Whether somebody from that address may ask for a certificate now.
    fn check_rate(&self, from: Option<IpAddr>) -> Result<(), ApiError> {
        let key = from.map_or([0; 16], |ip| match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            // Whoever has one address of a /64 has all of them.
            IpAddr::V6(ip) => (u128::from(ip) >> 64 << 64).to_be_bytes(),
        });
        let decision = self.limiter.check(&key, time::now());
        if decision.is_allowed {
            return Ok(());
        }
        let detail = "too many requests for certificates from this address: wait a moment";
        Err(ApiError::new(Code::RateLimited, detail).with_retry_after(decision.retry_after))
    }
}

/// Makes a token that lets one workload join the mesh, once.
///
/// The answer is the only one that holds it: what is kept is a hash.
#[utoipa::path(post, path = "/v1/mesh/join-tokens", tag = "mesh", request_body = wire::NewJoinToken,
    responses(
        (status = 201, description = "made; this is the only answer that holds it", body = wire::CreatedJoinToken),
        (status = 400, description = "there are too many that nobody used, or this system has no mesh"),
        (status = 401, description = "no token, or a bad one"), (status = 403, description = "not an administrator's"),
        (status = 422, description = "a field breaks its rule, or the system has no such service")))]
pub(crate) async fn join(
    State(shared): State<Shared>,
    body: Result<Json<wire::NewJoinToken>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(wire::NewJoinToken { workload, ttl, is_for_call }) = body?;
    let ttl = ttl.unwrap_or(JOIN_TTL);
    if is_for_call && ttl > FOR_CALL_TTL_MAX {
        let rule = "is_for_call: one call needs no longer than a minute, write a `ttl` of 1m or less";
        return Err(ApiError::new(Code::InvalidArgument, rule));
    }
    let acting = actor::current();
    let operation = if is_for_call { Some(JOIN_FOR_CALL.to_owned()) } else { acting.operation };
    let made = mesh(&shared)?.authority.new_join(&workload, ttl);
    let token = actor::scope(Acting { operation, ..acting }, made).await.map_err(|error| of(&error))?;
    let created = wire::CreatedJoinToken { workload, token, ttl };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(created)))
}

/// Issues a certificate to a workload that proves who it is: by a join token, or by its present one.
///
/// No credential beside the proof is needed. Each address may ask 50 times a second.
#[utoipa::path(post, path = "/v1/mesh/certificates", tag = "mesh", request_body = wire::CertificateRequest,
    responses(
        (status = 200, body = wire::IssuedCertificate),
        (status = 400, description = "the certificate request cannot be read, or is not signed by its key; or this system has no mesh"),
        (status = 401, description = "the proof is not good: the token is unknown, used or expired, the certificate is another authority's, expired or another workload's"),
        (status = 403, description = "the system has no such service, or not any more"),
        (status = 429, description = "too many requests from this address")))]
pub(crate) async fn issue(
    State(shared): State<Shared>,
    from: Option<Extension<CameFrom>>,
    body: Result<Json<wire::CertificateRequest>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let mesh = mesh(&shared)?;
    let peer = from.and_then(|Extension(CameFrom(peer))| peer);
    mesh.check_rate(peer.map(|peer| peer.ip()))?;
    let Json(request) = body?;
    let request: Request = request.into_request().map_err(|rule| ApiError::new(Code::Unprocessable, rule))?;
    let issued = mesh.authority.issue(request).await.map_err(|error| of(&error))?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(wire::IssuedCertificate::from(issued))))
}

/// The roots that the workloads of this system believe.
#[utoipa::path(get, path = "/v1/mesh/roots", tag = "mesh",
    responses((status = 200, body = wire::MeshRoots), (status = 400, description = "this system has no mesh")))]
pub(crate) async fn roots(State(shared): State<Shared>) -> Result<Json<wire::MeshRoots>, ApiError> {
    let authority = &mesh(&shared)?.authority;
    let roots = wire::ders(authority.roots());
    Ok(Json(wire::MeshRoots { system: authority.system().clone(), roots }))
}

/// Who acts by which snapshot, and whose certificates are good.
#[utoipa::path(get, path = "/v1/mesh/status", tag = "mesh",
    responses((status = 200, body = wire::MeshStatus), (status = 400, description = "this system has no mesh")))]
pub(crate) async fn status(State(shared): State<Shared>) -> Result<Json<wire::MeshStatus>, ApiError> {
    let authority = &mesh(&shared)?.authority;
    let mut workloads = snapshots(&*shared.config).await?;
    for (workload, certificates) in authority.certificates().await.map_err(|error| of(&error))? {
        let about = workloads.entry(workload.clone()).or_insert_with(|| unknown(workload));
        about.certificates = certificates.len();
        about.expires_unix_ms = certificates.iter().map(|Certificate { expires_unix_ms, .. }| *expires_unix_ms).min();
    }
    let workloads = workloads.into_values().collect();
    Ok(Json(wire::MeshStatus { system: authority.system().clone(), workloads }))
}

/// What each workload's snapshot is, and who acts by it.
async fn snapshots(config: &dyn ConfigManager) -> Result<BTreeMap<Workload, wire::MeshWorkload>, ApiError> {
    let mut workloads = BTreeMap::new();
    for namespace in ConfigKey::SNAPSHOT_NAMESPACES {
        for summary in config.list(Some(namespace)).await? {
            let Some(workload) = summary.key.workload() else { continue };
            let status = config.status(&summary.key).await?;
            let current = config.get_config(&summary.key).await?;
            let about = wire::MeshWorkload {
                version: status.current.as_ref().map(|version| version.number),
                published_unix_ms: status.current.as_ref().map(|version| version.at_unix_ms),
                demands: current.and_then(|version| version.document.read::<Snapshot>().ok()?.demands()),
                instances: status.instances,
                ..unknown(workload.clone())
            };
            workloads.insert(workload, about);
        }
    }
    Ok(workloads)
}

fn unknown(workload: Workload) -> wire::MeshWorkload {
    wire::MeshWorkload {
        workload,
        version: None,
        published_unix_ms: None,
        demands: None,
        instances: Vec::new(),
        certificates: 0,
        expires_unix_ms: None,
    }
}

fn mesh(shared: &Shared) -> Result<&Mesh, ApiError> {
    shared.mesh.as_deref().ok_or_else(|| {
        let detail = "this system has no mesh: add the table [mesh] to its bowline.toml, and start it anew";
        ApiError::new(Code::FailedPrecondition, detail)
    })
}

fn of(error: &Error) -> ApiError {
    match error {
        Error::Refused { code, detail } => {
            tracing::debug!(%code, error = chain(error), "certificate or join token was refused");
            ApiError::new(*code, detail)
        }
        error => ApiError::of(error.code(), error),
    }
}
