//! Calls to other services: found, balanced, guarded by a breaker, retried, timed out, traced.

mod governed;
mod policies;
mod shown;
mod streaming;
mod warming;

use std::sync::Arc;

use bowline_model::{
    Code, Instance, ServiceName,
    policy::{BreakerPolicy, CallPolicy, InvalidPolicy, Priority, RetryPolicy},
};
use bowline_registry::Discovery;
use bowline_resilience::{deadline::Deadline, shed::PRIORITY_HEADER};
use bowline_runtime::{
    metric,
    task::{self, Guarded},
    time::{self, Duration, Instant},
};
use bowline_telemetry::{SpanKind, Tracer, current, names};
use bowline_transport::{
    Body, SharedPool,
    problem::{Problem, code_of_status},
};
use bowline_upstream::{NoFallback, Upstream};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use crate::{
    mesh::{Member, Place, Told},
    messages::{self, HandOver, Sent},
};
use governed::Governed;
use policies::Own;
pub(crate) use shown::{Clients, router};
pub use streaming::{Events, Following, Lines, SILENT_MAX_DEFAULT, Streaming};
pub(crate) use warming::warm_up;

/// The largest answer read into memory.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The longest a call waits for the first instances of its service, and for how calls to it are split.
const FIRST_INSTANCES_WITHIN: Duration = Duration::from_secs(2);

/// Why a call gave no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer: no instance, breaker open, out of time, connection broken.
    #[error("call to {service} failed")]
    Call {
        /// Who was called.
        service: ServiceName,
        /// What the last attempt met.
        #[source]
        source: bowline_upstream::Error,
    },
    /// The process cannot show the mesh who it is.
    #[error("call to {service} failed: {reason}")]
    NoIdentity {
        /// Who was to be called.
        service: ServiceName,
        /// Why not.
        reason: String,
    },
    /// An answer that is no success.
    #[error("{service} answered {status}{}", detail_of(problem.as_deref()))]
    Status {
        /// Who was called.
        service: ServiceName,
        /// The answer's status.
        status: StatusCode,
        /// The problem document it came with.
        problem: Option<Box<Problem>>,
    },
    /// A success that cannot be read as the type asked for.
    #[error("answer of {service} cannot be read")]
    Answer {
        /// Who was called.
        service: ServiceName,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request cannot be written.
    #[error("request to {service} cannot be made")]
    Request {
        /// Who was to be called.
        service: ServiceName,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn detail_of(problem: Option<&Problem>) -> String {
    problem.map_or_else(String::new, |problem| format!(": {}", problem.detail))
}

impl Error {
    /// A call of that service had no answer in time.
    fn out_of_time(service: &ServiceName) -> Self {
        let source = bowline_upstream::Error::Timeout { service: service.clone() };
        Self::Call { service: service.clone(), source }
    }

    /// The status of the answer, if there was one that is no success.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Call { .. } | Self::NoIdentity { .. } | Self::Answer { .. } | Self::Request { .. } => None,
        }
    }

    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Call { source, .. } => source.code(),
            Self::NoIdentity { .. } => Code::Unavailable,
            Self::Status { problem: Some(problem), .. } => problem.code,
            Self::Status { status, .. } => code_of_status(*status),
            Self::Answer { .. } => Code::BadGateway,
            Self::Request { .. } => Code::Internal,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self.code(), Code::Unavailable | Code::DeadlineExceeded | Code::RateLimited)
    }
}

/// Calls one other service. Cheap to clone; all clones share instances, breakers and budget.
///
/// The policy is that of the declared call in `bowline.toml`, which in a mesh may change while the
/// process runs. What the application replaces of it, by a document of configuration for example, stays
/// the application's.
///
/// ```no_run
/// # use bowline::{Microservice, policy::RetryPolicy};
/// #[derive(serde::Deserialize)]
/// struct PaymentSettings {
///     retry: RetryPolicy,
/// }
///
/// # async fn run(service: &Microservice) -> Result<(), bowline::config::Error> {
/// let bank = service.client("bank");
/// let checked = bank.clone();
/// let settings = service
///     .config_loader::<PaymentSettings>("shop/payment")
///     .validate(move |new| checked.check_retry(Some(&new.retry)).map_err(|error| error.to_string()))
///     .load()
///     .await?;
/// settings.on_change(move |new| bank.set_retry(Some(new.retry.clone())).expect("it was checked"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ServiceClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: ServiceName,
    governed: Arc<Governed>,
    instances: watch::Receiver<Arc<[Instance]>>,
    /// Whether the upstream was told of instances, ever, and of how calls are split, and in a mesh had what calls need.
    has_begun: watch::Receiver<bool>,
    member: Option<Member>,
    pool: SharedPool,
    tracer: Tracer,
    metrics: metric::Registry,
    /// Where requests are handed over; none: they are not.
    hand_over: Option<HandOver>,
    _follow: Guarded<()>,
}

/// What a client goes through.
pub(crate) struct Wiring {
    pub(crate) pool: SharedPool,
    pub(crate) tracer: Tracer,
    pub(crate) metrics: metric::Registry,
    pub(crate) place: Place,
    /// Who calls, and from where.
    pub(crate) from: bowline_upstream::Standpoint,
    pub(crate) hand_over: Option<HandOver>,
}

impl ServiceClient {
    pub(crate) fn new(service: ServiceName, policy: CallPolicy, discovery: &Discovery, wiring: Wiring) -> Self {
        let Wiring { pool, tracer, metrics, place, from, hand_over } = wiring;
        let upstream = Upstream::multiplexed(service.clone(), policy.clone(), "client", &metrics);
        upstream.set_standpoint(from);
        let member = place.member().cloned();
        let governed = Arc::new(Governed::new(upstream, policy, member.is_some()));
        let instances = discovery.instances(&service);
        let (begun, has_begun) = watch::channel(false);
        let follower = Follower { governed: governed.clone(), instances: instances.clone(), begun, place };
        let follow = Guarded::new(task::spawn(follower.run()));
        Self(Arc::new(Inner {
            service,
            governed,
            instances,
            has_begun,
            member,
            pool,
            tracer,
            metrics,
            hand_over,
            _follow: follow,
        }))
    }

    /// A GET of that path.
    pub fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    /// A POST to that path.
    pub fn post(&self, path: &str) -> Call {
        self.request(Method::POST, path)
    }

    /// A request of any method; the path may carry a query.
    pub fn request(&self, method: Method, path: &str) -> Call {
        let request = http::Request::builder().method(method).uri(path).header(header::HOST, self.0.service.as_str());
        Call { client: self.clone(), request, body: Ok(None), key: None }
    }

    /// Hands a call over, to be carried out later: answers when it is durable, in a call that is declared with
    /// `mode = "async"`. Nobody waits for its answer.
    ///
    /// It is carried out at least once, by this process or another instance of the same service, under the policy of
    /// the call; what fails is tried again with growing waits, at most [`messages::HANDED_OVER_ATTEMPTS_MAX`] times.
    /// Then it is a dead letter, as is at once what the callee says that it will never take. A request without an
    /// `idempotency-key` gets one, so that the callee can tell a repetition.
    ///
    /// # Errors
    /// When it is not durable, or may not be: any of [`messages::Error`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is handed over.
    pub async fn send(&self, call: Call) -> Result<Sent, messages::Error> {
        let Call { client, request, body, key } = call;
        let service = &client.0.service;
        let not_async = || messages::Error::NotAsync { service: service.clone() };
        let hand_over = client.0.hand_over.as_ref().ok_or_else(not_async)?;
        let unmade = |source: Box<dyn std::error::Error + Send + Sync>| messages::Error::Request {
            service: service.clone(),
            source,
        };
        let body = body.map_err(|error| unmade(error.into()))?.unwrap_or_default();
        let request = request.body(bytes::Bytes::from(body)).map_err(|error| unmade(error.into()))?;
        hand_over.send(request, key).await
    }

    /// The service that is called.
    pub(crate) fn service(&self) -> &ServiceName {
        &self.0.service
    }

    /// Makes a request that was handed over.
    pub(crate) async fn carry_out(&self, mut request: http::Request<Body>) -> Result<bytes::Bytes, Error> {
        // It is answered for once it was done, and by nothing else.
        request.extensions_mut().insert(NoFallback);
        self.0.send(request).await
    }

    /// How many instances are known now.
    pub fn instance_count(&self) -> usize {
        self.0.instances.borrow().len()
    }

    /// The policy now.
    pub fn policy(&self) -> CallPolicy {
        self.0.governed.upstream().policy()
    }

    /// Replaces the policy, for calls of every clone that begin from now on. What it does to
    /// budget and breakers is said at [`Upstream::set_policy`].
    ///
    /// # Errors
    /// When it makes no sense; then nothing is changed.
    pub fn set_policy(&self, policy: CallPolicy) -> Result<(), InvalidPolicy> {
        self.0.governed.set_own(Own::all(policy))
    }

    /// Replaces when a failed attempt is tried again, or that it is at all; see
    /// [`ServiceClient::set_policy`].
    ///
    /// # Errors
    /// When it makes no sense; then nothing is changed.
    pub fn set_retry(&self, retry: Option<RetryPolicy>) -> Result<(), InvalidPolicy> {
        self.0.governed.set_own(Own { retry: Some(retry), ..Own::default() })
    }

    /// Whether [`ServiceClient::set_retry`] would take that.
    ///
    /// # Errors
    /// When it would not.
    pub fn check_retry(&self, retry: Option<&RetryPolicy>) -> Result<(), InvalidPolicy> {
        self.0.governed.check_own(&Own { retry: Some(retry.cloned()), ..Own::default() })
    }

    /// Replaces when an instance is left alone, or that it is at all; see
    /// [`ServiceClient::set_policy`].
    ///
    /// # Errors
    /// When it makes no sense; then nothing is changed.
    pub fn set_breaker(&self, breaker: Option<BreakerPolicy>) -> Result<(), InvalidPolicy> {
        self.0.governed.set_own(Own { breaker: Some(breaker), ..Own::default() })
    }

    /// Replaces the time that a whole call has; see [`ServiceClient::set_policy`].
    ///
    /// # Errors
    /// When it makes no sense, by itself or beside the rest; then nothing is changed.
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), InvalidPolicy> {
        self.0.governed.set_own(Own { timeout: Some(timeout), ..Own::default() })
    }
}

/// Keeps what calls go by what discovery and the mesh say.
struct Follower {
    governed: Arc<Governed>,
    instances: watch::Receiver<Arc<[Instance]>>,
    begun: watch::Sender<bool>,
    place: Place,
}

impl Follower {
    async fn run(mut self) {
        let mut told = self.place.told();
        let member = self.place.member().cloned();
        loop {
            let is_told = told.as_mut().is_none_or(|told| self.take(told));
            let now = self.instances.borrow_and_update().clone();
            self.governed.upstream().set_instances(&now);
            let standing = member.as_ref().map_or(Ok(()), Member::standing);
            if is_told && standing.is_ok() && !now.is_empty() {
                self.begun.send_replace(true);
            }
            let decided = async {
                match (&member, standing) {
                    (Some(member), Err(_)) if !*self.begun.borrow() => member.decided().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.instances.changed() => if changed.is_err() { return },
                () = changed(told.as_mut()) => {}
                () = decided => {}
            }
        }
    }

    /// Acts by what is told now; whether anything is.
    fn take(&self, told: &mut watch::Receiver<Told>) -> bool {
        let told = told.borrow_and_update().clone();
        match (&self.place, told) {
            (_, Told::NotYet) => return false,
            (_, Told::Nothing) => {}
            (Place::Meshed(_), Told::Snapshot(snapshot)) => self.governed.take(&snapshot),
            (Place::Steered(_) | Place::Alone, Told::Snapshot(snapshot)) => self.governed.steer(&snapshot),
        }
        true
    }
}

/// Waits for a change, of what changes.
async fn changed<T>(watched: Option<&mut watch::Receiver<T>>) {
    let has_changed = match watched {
        Some(watched) => watched.changed().await.is_ok(),
        None => false,
    };
    if !has_changed {
        std::future::pending::<()>().await;
    }
}

/// A request being made; nothing happens before [`Call::json`], [`Call::bytes`], [`Call::stream`], [`Call::events`] or
/// [`ServiceClient::send`].
#[derive(Debug)]
#[must_use = "a call does nothing until it is sent"]
pub struct Call {
    client: ServiceClient,
    request: http::request::Builder,
    body: Result<Option<Vec<u8>>, serde_json::Error>,
    key: Option<String>,
}

impl Call {
    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Names the request, so that a repetition has no further effect and may be retried.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header(HeaderName::from_static("idempotency-key"), key)
    }

    /// Where it is [handed over](ServiceClient::send): those with one ordering key are carried out one after the other.
    pub fn ordering_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Sends this value as JSON.
    pub fn body(mut self, value: &impl Serialize) -> Self {
        self.body = serde_json::to_vec(value).map(Some);
        self.request = self.request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self
    }

    /// Sends it and reads the answer as JSON; an empty answer reads as `null`.
    ///
    /// # Errors
    /// Any [`Error`]; an answer that is no 2xx is [`Error::Status`].
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt under way and releases what it held; the service
    /// called may or may not have acted.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let service = self.client.0.service.clone();
        let body = self.bytes().await?;
        let body = if body.is_empty() { b"null" } else { &body[..] };
        serde_json::from_slice(body).map_err(|source| Error::Answer { service, source: source.into() })
    }

    /// Sends it and returns the answer's bytes.
    ///
    /// # Errors
    /// As [`Call::json`].
    ///
    /// # Cancel safety
    /// As [`Call::json`].
    pub async fn bytes(self) -> Result<bytes::Bytes, Error> {
        let (inner, request) = self.into_request()?;
        inner.send(request).await
    }

    fn into_request(self) -> Result<(Arc<Inner>, http::Request<Body>), Error> {
        let Self { client, request, body, key: _ } = self;
        let inner = client.0;
        let unmade = |source: Box<dyn std::error::Error + Send + Sync>| Error::Request {
            service: inner.service.clone(),
            source,
        };
        let body = body.map_err(|error| unmade(error.into()))?.map_or_else(Body::empty, Body::full);
        let request = request.body(body).map_err(|error| unmade(error.into()))?;
        Ok((inner, request))
    }
}

impl Inner {
    async fn send(&self, mut request: http::Request<Body>) -> Result<bytes::Bytes, Error> {
        let begun = time::now();
        hand_on_priority(request.headers_mut());
        let mut span = self.start_span(&request);
        let deadline = self.deadline(begun);
        let result = self.exchange(request, &mut span, deadline).await;
        let code = match &result {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.code().http_status(),
        };
        span.set(names::HTTP_RESPONSE_STATUS_CODE, i64::from(code));
        let result = result.and_then(|response| self.judge(response));
        if let Err(error) = &result {
            span.fail(bowline_model::error::chain(error));
        }
        self.count(code, time::now() - begun);
        result
    }

    fn start_span(&self, request: &http::Request<Body>) -> bowline_telemetry::Span {
        let name = format!("{} {}", request.method(), self.service);
        let mut span = self.tracer.start(name, SpanKind::Client, current::context());
        span.set(names::HTTP_REQUEST_METHOD, request.method().as_str().to_owned());
        span.set(names::URL_PATH, request.uri().path().to_owned());
        span.set(names::PEER_SERVICE, self.service.as_str().to_owned());
        span
    }

    /// Until when a call that began then is answered: by its policy, and by the request that is served.
    fn deadline(&self, begun: Instant) -> Instant {
        let own = Deadline::after(begun, self.governed.upstream().timeout());
        current_deadline().map_or(own, |callers| own.earliest(callers)).instant()
    }

    async fn exchange(
        &self,
        request: http::Request<Body>,
        span: &mut bowline_telemetry::Span,
        deadline: Instant,
    ) -> Result<Response<bytes::Bytes>, Error> {
        self.first_instances(deadline).await;
        self.may_call()?;
        let response = self.governed.upstream().call(&self.pool, request, span, Some(deadline)).await;
        let response = response.map_err(|source| Error::Call { service: self.service.clone(), source })?;
        let (head, body) = response.into_parts();
        let broken = |source| Error::Answer { service: self.service.clone(), source };
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
        match time::timeout_at(deadline, body).await {
            Ok(Ok(body)) => Ok(Response::from_parts(head, body.to_bytes())),
            Ok(Err(error)) => Err(broken(error)),
            Err(_) => Err(Error::out_of_time(&self.service)),
        }
    }

    /// Whether the process is who it has to be for this call.
    fn may_call(&self) -> Result<(), Error> {
        let standing = self.member.as_ref().filter(|_| self.governed.demands_identity()).map(Member::standing);
        standing.unwrap_or(Ok(())).map_err(|reason| Error::NoIdentity { service: self.service.clone(), reason })
    }

    /// Waits for the first instances, for how calls are split between versions, and in a mesh for the certificate, so
    /// that a process may call right after its start, and calls no version that it is not to. Once there were some, a
    /// service without any is told at once.
    async fn first_instances(&self, deadline: Instant) {
        let mut has_begun = self.has_begun.clone();
        if *has_begun.borrow() {
            return;
        }
        // Half of what is left at most: "no instance" is a better answer than "out of time".
        let patience = deadline.saturating_duration_since(time::now()) / 2;
        let known = has_begun.wait_for(|has_begun| *has_begun);
        let _found_or_not = time::timeout(patience.min(FIRST_INSTANCES_WITHIN), known).await;
    }

    fn judge(&self, response: Response<bytes::Bytes>) -> Result<bytes::Bytes, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let problem = Problem::parse(status, response.headers(), response.body()).map(Box::new);
        Err(Error::Status { service: self.service.clone(), status, problem })
    }

    fn count(&self, code: u16, duration: Duration) {
        let code = code.to_string();
        let labels =
            [("reporter", "client"), ("service", self.service.as_str()), ("route", ""), ("code", code.as_str())];
        self.metrics.counter(names::REQUESTS_TOTAL, "Requests answered.", &labels).increment();
        self.metrics.histogram(names::REQUEST_DURATION_SECONDS, "How long requests took.", &labels).record(duration);
    }
}

tokio::task_local! {
    static DEADLINE: Option<Deadline>;
    static PRIORITY: Priority;
}

/// The deadline of the request being served, which no call made for it outlives.
pub(crate) fn current_deadline() -> Option<Deadline> {
    DEADLINE.try_with(|deadline| *deadline).ok().flatten()
}

/// How long the request, or the message, that is worked on may still take; none where nobody said.
pub fn time_left() -> Option<Duration> {
    current_deadline().map(|deadline| deadline.remaining(time::now()))
}

/// How important the request being served is: what is called for it is no less, and no more.
fn current_priority() -> Priority {
    PRIORITY.try_with(|priority| *priority).unwrap_or_default()
}

/// Says how important a request is that is made for another, unless it says so itself.
fn hand_on_priority(headers: &mut http::HeaderMap) {
    let priority = current_priority();
    if priority != Priority::default() && !headers.contains_key(PRIORITY_HEADER) {
        headers.insert(PRIORITY_HEADER, http::HeaderValue::from_static(priority.name()));
    }
}

/// Runs a future with the priority of the request it serves.
pub(crate) async fn with_priority<T>(priority: Priority, future: impl Future<Output = T>) -> T {
    PRIORITY.scope(priority, future).await
}

/// Runs a future under the deadline of the request it serves.
pub(crate) async fn with_deadline<T>(deadline: Option<Deadline>, future: impl Future<Output = T>) -> T {
    DEADLINE.scope(deadline, future).await
}
