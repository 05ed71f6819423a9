//! Taking what was published: each message is handed to a function until it is done with it.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bowline_model::error::chain;
use bowline_resilience::deadline::Deadline;
use bowline_runtime::{
    BoxFuture,
    drain::Drain,
    task::{self, JoinHandle},
    time, watchdog,
};
use bowline_telemetry::{Span, SpanContext, SpanKind, current, names};
use futures_util::FutureExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::{Post, Wait, context_of, port};
use crate::{HandlerError, client};

/// How long a message may be worked on, unless the consumer says otherwise.
pub const TIME_DEFAULT: Duration = Duration::from_mins(1);
/// How many messages are worked on at a time, unless the consumer says otherwise.
const AT_A_TIME_DEFAULT: usize = 16;
/// How long the lease of a message is; it is extended while the message is worked on.
const LEASE: Duration = Duration::from_secs(30);

/// How messages of a topic are taken; see [`Microservice::consumer`].
///
/// [`Microservice::consumer`]: crate::Microservice::consumer
#[derive(Debug)]
#[must_use = "nothing is taken until it is given a function"]
pub struct Consumer<'a> {
    service: &'a mut crate::Microservice,
    told: Told,
}

/// How messages are taken.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) settings: port::GroupSettings,
    pub(super) at_a_time: usize,
    pub(super) time_max: Duration,
}

/// A message and the value in it.
#[derive(Debug, Clone)]
pub struct Incoming<T> {
    /// What was published.
    pub value: T,
    /// The message.
    pub message: Arc<port::Message>,
    /// The number of the try; the first is 1.
    pub attempt: u32,
}

/// Why a message could not be processed, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    detail: String,
    then: port::Then,
}

impl Failure {
    /// It is tried again, after the group's back-off, until its tries are used up. The detail is kept with a dead
    /// letter: it should hold no secret.
    pub fn retry(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), then: port::Then::Retry }
    }

    /// It is tried again after that time.
    pub fn retry_after(detail: impl Into<String>, after: Duration) -> Self {
        Self { detail: detail.into(), then: port::Then::After(after) }
    }

    /// No try will help: it is a dead letter at once.
    pub fn dead(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), then: port::Then::Dead }
    }
}

impl From<HandlerError> for Failure {
    /// What a caller would be told: of [`HandlerError::internal`] that is not the cause. Hand on the cause where there
    /// is no secret in it.
    fn from(error: HandlerError) -> Self {
        Self::retry(error.to_string())
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::retry(chain(&error))
    }
}

#[cfg(feature = "sql")]
impl From<bowline_sql::Error> for Failure {
    /// What the database says may go better later; that a message is not as it should be does not.
    fn from(error: bowline_sql::Error) -> Self {
        let detail = chain(&error);
        match error.code() {
            bowline_model::Code::Unavailable | bowline_model::Code::Internal => Self::retry(detail),
            _ if error.retryable() => Self::retry(detail),
            _ => Self::dead(detail),
        }
    }
}

impl From<super::Error> for Failure {
    fn from(error: super::Error) -> Self {
        Self::retry(chain(&error))
    }
}

impl<'a> Consumer<'a> {
    pub(crate) fn new(service: &'a mut crate::Microservice, topic: &str) -> Self {
        let told = Told::new(topic, service.settings().service.as_str());
        port::check_name("topic", topic).expect("the name in the code is a topic's name");
        Self { service, told }
    }

    /// Takes them for another group than the service's own: each group gets every message.
    pub fn group(mut self, group: &str) -> Self {
        group.clone_into(&mut self.told.group);
        self
    }

    /// Begins, where the group is new, at what is published next, instead of at the first message there is.
    pub fn only_new(mut self) -> Self {
        self.told.settings.start = port::Start::Next;
        self
    }

    /// How often a message is tried before it is a dead letter. 5.
    pub fn attempts_max(mut self, attempts_max: u32) -> Self {
        self.told.settings.attempts_max = attempts_max;
        self
    }

    /// How long after a try that failed the next one is: at first, and at most; it doubles. 1 s, 1 min.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.told.settings.backoff, self.told.settings.backoff_max) = (first, longest);
        self
    }

    /// How many messages this process works on at a time: 1 to [`CREDIT_MAX`](port::CREDIT_MAX), 4,096. 16.
    ///
    /// # Panics
    /// When they are none, or more than that.
    pub fn at_a_time(mut self, count: usize) -> Self {
        let (topic, max) = (&self.told.topic, port::CREDIT_MAX);
        assert!((1..=max).contains(&count), "at_a_time of `{topic}` is 1 to {max}, not {count}");
        self.told.at_a_time = count;
        self
    }

    /// How long one may be worked on; then it is given up, as a try that failed. [`TIME_DEFAULT`].
    pub fn time_max(mut self, time_max: Duration) -> Self {
        self.told.time_max = time_max;
        self
    }

    /// Hands each message to that function, from when the service [serves](crate::Microservice::serve) until it stops.
    /// What it answers well is done; what it does not is tried again. It may be handed one message twice: at least
    /// once is the promise. A message that is no such value is a dead letter at once.
    ///
    /// It runs in a consumer span of the trace in which the message was published, and under a deadline.
    pub fn each<T, F, Fut>(self, handle: F)
    where
        T: DeserializeOwned + Send + 'static,
        F: Fn(Incoming<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.each_until(std::future::pending(), handle);
    }

    /// As [`Consumer::each`], until that future ends; then it leaves the group.
    pub(crate) fn each_until<T, F, Fut>(self, gone: impl Future<Output = ()> + Send + 'static, handle: F)
    where
        T: DeserializeOwned + Send + 'static,
        F: Fn(Incoming<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let handle: Handle = Arc::new(move |message, attempt| match serde_json::from_slice(&message.payload) {
            Ok(value) => handle(Incoming { value, message, attempt }).boxed(),
            // Not its words: they quote the value.
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let detail = format!("the payload is not what is read here: line {line}, column {column}");
                std::future::ready(Err(Failure::dead(detail))).boxed()
            }
        });
        let gone = Box::pin(gone);
        self.service.consuming.push(Consuming { told: self.told, handle, is_traced: true, gone });
    }

    /// The topic.
    pub(crate) fn topic(&self) -> &str {
        &self.told.topic
    }

    /// How many messages are with this process at a time.
    pub(crate) fn credit(&self) -> usize {
        self.told.at_a_time
    }

    /// Whether the service stops.
    pub(crate) fn draining(&self) -> tokio::sync::watch::Receiver<bool> {
        self.service.draining.subscribe()
    }
}

impl Told {
    pub(super) fn new(topic: &str, group: &str) -> Self {
        let settings = port::GroupSettings { lease: LEASE, ..port::GroupSettings::default() };
        let (topic, group) = (topic.to_owned(), group.to_owned());
        Self { topic, group, settings, at_a_time: AT_A_TIME_DEFAULT, time_max: TIME_DEFAULT }
    }
}

/// What a message is handed to.
pub(super) type Handle = Arc<dyn Fn(Arc<port::Message>, u32) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// Messages to be taken, from when the service serves.
pub(crate) struct Consuming {
    pub(super) told: Told,
    pub(super) handle: Handle,
    /// Whether each is in a span of its own.
    pub(super) is_traced: bool,
    /// Ends when there is nobody to hand them to any more.
    pub(super) gone: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Consuming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consuming").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Consuming {
    /// Takes messages until the drain, or until there is nobody to hand them to; then waits for those that are worked
    /// on.
    pub(crate) fn start(self, post: Post, drain: Drain) -> JoinHandle<()> {
        let Self { told, handle, is_traced, gone } = self;
        let task = watchdog::Name::new(&format!("process {}", told.topic));
        let worker = Worker { post, told, handle, is_traced, task };
        task::spawn(Arc::new(worker).run(Until { drain, gone, is_gone: false }))
    }
}

struct Worker {
    post: Post,
    told: Told,
    handle: Handle,
    is_traced: bool,
    /// What it goes by where it holds its thread.
    task: watchdog::Name,
}

/// Until when messages are taken.
struct Until {
    drain: Drain,
    gone: BoxFuture<'static, ()>,
    is_gone: bool,
}

impl Until {
    /// Runs a future until it ends (`Some`) or no further message is to be taken (`None`).
    async fn or_end<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        if self.is_gone {
            return None;
        }
        tokio::select! {
            biased;
            () = self.drain.draining() => None,
            () = &mut self.gone => {
                self.is_gone = true;
                None
            }
            output = future => Some(output),
        }
    }
}

impl Worker {
    async fn run(self: Arc<Self>, mut until: Until) {
        let Some(bus) = self.post.bus.clone() else {
            tracing::warn!(topic = self.told.topic, "no message is taken: no server is known (BOWLINE_API)");
            return;
        };
        let mut wait = Wait::default();
        loop {
            let Told { topic, group, settings, at_a_time, .. } = &self.told;
            let joined = until.or_end(bus.subscribe(topic, group, settings.clone(), *at_a_time)).await;
            let Some(joined) = joined else { return };
            let ended = match joined {
                Ok(subscription) => {
                    wait = Wait::default();
                    self.take(subscription, &mut until).await
                }
                Err(error) => Some(error),
            };
            let Some(error) = ended else { return };
            tracing::warn!(topic, group, error = chain(&error), "messages are not taken; it is tried again");
            if until.or_end(time::sleep(wait.next())).await.is_none() {
                return;
            }
        }
    }

    /// Takes messages until the subscription ends, with why, or no further one is to be taken.
    async fn take(self: &Arc<Self>, mut subscription: port::Subscription, until: &mut Until) -> Option<port::Error> {
        // As many as are worked on at a time: to wait for all of them is to take every permit.
        let count = u32::try_from(self.told.at_a_time).unwrap_or(u32::MAX);
        let slots = Arc::new(Semaphore::new(count as usize));
        let ended = loop {
            // First a slot: what is taken is worked on at once, well within its lease.
            let taken = async {
                let slot = slots.clone().acquire_owned().await;
                (slot, subscription.next().await)
            };
            let (slot, delivery) = match until.or_end(taken).await {
                None => break None,
                Some((_, Err(error))) => break Some(error),
                Some((slot, Ok(delivery))) => (slot, delivery),
            };
            let worker = self.clone();
            task::spawn(async move {
                worker.work(delivery).await;
                drop(slot);
            });
        };
        // Leaving would be a failed try of each that is worked on.
        let all = slots.acquire_many(count);
        if until.is_gone {
            // Meanwhile others do not get what the bus already sent here.
            let _all_or_late = time::timeout(LEASE, all).await;
        } else {
            let _all = all.await;
        }
        ended
    }

    /// Works on one message, and says what came of it.
    async fn work(&self, delivery: port::Delivery) {
        let begun = time::now();
        let parent = context_of(&delivery.message.headers);
        let mut span = self.span(&delivery, parent);
        let context = if self.is_traced { Some(span.context()) } else { parent };
        let handled = (self.handle)(delivery.message.clone(), delivery.attempt);
        let handled = client::with_deadline(Some(Deadline::after(begun, self.told.time_max)), handled);
        let handled = AssertUnwindSafe(self.task.watch(handled)).catch_unwind();
        let handled = current::within(context, handled);
        let lost = self.keep_leased(&delivery);
        let outcome = tokio::select! {
            handled = time::timeout(self.told.time_max, handled) => match handled {
                Ok(Ok(handled)) => handled,
                Ok(Err(_panic)) => Err(Failure::retry("the consumer panicked")),
                Err(_) => Err(Failure::retry(format!("it took more than {:?}", self.told.time_max))),
            },
            () = lost => {
                span.fail("its lease was lost: somebody else may have it");
                self.count("lost", begun);
                return;
            }
        };
        let name = match &outcome {
            Ok(()) => "done",
            Err(Failure { then: port::Then::Dead, .. }) => "dead",
            Err(_) => "failed",
        };
        self.count(name, begun);
        let answered = match outcome {
            Ok(()) => delivery.ack().await,
            Err(Failure { detail, then }) => {
                span.fail(detail.clone());
                delivery.nack(&detail, then).await
            }
        };
        if let Err(error) = answered {
            let (topic, position) = (&self.told.topic, delivery.message.position);
            tracing::warn!(topic, %position, error = chain(&error), "what came of a message is lost: it comes again");
        }
    }

    /// Extends the lease again and again; ends when it is lost.
    async fn keep_leased(&self, delivery: &port::Delivery) {
        let lease = self.told.settings.lease;
        // At first it is as long as whoever joined the group last said.
        let mut left = delivery.until.saturating_duration_since(time::now());
        loop {
            time::sleep(left.min(lease) / 3).await;
            if let Err(port::Error::LeaseLost { .. }) = delivery.extend(lease).await {
                return;
            }
            left = lease;
        }
    }

    fn span(&self, delivery: &port::Delivery, parent: Option<SpanContext>) -> Span {
        if !self.is_traced {
            return Span::disabled();
        }
        let Told { topic, group, .. } = &self.told;
        let mut span = self.post.tracer.start(format!("process {topic}"), SpanKind::Consumer, parent);
        span.set(names::MESSAGING_SYSTEM, "bowline");
        span.set_with(names::MESSAGING_DESTINATION_NAME, || topic.clone());
        span.set(names::MESSAGING_OPERATION_TYPE, "process");
        span.set_with(names::MESSAGING_CONSUMER_GROUP_NAME, || group.clone());
        span.set_with(names::MESSAGING_MESSAGE_ID, || delivery.message.id.clone());
        span.set(names::BOWLINE_ATTEMPT, i64::from(delivery.attempt));
        span
    }

    fn count(&self, outcome: &str, begun: time::Instant) {
        let Told { topic, group, .. } = &self.told;
        let labels = [("topic", topic.as_str()), ("group", group.as_str()), ("outcome", outcome)];
        let help = "How long messages were worked on.";
        self.post.metrics.histogram(names::MESSAGE_DURATION_SECONDS, help, &labels).record(time::now() - begun);
    }
}
