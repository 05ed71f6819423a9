//! What the processes of services wrote lately, as whoever runs them here says.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use bowline_model::{Code, InstanceId, ServiceName};
use bowline_provider_remote::wire;

use crate::{api::Shared, error::ApiError};

/// The most lines of one answer.
const LIMIT_MAX: usize = 2000;
/// How many lines an answer has where nothing else is asked for.
const LIMIT_DEFAULT: usize = 200;

/// Which lines of a service are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogsAsked {
    /// Whose.
    pub service: ServiceName,
    /// Of that instance alone.
    pub instance: Option<InstanceId>,
    /// Only those that came after; absent: the last ones.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// Who has the lines that services wrote: it holds them in memory, and answers at once.
#[derive(Clone)]
pub struct LogSource(Arc<dyn Fn(LogsAsked) -> wire::LogList + Send + Sync>);

impl LogSource {
    /// A source that is a function.
    pub fn new(read: impl Fn(LogsAsked) -> wire::LogList + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSource").finish_non_exhaustive()
    }
}

/// The source, once services run here.
pub(crate) type Slot = Arc<OnceLock<LogSource>>;

/// The last lines that the processes of a service wrote, the oldest first.
///
/// 2000 lines and 1 MiB of each service are kept in memory, of those that this Bowline runs. Ask again with `next` as
/// `after` to have what comes.
#[utoipa::path(get, path = "/v1/logs/{service}", tag = "logs",
    params(("service" = String, Path, description = "the service"), wire::LogsQuery),
    responses((status = 200, body = wire::LogList), (status = 400, description = "this Bowline runs no services, or a parameter cannot be read"),
        (status = 404, description = "the system has no such service"),
        (status = 503, description = "no service was started yet, or all run elsewhere")))]
pub(crate) async fn logs(
    State(shared): State<Shared>,
    service: Result<Path<String>, PathRejection>,
    query: Result<Query<wire::LogsQuery>, QueryRejection>,
) -> Result<Json<wire::LogList>, ApiError> {
    let (Path(service), Query(query)) = (service?, query?);
    let wire::LogsQuery { instance, after, limit } = query;
    let service = ServiceName::new(&service)?;
    let instance = instance.map(|id| InstanceId::new(&id)).transpose()?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::new(Code::InvalidArgument, format!("limit {limit}: it is 1 to {LIMIT_MAX}")));
    }
    let LogSource(read) = of(&shared)?;
    if !shared.standing.is_declared(&service) {
        return Err(ApiError::new(Code::NotFound, format!("the system has no service `{service}`")));
    }
    Ok(Json(read(LogsAsked { service, instance, after, limit })))
}

fn of(shared: &Shared) -> Result<&LogSource, ApiError> {
    shared.logs.get().ok_or_else(|| {
        let elsewhere = "ask the Bowline that runs them, `bowline up`";
        if shared.has_services {
            let detail = format!("no service was started here yet: try again; or they run elsewhere, {elsewhere}");
            return ApiError::new(Code::Unavailable, detail);
        }
        let detail = format!("this Bowline keeps no lines, since it runs no services: {elsewhere}");
        ApiError::new(Code::FailedPrecondition, detail)
    })
}
