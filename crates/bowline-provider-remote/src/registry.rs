//! The registry port over a server's API.

use std::{sync::Arc, time::Duration};

use bowline_model::{Address, Code, Instance, InstanceId};
use bowline_registry::{Discovered, Error, HeartbeatAnswer, InstanceWatch, Query, Registry, Revision, ServiceSummary};
use bowline_runtime::{BoxFuture, time};
use bowline_transport::{Body, ClientError, HttpClient};
use http::{Method, Request};

use crate::{
    client::{encode, path},
    watch::RemoteWatch,
    wire,
};

/// How long the head of a watch's answer may take.
const WATCH_HEAD_MAX: Duration = Duration::from_secs(10);

/// The registry of the server at an address.
#[derive(Debug, Clone)]
pub struct RemoteRegistry(HttpClient);

impl RemoteRegistry {
    /// The registry of that server. Nothing is asked yet.
    pub fn new(address: impl Into<Address>) -> Self {
        Self(HttpClient::new(address))
    }
}

/// A failure in the registry's words.
fn error_of(error: ClientError) -> Error {
    match error {
        ClientError::Answer { problem, .. } => Error::Refused { code: problem.code, detail: problem.detail },
        other => Error::Unavailable(Some(Arc::new(other))),
    }
}

impl Registry for RemoteRegistry {
    fn register(&self, instance: Instance, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision, Error>> {
        Box::pin(async move {
            let (id, registration) = wire::Registration::of(instance, ttl);
            let path = format!("/v1/instances/{id}");
            let answer = self.0.send_json::<wire::Registered>(Method::PUT, &path, &registration).await;
            answer.map(|registered| registered.revision).map_err(error_of)
        })
    }

    fn heartbeat(&self, ids: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>> {
        let batch = wire::HeartbeatBatch { ids: ids.to_vec() };
        Box::pin(async move {
            let answers: wire::HeartbeatAnswers = self.0.post_json("/v1/heartbeats", &batch).await.map_err(error_of)?;
            let answer = |wire::Heartbeat { id, known, ttl }| HeartbeatAnswer { id, known, ttl };
            Ok(answers.answers.into_iter().map(answer).collect())
        })
    }

    fn deregister(&self, id: &InstanceId) -> BoxFuture<'_, Result<bool, Error>> {
        let path = format!("/v1/instances/{id}");
        Box::pin(async move {
            match self.0.send_json::<()>(Method::DELETE, &path, &()).await.map_err(error_of) {
                Ok(()) => Ok(true),
                Err(Error::Refused { code: Code::NotFound, .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    fn discover(&self, query: &Query) -> BoxFuture<'_, Result<Discovered, Error>> {
        let query = query.clone();
        Box::pin(async move {
            let pairs = query.service.as_ref().map(|service| ("service", service.to_string()));
            let list: wire::InstanceList = self.0.get_json(&path("/v1/instances", pairs)).await.map_err(error_of)?;
            let history = list.history.as_deref().and_then(wire::decode_history);
            let mut instances = list.instances;
            instances.retain(|instance| query.health.is_none_or(|health| health == instance.health));
            instances.retain(|instance| query.after.as_ref().is_none_or(|after| instance.id > *after));
            let limit = query.limit.unwrap_or(usize::MAX);
            let more = instances.len() > limit;
            instances.truncate(limit);
            Ok(Discovered { revision: list.revision, history, instances, more })
        })
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>> {
        Box::pin(async move {
            let list: wire::ServiceList = self.0.get_json("/v1/services").await.map_err(error_of)?;
            let summary = |wire::Service { name, instances, healthy }| ServiceSummary { name, instances, healthy };
            Ok(list.services.into_iter().map(summary).collect())
        })
    }

    fn watch(&self, query: &Query, from: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>> {
        let mut target = format!("/v1/instances?watch=true&from={from}");
        if let Some(service) = &query.service {
            target.push_str(&format!("&service={}", encode(service.as_str())));
        }
        if let Some(history) = query.history {
            target.push_str(&format!("&history={}", wire::encode_history(history)));
        }
        Box::pin(async move {
            let request = Request::get(target).body(Body::empty());
            let request = request.expect("a checked name and numbers make a request");
            let answer = time::timeout(WATCH_HEAD_MAX, self.0.stream(request)).await;
            let answer = answer.map_err(|_| Error::Unavailable(None))?.map_err(error_of)?;
            let watch = RemoteWatch::of(answer).await?;
            Ok(Box::new(watch) as Box<dyn InstanceWatch>)
        })
    }
}
