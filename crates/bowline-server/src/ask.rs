//! Asking instances, at Bowline's own paths, what only they know.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bowline_model::{Instance, ServiceName};
use bowline_registry::Registry;
use bowline_runtime::time::{self, Duration};
use bowline_transport::{Body, SharedPool, problem::Problem, send};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;

use crate::{collect::Dial, error::ApiError};

/// How long one instance may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How instances are asked: as they are scraped.
pub(crate) struct Asking {
    pub(crate) pool: SharedPool,
    pub(crate) dial: Dial,
}

/// There once the node collects.
pub(crate) type Slot = Arc<OnceLock<Asking>>;

/// What came of a question to an instance.
pub(crate) enum Asked<T> {
    Answer(T),
    /// It has nothing of the kind.
    None,
    /// It does not do that: another instance would say the same.
    Refused(Box<Problem>),
    /// It answered as nobody does who knows of Bowline: another service may have what it likes at that path.
    Foreign(String),
    /// It did not answer as it should, and why.
    Failed(String),
}

/// The instances of each service that has some, or of one service.
pub(crate) async fn instances(
    registry: &dyn Registry,
    service: Option<ServiceName>,
) -> Result<BTreeMap<ServiceName, Vec<Instance>>, ApiError> {
    let mut all: BTreeMap<_, Vec<_>> = service.iter().map(|service| (service.clone(), Vec::new())).collect();
    let query = bowline_registry::Query { service, ..bowline_registry::Query::default() };
    for instance in registry.discover(&query).await?.instances {
        all.entry(instance.service.clone()).or_default().push(instance);
    }
    Ok(all)
}

/// Asks one instance, for an answer of so many bytes at most.
pub(crate) async fn ask<T: DeserializeOwned>(
    asking: &Asking,
    instance: &Instance,
    method: &Method,
    target: &str,
    bytes_max: usize,
) -> Asked<T> {
    let asked = time::timeout(ANSWER_MAX, ask_one(asking, instance, method, target, bytes_max)).await;
    asked.unwrap_or_else(|_| Asked::Failed(format!("{} does not answer", instance.id)))
}

async fn ask_one<T: DeserializeOwned>(
    asking: &Asking,
    instance: &Instance,
    method: &Method,
    target: &str,
    bytes_max: usize,
) -> Asked<T> {
    let failed = |why: &dyn std::fmt::Display| Asked::Failed(format!("{}: {why}", instance.id));
    let request = Request::builder().method(method.clone()).uri(target);
    let request = request.header(header::HOST, instance.service.as_str()).body(Body::empty());
    let Ok(request) = request else { return failed(&"the id is no part of a path") };
    let answered = match send(&asking.pool, &(asking.dial)(instance), request).await {
        Ok(answered) => answered,
        Err(error) => return failed(&error),
    };
    let (head, body) = answered.into_parts();
    let body = match Limited::new(body, bytes_max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failed(&error),
    };
    match head.status {
        // Either it has no such saga, or none at all.
        StatusCode::NOT_FOUND => Asked::None,
        status if status.is_success() => match serde_json::from_slice(&body) {
            Ok(answer) => Asked::Answer(answer),
            Err(_) => Asked::Foreign(format!("{}: its answer cannot be read", instance.id)),
        },
        status => match Problem::parse(status, &head.headers, &body) {
            Some(problem) if status.is_client_error() => Asked::Refused(Box::new(problem)),
            Some(problem) => failed(&problem.detail),
            None if status.is_server_error() => failed(&status),
            None => Asked::Foreign(format!("{}: {status}", instance.id)),
        },
    }
}
