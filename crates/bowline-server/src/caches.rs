//! Caches of all services: each process has its own, so every instance is asked.

use std::{collections::BTreeSet, pin::pin};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use bowline_cache::Status;
use bowline_model::{Code, Instance, InstanceId, ServiceName};
use bowline_provider_remote::wire;
use bowline_runtime::time::{self, Duration};
use futures_util::{StreamExt as _, stream};
use http::Method;
use serde::Deserialize;

use crate::{
    api::Shared,
    ask::{Asked, ask, instances},
    error::ApiError,
};

/// How many instances are asked at most.
const ASKED_MAX: usize = 256;
/// How many are asked at once.
const AT_ONCE: usize = 64;
/// The most bytes of an answer: a process has few caches.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// For how long they are asked: whoever asked for all of them waits for a little longer.
const ASKED_FOR: Duration = Duration::from_secs(8);

/// What an instance of whatever release answers.
#[derive(Deserialize)]
struct Said {
    caches: serde_json::Value,
}

/// Caches of all services, or of one, as each instance has them.
///
/// At most 256 instances are asked, for 8 s in all; those that do not answer are named.
#[utoipa::path(get, path = "/v1/caches", tag = "caches", params(wire::CachesQuery),
    responses((status = 200, body = wire::CacheList), (status = 400, description = "a parameter cannot be read"),
        (status = 503, description = "this Bowline asks no instances")))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    query: Result<Query<wire::CachesQuery>, QueryRejection>,
) -> Result<Json<wire::CacheList>, ApiError> {
    let Query(wire::CachesQuery { service }) = query?;
    let wanted = service.as_deref().map(ServiceName::new).transpose()?;
    let Some(asking) = shared.asking.get() else {
        return Err(ApiError::new(Code::Unavailable, "this Bowline asks no instances"));
    };
    let found: Vec<Instance> = instances(&*shared.registry, wanted).await?.into_values().flatten().collect();
    let mut list = wire::CacheList { caches: Vec::new(), missing: Vec::new() };
    let mut missing: BTreeSet<InstanceId> = found.iter().map(|instance| instance.id.clone()).collect();
    let asked = found.into_iter().take(ASKED_MAX).map(|instance| async move {
        let target = "/-/bowline/caches";
        (ask::<Said>(asking, &instance, &Method::GET, target, ANSWER_BYTES_MAX).await, instance)
    });
    let asked = stream::iter(asked).buffer_unordered(AT_ONCE).take_until(time::sleep(ASKED_FOR));
    let mut asked = pin!(asked);
    while let Some((asked, Instance { id, service, .. })) = asked.next().await {
        let why = match asked {
            Asked::Answer(Said { caches }) => match serde_json::from_value::<Vec<Status>>(caches) {
                Ok(caches) => {
                    let of_it = |status| wire::InstanceCache { service: service.clone(), instance: id.clone(), status };
                    list.caches.extend(caches.into_iter().map(of_it));
                    None
                }
                Err(error) => Some(format!("its answer cannot be read: {error}")),
            },
            // A service that is not ours, or of a release that had no caches.
            Asked::None | Asked::Foreign(_) => None,
            Asked::Refused(problem) => Some(problem.detail),
            Asked::Failed(why) => Some(why),
        };
        match why {
            None => _ = missing.remove(&id),
            Some(why) => tracing::info!(instance = %id, why, "an instance did not say what caches it has"),
        }
    }
    list.missing.extend(missing);
    let place =
        |cache: &wire::InstanceCache| (cache.service.clone(), cache.instance.clone(), cache.status.cache.clone());
    list.caches.sort_by_key(place);
    Ok(Json(list))
}
