//! Breakers of all who call: each process has its own, so every instance is asked, and the gateway of this process.

use std::{
    collections::BTreeMap,
    fmt,
    pin::pin,
    sync::{Arc, OnceLock},
};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use bowline_config::{Acknowledged, ConfigManager};
use bowline_model::{
    Code, ConfigKey, Instance, InstanceId, ServiceName,
    mesh::{BREAKERS_PATH, CallBreakers, OwnBreakers, Workload},
};
use bowline_provider_remote::wire::{self, BreakersQuery, HeldBreakers, MissingHolder};
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
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// For how long they are asked: whoever asked for all of them waits for a little longer.
const ASKED_FOR: Duration = Duration::from_secs(8);

/// What tells of the breakers of a gateway in this process.
#[derive(Clone)]
pub struct GatewayBreakers {
    instance: InstanceId,
    tell: Arc<dyn Fn() -> OwnBreakers + Send + Sync>,
}

impl GatewayBreakers {
    /// A gateway of that id, of whose breakers a function tells.
    pub fn new(instance: InstanceId, tell: impl Fn() -> OwnBreakers + Send + Sync + 'static) -> Self {
        Self { instance, tell: Arc::new(tell) }
    }
}

impl fmt::Debug for GatewayBreakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayBreakers").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// The gateway, once there is one.
pub(crate) type Slot = Arc<OnceLock<GatewayBreakers>>;

/// What an instance of whatever release answers.
#[derive(Deserialize)]
struct Said {
    calls: serde_json::Value,
}

/// Breakers of all who hold some: services, their sidecars where these make their calls, and the gateway.
///
/// At most 256 instances are asked, for 8 s in all; those that do not answer are named, and so are gateways in
/// processes of their own, which nobody can ask.
#[utoipa::path(get, path = "/v1/breakers", tag = "breakers", params(BreakersQuery),
    responses((status = 200, body = wire::BreakerList), (status = 400, description = "a parameter cannot be read"),
        (status = 503, description = "this Bowline asks no instances")))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    query: Result<Query<BreakersQuery>, QueryRejection>,
) -> Result<Json<wire::BreakerList>, ApiError> {
    let Query(BreakersQuery { caller, callee }) = query?;
    let [caller, callee] = [caller, callee].map(|name| name.as_deref().map(ServiceName::new).transpose());
    let (caller, callee) = (caller?, callee?);
    let gateway = gateway_name();
    let mut list = wire::BreakerList::default();
    if caller.as_ref().is_none_or(|caller| *caller == gateway) {
        of_gateways(&shared, &gateway, &mut list).await?;
    }
    if caller.as_ref() != Some(&gateway) {
        of_instances(&shared, caller, &mut list).await?;
    }
    if let Some(callee) = callee {
        list.calls.retain(|call| call.callee == callee);
    }
    let place =
        |call: &HeldBreakers| (call.caller.clone(), call.route.clone(), call.callee.clone(), call.holder.clone());
    list.calls.sort_by_cached_key(place);
    list.missing.sort();
    Ok(Json(list))
}

fn gateway_name() -> ServiceName {
    ServiceName::new("gateway").expect("it is a name")
}

/// Those of the gateway here; others are named.
async fn of_gateways(shared: &Shared, name: &ServiceName, list: &mut wire::BreakerList) -> Result<(), ApiError> {
    let here = shared.gateway_breakers.get();
    if let Some(GatewayBreakers { instance, tell }) = here {
        take(list, name, instance, tell().calls);
    }
    for (holder, told) in gateways(&*shared.config).await? {
        if here.is_none_or(|here| here.instance != holder) {
            let why = format!("a gateway in a process of its own cannot be asked; it said last that it acts by {told}");
            list.missing.push(MissingHolder { caller: name.clone(), holder, why });
        }
    }
    Ok(())
}

/// The gateways that say what they act by: of routes, and of how calls are steered, where that was ever published.
async fn gateways(config: &dyn ConfigManager) -> Result<BTreeMap<InstanceId, String>, ApiError> {
    let mut gateways = BTreeMap::new();
    for key in [ConfigKey::routes(), ConfigKey::snapshot(&Workload::Gateway)] {
        for Acknowledged { ack, .. } in config.status(&key).await?.instances {
            gateways.insert(ack.instance, format!("version {} of {key}", ack.version));
        }
    }
    Ok(gateways)
}

/// Those of the instances of a service, or of all services.
async fn of_instances(
    shared: &Shared,
    service: Option<ServiceName>,
    list: &mut wire::BreakerList,
) -> Result<(), ApiError> {
    let Some(asking) = shared.asking.get() else {
        return Err(ApiError::new(Code::Unavailable, "this Bowline asks no instances"));
    };
    let found: Vec<Instance> = instances(&*shared.registry, service).await?.into_values().flatten().collect();
    let not_asked = format!("it was not asked: at most {ASKED_MAX} are, and for {} s", ASKED_FOR.as_secs());
    let mut missing: BTreeMap<InstanceId, MissingHolder> = BTreeMap::new();
    for Instance { id, service, .. } in &found {
        let why = not_asked.clone();
        missing.insert(id.clone(), MissingHolder { caller: service.clone(), holder: id.clone(), why });
    }
    let asked = found.into_iter().take(ASKED_MAX).map(|instance| async move {
        (ask::<Said>(asking, &instance, &Method::GET, BREAKERS_PATH, ANSWER_BYTES_MAX).await, instance)
    });
    let asked = stream::iter(asked).buffer_unordered(AT_ONCE).take_until(time::sleep(ASKED_FOR));
    let mut asked = pin!(asked);
    while let Some((asked, Instance { id, service, .. })) = asked.next().await {
        match read(asked) {
            Ok(calls) => {
                missing.remove(&id);
                take(list, &service, &id, calls);
            }
            Err(why) => _ = missing.get_mut(&id).map(|missing| missing.why = why),
        }
    }
    list.missing.extend(missing.into_values());
    Ok(())
}

/// What an instance tells; nothing where it is not ours, or of a release that does not tell.
fn read(asked: Asked<Said>) -> Result<Vec<CallBreakers>, String> {
    match asked {
        Asked::Answer(Said { calls }) => {
            serde_json::from_value(calls).map_err(|error| format!("its answer cannot be read: {error}"))
        }
        Asked::None | Asked::Foreign(_) => Ok(Vec::new()),
        Asked::Refused(problem) => Err(problem.detail),
        Asked::Failed(why) => Err(why),
    }
}

fn take(list: &mut wire::BreakerList, caller: &ServiceName, holder: &InstanceId, calls: Vec<CallBreakers>) {
    let held = |told| HeldBreakers::new(caller.clone(), holder.clone(), told);
    list.calls.extend(calls.into_iter().map(held));
}
