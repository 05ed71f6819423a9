//! The registry port over a server's API.

use std::{sync::Arc, time::Duration};

use bowline_model::{Address, Code, Instance, InstanceId, instance::LEASE_TTL_RANGE};
use bowline_registry::{
    Discovered, Error, HEARTBEATS_MAX, HeartbeatAnswer, INSTANCES_MAX, InstanceWatch, Query, Registry, Revision,
    ServiceSummary,
};
use bowline_runtime::{BoxFuture, time};
use bowline_transport::{Body, ClientError, HttpClient};
use http::{Method, Request};

use crate::{
    Bearer, Link,
    client::{list, path},
    watch::RemoteWatch,
    wire,
};

/// How long the head of a watch's answer may take.
const WATCH_HEAD_MAX: Duration = Duration::from_secs(10);

/// The registry of the server at an address. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct RemoteRegistry(Link);

impl RemoteRegistry {
    /// The registry of that server. Nothing is asked yet.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::over(HttpClient::new(address))
    }

    /// The registry of the server at the end of that link.
    pub fn over(link: impl Into<Link>) -> Self {
        Self(link.into())
    }

    /// The same, asked with a token.
    pub fn with_bearer(self, bearer: Bearer) -> Self {
        Self(self.0.with_bearer(bearer))
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
            instance.validate().map_err(Error::InvalidInstance)?;
            let (min, max) = LEASE_TTL_RANGE;
            if ttl.is_some_and(|ttl| !(min..=max).contains(&ttl)) {
                return Err(Error::Invalid { what: "ttl", rule: "it is 1s to 1h" });
            }
            let (id, registration) = wire::Registration::of(instance, ttl);
            let path = format!("/v1/instances/{id}");
            let answer = self.0.asked.send_json::<wire::Registered>(Method::PUT, &path, &registration).await;
            answer.map(|registered| registered.revision).map_err(error_of)
        })
    }

    fn heartbeat(&self, ids: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>> {
        let batch = wire::HeartbeatBatch { ids: ids.to_vec() };
        Box::pin(async move {
            if batch.ids.len() > HEARTBEATS_MAX {
                return Err(Error::Invalid { what: "heartbeat", rule: "it has at most 10,000 ids" });
            }
            let answers: wire::HeartbeatAnswers =
                self.0.asked.post_json("/v1/heartbeats", &batch).await.map_err(error_of)?;
            let answer = |wire::Heartbeat { id, known, ttl }| HeartbeatAnswer { id, known, ttl };
            Ok(answers.answers.into_iter().map(answer).collect())
        })
    }

    fn deregister(&self, id: &InstanceId) -> BoxFuture<'_, Result<bool, Error>> {
        let path = format!("/v1/instances/{id}");
        Box::pin(async move {
            match self.0.asked.send_json::<()>(Method::DELETE, &path, &()).await.map_err(error_of) {
                Ok(()) => Ok(true),
                Err(Error::Refused { code: Code::NotFound, .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    fn discover(&self, query: &Query) -> BoxFuture<'_, Result<Discovered, Error>> {
        let Query { service, health, after, limit, history: _ } = query;
        let filter = [
            service.as_ref().map(|service| ("service", service.to_string())),
            health.map(|health| ("health", health.as_str().to_owned())),
        ];
        let filter: Vec<_> = filter.into_iter().flatten().collect();
        let (after, max) = (after.as_ref().map(ToString::to_string), limit.unwrap_or(INSTANCES_MAX).min(INSTANCES_MAX));
        Box::pin(async move {
            let list = list(&self.0.asked, &filter, after, max).await.map_err(error_of)?;
            let wire::InstanceList { revision, history, instances, more } = list;
            let history = history.as_deref().and_then(wire::decode_history);
            Ok(Discovered { revision, history, instances, more })
        })
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>> {
        Box::pin(async move {
            let list: wire::ServiceList = self.0.asked.get_json("/v1/services").await.map_err(error_of)?;
            let summary = |wire::Service { name, instances, healthy }| ServiceSummary { name, instances, healthy };
            Ok(list.services.into_iter().map(summary).collect())
        })
    }

    fn watch(&self, query: &Query, from: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>> {
        let Query { service, health, after, limit, history } = query;
        let is_filtered = health.is_some() || after.is_some() || limit.is_some();
        let pairs = [
            Some(("watch", "true".to_owned())),
            Some(("from", from.to_string())),
            service.as_ref().map(|service| ("service", service.to_string())),
            history.map(|history| ("history", wire::encode_history(history))),
        ];
        let target = path("/v1/instances", pairs.into_iter().flatten());
        Box::pin(async move {
            if is_filtered {
                return Err(Error::Invalid { what: "watch", rule: "it is filtered by service only" });
            }
            let request = Request::get(target).body(Body::empty());
            let request = request.expect("a checked name and numbers make a request");
            let answer = time::timeout(WATCH_HEAD_MAX, self.0.watched.stream(request)).await;
            let answer = answer.map_err(|elapsed| Error::Unavailable(Some(Arc::new(elapsed))))?.map_err(error_of)?;
            let watch = RemoteWatch::of(answer, from).await?;
            Ok(Box::new(watch) as Box<dyn InstanceWatch>)
        })
    }
}
