//! Requests that are handed over: kept durably, and carried out later, by an instance of the caller.
//!
//! The caller carries them out, not the bus: so the policy of the call, the breaker, the caller's identity and its
//! rules in the mesh are those of every other call, and the callee needs to know nothing of messages.

use std::{sync::Arc, time::Duration};

use bowline_messaging::delivery::Position;
use bowline_model::{Code, ServiceName, error::chain, messages::calls_topic};
use bowline_runtime::{rand, time};
use bowline_telemetry::{SpanKind, current, names};
use bowline_transport::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{
    Consuming, Error, Failure, Post,
    consumer::{Handle, Told},
    headers_of, port,
};
use crate::{ServiceClient, client};

/// How often a request is carried out before it is a dead letter; each time, the policy of the call holds within.
pub const ATTEMPTS_MAX: u32 = 25;
/// The longest between two times.
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// What the headers of such a message begin with that are the request's own.
const HEADER: &str = "request-header-";
const METHOD: &str = "request-method";
const TARGET: &str = "request-target";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A request that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its id, which is its `idempotency-key` where the request named none.
    pub id: String,
    /// Where it stands among those for the same service.
    pub position: Position,
}

/// Where requests for one service are handed over.
#[derive(Debug, Clone)]
pub(crate) struct HandOver {
    post: Post,
    callee: ServiceName,
    topic: String,
}

impl HandOver {
    pub(crate) fn new(post: Post, callee: ServiceName) -> Self {
        let topic = calls_topic(post.service.as_str(), callee.as_str());
        Self { post, callee, topic }
    }

    /// Answers when the request is durable. The trace goes on where it is carried out.
    pub(crate) async fn send(&self, request: http::Request<Bytes>, key: Option<String>) -> Result<Sent, Error> {
        let Self { post, callee, topic } = self;
        let mut span = post.tracer.start(format!("send {callee}"), SpanKind::Producer, current::context());
        span.set(names::MESSAGING_SYSTEM, "bowline");
        span.set(names::MESSAGING_OPERATION_TYPE, "send");
        span.set_with(names::PEER_SERVICE, || callee.as_str().to_owned());
        span.set(names::HTTP_REQUEST_METHOD, request.method().as_str().to_owned());
        span.set(names::URL_PATH, request.uri().path().to_owned());
        let id = format!("{:032x}", rand::u128());
        let mut headers = written(&request, &id);
        headers.extend(headers_of(span.context()));
        let message = port::NewMessage {
            id: Some(id.clone()),
            key,
            headers,
            payload: request.into_body(),
            ..port::NewMessage::default()
        };
        let published = post.publish(topic, message).await;
        if let Err(error) = &published {
            span.fail(chain(error));
        }
        published.map(|published| Sent { id, position: published.position })
    }
}

/// A request as the headers of a message.
fn written(request: &http::Request<Bytes>, id: &str) -> Vec<(String, String)> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut headers = vec![(METHOD.to_owned(), request.method().to_string()), (TARGET.to_owned(), target.to_owned())];
    let own = request.headers().iter().filter(|(name, _)| *name != http::header::HOST);
    headers.extend(own.filter_map(|(name, value)| Some((format!("{HEADER}{name}"), value.to_str().ok()?.to_owned()))));
    if !request.headers().contains_key(IDEMPOTENCY_KEY) {
        // Carried out twice, it has no further effect.
        headers.push((format!("{HEADER}{IDEMPOTENCY_KEY}"), id.to_owned()));
    }
    headers
}

/// The request that such a message holds.
fn read(message: &port::Message, callee: &ServiceName) -> Option<http::Request<Body>> {
    let header = |wanted: &str| message.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let method: Method = header(METHOD)?.parse().ok()?;
    let mut request = http::Request::builder().method(method).uri(header(TARGET)?);
    request = request.header(http::header::HOST, callee.as_str());
    for (name, value) in &message.headers {
        let Some(name) = name.strip_prefix(HEADER) else { continue };
        request = request.header(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.as_str()).ok()?);
    }
    let body = &message.payload;
    request.body(if body.is_empty() { Body::empty() } else { Body::full(body.clone()) }).ok()
}

/// What carries out the requests that were handed over for a service, of this instance or of another.
pub(crate) fn carry_out(client: ServiceClient, caller: &ServiceName) -> Consuming {
    let callee = client.service().clone();
    let mut told = Told::new(&calls_topic(caller.as_str(), callee.as_str()), caller.as_str());
    told.settings.attempts_max = ATTEMPTS_MAX;
    told.settings.backoff_max = BACKOFF_MAX;
    // The call has the time of its policy; this is beyond the longest.
    told.time_max = Duration::from_hours(24);
    let handle: Handle = Arc::new(move |message, _attempt| {
        let (client, callee) = (client.clone(), callee.clone());
        Box::pin(async move {
            let unread = || Failure::dead("it is no request that can be read");
            let request = read(&message, &callee).ok_or_else(unread)?;
            client.carry_out(request).await.map(drop).map_err(failure)
        })
    });
    Consuming { told, handle, is_traced: false, gone: Box::pin(std::future::pending()) }
}

/// What is to become of a request that failed: one that the callee will never take is not tried again.
fn failure(error: client::Error) -> Failure {
    let detail = match &error {
        // What is below may quote the request.
        client::Error::Status { service, status, .. } => format!("{service} answered {status}"),
        error => chain(error),
    };
    match error {
        client::Error::Request { .. } => Failure::dead(detail),
        client::Error::Status { status, .. } if is_refused(status) => Failure::dead(detail),
        error if error.code() == Code::RateLimited => Failure::retry_after(detail, time::Duration::from_secs(5)),
        _ => Failure::retry(detail),
    }
}

/// Whether the same request will be answered the same whenever it is made.
fn is_refused(status: StatusCode) -> bool {
    let for_now = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::CONFLICT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !for_now.contains(&status)
}
