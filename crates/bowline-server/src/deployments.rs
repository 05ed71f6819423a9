//! Rollouts over HTTP: how they stand, new ones, and orders to those under way.

mod next;
mod view;

use std::sync::{Arc, OnceLock};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::IntoResponse,
};
use bowline_deploy::{Action, Begin, Deployer, Error};
use bowline_model::{
    Code, ServiceName, System,
    deploy::{Condition, Plan, Release},
    system::Service,
};
use bowline_provider_remote::wire;
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

/// What rolls releases out, and what the file says of services.
pub(crate) struct Deployments {
    deployer: Deployer,
    system: System,
}

/// There once the services of this process run.
pub(crate) type Slot = Arc<OnceLock<Deployments>>;

impl Deployments {
    pub(crate) fn new(deployer: Deployer, system: &System) -> Self {
        Self { deployer, system: system.clone() }
    }

    /// Every rollout that is kept, those under way among them.
    pub(crate) async fn rollouts(&self) -> Result<Vec<wire::Deployment>, ApiError> {
        let mut all = Vec::new();
        for status in self.deployer.list() {
            all.extend(self.deployer.history(&status.rollout.service).await?.iter().map(view::of_rollout));
            if status.rollout.is_live() {
                all.push(view::of_status(status));
            }
        }
        Ok(all)
    }

    /// A number that changes whenever something of a rollout may have.
    pub(crate) fn changes(&self) -> u64 {
        *self.deployer.watch().borrow()
    }

    fn declared(&self, service: &ServiceName) -> Result<&Service, ApiError> {
        let unknown = || ApiError::new(Code::NotFound, format!("the system has no service `{service}`"));
        self.system.service(service.as_str()).ok_or_else(unknown)
    }

    /// The name of the release in force.
    fn version(&self, declared: &Service) -> String {
        self.deployer.current(&declared.name).map_or_else(|| declared.version.clone(), |release| release.version)
    }

    /// What is to be begun.
    async fn begin(&self, service: ServiceName, new: wire::NewDeployment) -> Result<Begin, ApiError> {
        let declared = self.declared(&service)?;
        let plan = if new.is_as_declared() { None } else { Some(plan(&self.system.plan(&service), &new)?) };
        let wire::NewDeployment { version, build, run, env, replicas, .. } = new;
        let version = match version {
            Some(version) => version,
            None => self.next_version(declared).await?,
        };
        let release = Release { version, build, run, env };
        check_said(declared, &release)?;
        Ok(Begin { service, release, plan, replicas })
    }

    /// The name that follows that of the release in force, and that none of the rollouts that are kept was of.
    async fn next_version(&self, declared: &Service) -> Result<String, ApiError> {
        let had = self.deployer.history(&declared.name).await?;
        let had = had.iter().flat_map(|rollout| [&rollout.from.version, &rollout.to.version]);
        let taken = versions(declared).chain(had).cloned().collect();
        Ok(next::after(&self.version(declared), &taken))
    }
}

/// The names of the releases that the file declares of a service.
fn versions(declared: &Service) -> impl Iterator<Item = &String> {
    declared.versions.iter().map(|version| &version.name).chain([&declared.version])
}

/// Refuses a release that would be what the file declares under another name: its build is not run again for it.
fn check_said(declared: &Service, release: &Release) -> Result<(), ApiError> {
    let is_known = versions(declared).any(|known| *known == release.version);
    // Without a version it cannot be rolled out at all, which is told elsewhere.
    if !release.is_bare() || declared.version.is_empty() || is_known {
        return Ok(());
    }
    let detail = format!(
        "`{}` would be what the file declares under another name: say what it runs (`run`), is made by (`build`) or differs in (`env`)",
        release.version
    );
    Err(ApiError::new(Code::InvalidArgument, detail))
}

/// How a release is rolled out: as declared, but for what is said otherwise.
fn plan(declared: &Plan, new: &wire::NewDeployment) -> Result<Plan, ApiError> {
    let strategy = new.strategy.unwrap_or(declared.strategy);
    // What is said of steps here, the rollout checks.
    let steps = match new.steps.as_slice() {
        [] if strategy == declared.strategy => declared.steps.clone(),
        steps => steps.to_vec(),
    };
    let bake = new.bake.unwrap_or(declared.bake);
    let abort_when = match new.abort_when.as_deref() {
        None => declared.abort_when.clone(),
        Some("off") => None,
        Some(text) => Some(
            Condition::parse(text).map_err(|rule| ApiError::new(Code::Unprocessable, format!("abort_when: {rule}")))?,
        ),
    };
    let min_requests = new.min_requests.unwrap_or(declared.min_requests);
    Ok(Plan { strategy, steps, bake, abort_when, min_requests })
}

/// The rollout of each service that is under way, or was the last.
#[utoipa::path(get, path = "/v1/deployments", tag = "deployments",
    responses((status = 200, body = wire::DeploymentList), (status = 400, description = "this Bowline runs no services")))]
pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<wire::DeploymentList>, ApiError> {
    let deployments = of(&shared)?.deployer.list().into_iter().map(view::of_status).collect();
    Ok(Json(wire::DeploymentList { deployments }))
}

/// How the releases of one service stand.
#[utoipa::path(get, path = "/v1/deployments/{service}", tag = "deployments",
    params(("service" = String, Path, description = "the service")),
    responses((status = 200, body = wire::ServiceDeployments), (status = 400, description = "this Bowline runs no services"),
        (status = 404, description = "the system has no such service")))]
pub(crate) async fn one(
    State(shared): State<Shared>,
    service: Named,
) -> Result<Json<wire::ServiceDeployments>, ApiError> {
    let service = name(service)?;
    let deployments = of(&shared)?;
    let version = deployments.version(deployments.declared(&service)?);
    let deployment = deployments.deployer.get(&service).map(view::of_status);
    let history = deployments.deployer.history(&service).await?.iter().map(view::of_rollout).collect();
    Ok(Json(wire::ServiceDeployments { service, version, deployment, history }))
}

/// Begins to roll a release out; the answer says that it has begun, not that it is done.
///
/// It runs commands on the server's machine, so it is an administrator's.
#[utoipa::path(post, path = "/v1/deployments/{service}", tag = "deployments", request_body = wire::NewDeployment,
    params(("service" = String, Path, description = "the service")),
    responses((status = 202, description = "begun, and durable", body = wire::Deployment),
        (status = 400, description = "this Bowline runs no services, or the service cannot be rolled out: it says why"),
        (status = 403, description = "not an administrator's"), (status = 404, description = "the system has no such service"),
        (status = 409, description = "another rollout of it is under way"), (status = 422, description = "a field breaks its rule")))]
pub(crate) async fn begin(
    State(shared): State<Shared>,
    service: Named,
    body: Result<Json<wire::NewDeployment>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let (service, Json(new)) = (name(service)?, body?);
    let deployments = of(&shared)?;
    let begin = deployments.begin(service, new).await?;
    let status = deployments.deployer.begin(begin).await?;
    Ok((StatusCode::ACCEPTED, Json(view::of_status(status))))
}

/// Has a rollout stay at its step; what is measured can still end it.
#[utoipa::path(post, path = "/v1/deployments/{service}/pause", tag = "deployments",
    params(("service" = String, Path, description = "the service"), OrderQuery),
    responses((status = 200, body = wire::Deployment), (status = 400, description = "it cannot be paused now: it says why"),
        (status = 404, description = "there is no rollout of it under way"),
        (status = 409, description = "another rollout than that of the id is under way, or none")))]
pub(crate) async fn pause(shared: State<Shared>, service: Named, only: Only) -> Ordered {
    order(&shared, service, only, Action::Pause).await
}

/// Has a paused rollout go on.
#[utoipa::path(post, path = "/v1/deployments/{service}/resume", tag = "deployments",
    params(("service" = String, Path, description = "the service"), OrderQuery),
    responses((status = 200, body = wire::Deployment), (status = 400, description = "it is not paused"),
        (status = 404, description = "there is no rollout of it under way"),
        (status = 409, description = "another rollout than that of the id is under way, or none")))]
pub(crate) async fn resume(shared: State<Shared>, service: Named, only: Only) -> Ordered {
    order(&shared, service, only, Action::Resume).await
}

/// Gives the new release everything now, whatever was measured.
#[utoipa::path(post, path = "/v1/deployments/{service}/promote", tag = "deployments",
    params(("service" = String, Path, description = "the service"), OrderQuery),
    responses((status = 200, body = wire::Deployment), (status = 400, description = "it cannot be promoted now: it says why"),
        (status = 403, description = "not an administrator's"),
        (status = 404, description = "there is no rollout of it under way"),
        (status = 409, description = "another rollout than that of the id is under way, or none")))]
pub(crate) async fn promote(shared: State<Shared>, service: Named, only: Only) -> Ordered {
    order(&shared, service, only, Action::Promote).await
}

/// Ends a rollout: the release before gets everything back.
#[utoipa::path(post, path = "/v1/deployments/{service}/abort", tag = "deployments",
    params(("service" = String, Path, description = "the service"), OrderQuery),
    responses((status = 200, body = wire::Deployment), (status = 400, description = "it cannot be aborted now: it says why"),
        (status = 403, description = "not an administrator's"),
        (status = 404, description = "there is no rollout of it under way"),
        (status = 409, description = "another rollout than that of the id is under way, or none")))]
pub(crate) async fn abort(shared: State<Shared>, service: Named, only: Only) -> Ordered {
    order(&shared, service, only, Action::Abort).await
}

/// What an order of a rollout understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderQuery {
    /// Only if the rollout under way is the one with this id.
    id: Option<u64>,
}

type Named = Result<Path<String>, PathRejection>;
type Only = Result<Query<OrderQuery>, QueryRejection>;

/// How a rollout stands after an order.
type Ordered = Result<Json<wire::Deployment>, ApiError>;

async fn order(shared: &Shared, service: Named, only: Only, action: Action) -> Ordered {
    let service = name(service)?;
    let Query(OrderQuery { id }) = only?;
    let deployments = of(shared)?;
    deployments.declared(&service)?;
    let status = deployments.deployer.act(&service, action, id).await?;
    Ok(Json(view::of_status(status)))
}

fn name(service: Named) -> Result<ServiceName, ApiError> {
    let Path(service) = service?;
    Ok(ServiceName::new(&service)?)
}

fn of(shared: &Shared) -> Result<&Deployments, ApiError> {
    shared.deployments.get().ok_or_else(|| {
        if shared.has_services {
            let detail = "the services are still starting, nothing is rolled out before they run: try again";
            return ApiError::new(Code::Unavailable, detail);
        }
        let detail =
            "this Bowline rolls nothing out, since it runs no services: ask the one that runs them, `bowline up`";
        ApiError::new(Code::FailedPrecondition, detail)
    })
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::of(error.code(), &error)
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::{deploy::Strategy, units::Share};
    use bowline_runtime::time::Duration;

    use super::*;

    #[track_caller]
    fn check(new: &wire::NewDeployment, expect: &Plan) {
        let condition = Condition::parse("error_rate > 1%").ok();
        let declared = declared(condition);
        assert_eq!(plan(&declared, new).unwrap(), *expect);
    }

    fn declared(abort_when: Option<Condition>) -> Plan {
        let (strategy, bake) = (Strategy::Canary, Duration::from_mins(1));
        Plan { strategy, steps: percents(&[10]), bake, abort_when, min_requests: 50 }
    }

    fn percents(percents: &[u32]) -> Vec<Share> {
        percents.iter().map(|percent| Share::from_percent(*percent)).collect()
    }

    #[test]
    fn what_is_not_said_is_as_declared() {
        let abort_when = Condition::parse("error_rate > 1%").ok();
        let declared = declared(abort_when);
        let bake = Duration::from_secs(5);
        let new = wire::NewDeployment { bake: Some(bake), ..wire::NewDeployment::default() };
        check(&new, &Plan { bake, ..declared.clone() });
        let new = wire::NewDeployment { strategy: Some(Strategy::Rolling), ..wire::NewDeployment::default() };
        check(&new, &Plan { strategy: Strategy::Rolling, steps: Vec::new(), ..declared.clone() });
        let new = wire::NewDeployment { steps: percents(&[1, 2]), ..wire::NewDeployment::default() };
        check(&new, &Plan { steps: percents(&[1, 2]), ..declared.clone() });
        let new = wire::NewDeployment { min_requests: Some(1), ..wire::NewDeployment::default() };
        check(&new, &Plan { min_requests: 1, ..declared.clone() });
        let new =
            |text: &str| wire::NewDeployment { abort_when: Some(text.to_owned()), ..wire::NewDeployment::default() };
        check(&new("off"), &Plan { abort_when: None, ..declared.clone() });
        check(&new("p99 > 1s"), &Plan { abort_when: Condition::parse("p99 > 1s").ok(), ..declared });
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let new = wire::NewDeployment { abort_when: Some("p98 > 1s".to_owned()), ..wire::NewDeployment::default() };
        let (code, detail) = plan(&Plan::default(), &new).unwrap_err().into_parts();
        assert_eq!(code, Code::Unprocessable);
        assert!(detail.starts_with("abort_when: write"), "{detail}");
    }
}
