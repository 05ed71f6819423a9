//! Where a key set comes from: a URL, a service of the system, a file.

use std::{fmt, io, path::Path, sync::Arc};

use bowline_model::{Health, Instance, ServiceName, gateway::JwtKeys, instance::METADATA_SUPERVISED};
use bowline_runtime::{rand, task, time};
use bowline_transport::{Body, PoolSettings, SharedPool, send};
use bowline_upstream::Security;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::watch;

use super::{
    fetch::{FETCH_MAX, FetchError, Url},
    secret::read_file,
};
use crate::{error::PolicyError, policies::Means};

/// The largest key set, in bytes.
pub(super) const KEY_SET_BYTES_MAX: usize = 64 * 1024;

/// Where a key set comes from.
pub(crate) enum Source {
    Url(Url),
    Service {
        service: ServiceName,
        path: Uri,
        instances: watch::Receiver<Arc<[Instance]>>,
        /// Whether an instance was seen that a supervisor runs: from then on only such are believed. Others
        /// may register themselves, and whoever serves the keys can sign for everybody.
        is_supervised: bool,
        pool: SharedPool,
        /// Which instances are asked under TLS.
        security: watch::Receiver<Security>,
    },
    File(String),
}

/// Why a key set could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the key set cannot be fetched")]
    Url(#[from] FetchError),
    #[error("no instance of {0} is registered that could be asked for its keys")]
    NoInstance(ServiceName),
    #[error("{service} cannot be asked for its keys at {address}")]
    Service {
        service: ServiceName,
        address: String,
        #[source]
        source: bowline_transport::Error,
    },
    #[error("{service} answers with {status}, not with 200, to who asks for its keys")]
    Status { service: ServiceName, status: u16 },
    #[error("the key set of {service} has more than {KEY_SET_BYTES_MAX} bytes, or broke off")]
    Body {
        service: ServiceName,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{0} did not give its keys in {FETCH_MAX:?}")]
    Timeout(ServiceName),
    #[error("the file `{path}` cannot be read")]
    File {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Source {
    /// The source of such keys; `None` where they are no set.
    pub(crate) fn new(keys: &JwtKeys, means: &Means) -> Result<Option<Self>, PolicyError> {
        Ok(Some(match keys {
            JwtKeys::Url(url) => Self::Url(Url::parse(url).ok_or_else(|| PolicyError::Url { url: url.clone() })?),
            JwtKeys::Service { service, path } => Self::Service {
                service: service.clone(),
                path: path.parse().map_err(|_| PolicyError::Url { url: path.clone() })?,
                instances: means.discovery.instances(service),
                is_supervised: false,
                pool: SharedPool::new(PoolSettings {
                    connect_timeout: FETCH_MAX,
                    tls: means.tls.clone(),
                    ..PoolSettings::default()
                }),
                security: means.security.subscribe(),
            },
            JwtKeys::File(path) => Self::File(path.clone()),
            JwtKeys::Secret(_) => return Ok(None),
        }))
    }

    /// Gets the set.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn get(&mut self) -> Result<Bytes, SourceError> {
        match self {
            Self::Url(url) => Ok(url.fetch(KEY_SET_BYTES_MAX).await?),
            Self::Service { service, path, instances, is_supervised, pool, security } => {
                let security = *security.borrow_and_update();
                let known = Arc::clone(&instances.borrow_and_update());
                *is_supervised |= known.iter().any(is_run_by_supervisor);
                let may_be_asked = |instance: &&Instance| !*is_supervised || is_run_by_supervisor(instance);
                let known: Vec<&Instance> = known.iter().filter(may_be_asked).collect();
                let asking = ask(service, path, &known, security, pool);
                time::timeout(FETCH_MAX, asking).await.map_err(|_| SourceError::Timeout(service.clone()))?
            }
            Self::File(path) => {
                let name = path.clone();
                let reading = task::spawn_blocking(move || read_file(Path::new(&name), KEY_SET_BYTES_MAX));
                let read = reading.await.map_err(io::Error::other).flatten();
                Ok(read.map_err(|source| SourceError::File { path: path.clone(), source })?.into())
            }
        }
    }

    /// Ends when there may be more to get than before.
    ///
    /// # Cancel safety
    /// Nothing is missed.
    pub(super) async fn changed(&mut self) {
        let Self::Service { instances, security, .. } = self else { return std::future::pending().await };
        let is_known = tokio::select! {
            changed = instances.changed() => changed.is_ok(),
            changed = security.changed() => changed.is_ok(),
        };
        if !is_known {
            std::future::pending::<()>().await;
        }
    }
}

fn is_run_by_supervisor(instance: &Instance) -> bool {
    instance.metadata.contains_key(METADATA_SUPERVISED)
}

/// Asks one of the instances, a healthy one where there is one.
async fn ask(
    service: &ServiceName,
    path: &Uri,
    known: &[&Instance],
    security: Security,
    pool: &SharedPool,
) -> Result<Bytes, SourceError> {
    let of = |health| known.iter().copied().filter(|instance| instance.health == health).collect::<Vec<_>>();
    let mut candidates = of(Health::Healthy);
    if candidates.is_empty() {
        candidates = of(Health::Unhealthy);
    }
    let chosen = candidates.get(rand::below(candidates.len())).copied();
    let instance = chosen.ok_or_else(|| SourceError::NoInstance(service.clone()))?;
    let endpoint = security.endpoint(service, instance);
    let mut request = Request::new(Body::empty());
    request.uri_mut().clone_from(path);
    request.headers_mut().insert(header::ACCEPT, http::HeaderValue::from_static("application/json"));
    let answered = send(pool, &endpoint, request).await;
    let response = answered.map_err(|source| SourceError::Service {
        service: service.clone(),
        address: endpoint.to_string(),
        source,
    })?;
    if response.status() != http::StatusCode::OK {
        return Err(SourceError::Status { service: service.clone(), status: response.status().as_u16() });
    }
    let body = Limited::new(response.into_body(), KEY_SET_BYTES_MAX).collect().await;
    Ok(body.map_err(|source| SourceError::Body { service: service.clone(), source })?.to_bytes())
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.to_string()).finish()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Service { service, path, .. } => write!(f, "{service}{path}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}
