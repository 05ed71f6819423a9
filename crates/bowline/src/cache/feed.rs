//! A topic as a feed of invalidations.
//!
//! It is read by position, without a group: a group would hand each message to one process only, and one of its own
//! for each process would stay when that is gone.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use bowline_cache::{After, BATCH_MAX, Batch, Invalidations, Mark, PortError, Resumed, Which};
use bowline_messaging::{Message, Tail, delivery::Position};
use bowline_runtime::{BoxFuture, metric::Counter};
use bowline_telemetry::{SpanKind, names};

use crate::{
    Topic,
    messages::{Post, context_of},
};

/// How many messages are read at once.
const PAGE: usize = 256;

/// What a message says is invalid; none where it cannot be read.
pub(super) type Read = Box<dyn Fn(&[u8]) -> Option<Vec<Which>> + Send + Sync>;

/// What comes to a topic, as what is invalid of a cache.
pub(super) struct BusInvalidations {
    post: Post,
    topic: String,
    /// As spans name who takes the messages.
    group: String,
    is_ours: bool,
    read: Read,
    unread: Counter,
}

impl BusInvalidations {
    pub(super) fn new(post: Post, topic: &str, cache: &str, is_ours: bool, read: Read) -> Self {
        let unread = post.metrics.counter(
            "bowline_cache_unread_total",
            "Messages that could not be read, so that everything was forgotten.",
            &[("cache", cache), ("topic", topic)],
        );
        Self { post, topic: topic.to_owned(), group: format!("cache:{cache}"), is_ours, read, unread }
    }

    async fn tail(&self, from: Position, limit: usize, wait: Duration) -> Result<Tail, PortError> {
        let Some(bus) = &self.post.bus else { return Err(PortError::unavailable("no server is known (BOWLINE_API)")) };
        bus.tail(&self.topic, from, limit, wait).await.map_err(|error| {
            if error.retryable() {
                return PortError::unavailable(error);
            }
            PortError::Refused { code: error.code(), detail: error.to_string() }
        })
    }

    /// Where the topic ends now.
    async fn end(&self) -> Result<Mark, PortError> {
        // Nothing stands there, so it is answered at once.
        let Tail { next, .. } = self.tail(Position::MAX, 1, Duration::ZERO).await?;
        let Tail { before, .. } = self.tail(next, 1, Duration::ZERO).await?;
        Ok(Mark { position: next.saturating_sub(1), id: before.unwrap_or_default() })
    }

    async fn resume(&self, from: Option<Mark>) -> Result<Resumed, PortError> {
        if let Some(mark) = from {
            let tail = self.tail(mark.position.saturating_add(1), 1, Duration::ZERO).await?;
            if is_after(&tail, &mark) {
                return Ok(Resumed::At(mark));
            }
        }
        Ok(Resumed::Gap { end: self.end().await? })
    }

    async fn after(&self, mark: Mark, wait: Duration) -> Result<After, PortError> {
        let tail = self.tail(mark.position.saturating_add(1), PAGE, wait).await?;
        if !is_after(&tail, &mark) {
            return Ok(After::Gap { end: self.end().await? });
        }
        let (mut what, mut upto) = (Vec::new(), mark);
        for message in &tail.messages {
            let named = self.read(message);
            let count = named.as_ref().map_or(1, |named| if named.len() > BATCH_MAX { 1 } else { named.len() });
            // It is read once more with the next.
            if what.len() + count > BATCH_MAX {
                break;
            }
            self.tell(message, named.is_some());
            what.extend(named.filter(|named| named.len() <= BATCH_MAX).unwrap_or_else(|| vec![Which::All]));
            upto = Mark { position: message.position, id: message.id.clone() };
        }
        let is_end = upto.position.saturating_add(1) >= tail.next;
        Ok(After::Batch(Batch { what, upto, is_end }))
    }

    /// What a message says is invalid; none where it cannot be read, or the application's function panics on it.
    fn read(&self, message: &Message) -> Option<Vec<Which>> {
        catch_unwind(AssertUnwindSafe(|| (self.read)(&message.payload))).ok().flatten()
    }

    /// Tells a message that is taken, in a span of its trace.
    fn tell(&self, message: &Message, is_read: bool) {
        let parent = context_of(&message.headers);
        let mut span = self.post.tracer.start(format!("process {}", self.topic), SpanKind::Consumer, parent);
        span.set(names::MESSAGING_SYSTEM, "bowline");
        span.set_with(names::MESSAGING_DESTINATION_NAME, || self.topic.clone());
        span.set(names::MESSAGING_OPERATION_TYPE, "process");
        span.set_with(names::MESSAGING_CONSUMER_GROUP_NAME, || self.group.clone());
        span.set_with(names::MESSAGING_MESSAGE_ID, || message.id.clone());
        if !is_read {
            self.unread.increment();
            span.fail("it cannot be read, so everything is forgotten");
        }
    }
}

/// Whether that is all there is after the mark.
fn is_after(tail: &Tail, mark: &Mark) -> bool {
    let from = mark.position.saturating_add(1);
    // Another topic of the same name has another message there.
    let is_same = tail.before.as_ref().is_none_or(|before| mark.id.is_empty() || *before == mark.id);
    let is_there = (tail.first..=tail.next).contains(&from);
    // Of what is deleted just now, the beginning may be missing.
    let mut positions = tail.messages.iter().map(|message| message.position);
    let is_whole = tail.next == from || positions.next() == Some(from);
    is_same && is_there && is_whole && positions.zip(from.saturating_add(1)..).all(|(is, ought)| is == ought)
}

impl Invalidations for BusInvalidations {
    fn name(&self) -> &str {
        &self.topic
    }

    fn resume(&self, from: Option<Mark>) -> BoxFuture<'_, Result<Resumed, PortError>> {
        Box::pin(self.resume(from))
    }

    fn after(&self, mark: Mark, wait: Duration) -> BoxFuture<'_, Result<After, PortError>> {
        Box::pin(self.after(mark, wait))
    }

    fn tell(&self, what: Which) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            if !self.is_ours {
                return Err(PortError::NotOurs { feed: self.topic.clone() });
            }
            let told = Topic::new(self.post.clone(), &self.topic).message(&what).publish().await;
            told.map(drop).map_err(PortError::unavailable)
        })
    }
}

impl fmt::Debug for BusInvalidations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusInvalidations").field("topic", &self.topic).finish_non_exhaustive()
    }
}
