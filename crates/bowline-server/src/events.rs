//! `GET /v1/events`: what changes, as server-sent events that say of what kind it is and nothing more.
//!
//! [`News`] counts changes by their kind. It is told by who sees them anyway (the taps of traces), and by
//! [`follow::Following`], which looks for them only while somebody listens. A stream compares the counts with those that
//! it told last: what changes often is told seldom, and nothing waits for who reads slowly.

mod follow;

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bowline_model::Code;
use bowline_provider_remote::wire::{AuditActor, ChangedEvent, EventKind, HelloEvent};
use bowline_runtime::{
    drain::Drain,
    time::{self, Duration, timeout},
};
use bowline_telemetry::SpanData;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};

use self::follow::{Following, Sources};
use crate::{access::Access, actor, api::Shared, error::ApiError};

/// The most streams at once.
const STREAMS_MAX: usize = 64;
/// What changes within it is told together: a stream tells two events a second at most.
const TOGETHER: Duration = Duration::from_millis(500);
/// How long a silent stream waits before it says that it lives, so that a dead peer is noticed.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long whoever lost a stream waits before it opens the next one, in milliseconds.
const RETRY_MS: u32 = 2000;
/// When a further stream may find a place.
const PLACE_AFTER: Duration = Duration::from_secs(10);
/// The attribute of the spans of sagas.
const SAGA: &str = "bowline.saga";

/// How often something of each kind changed.
type Counts = [u64; EventKind::ALL.len()];

/// What changed so far. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct News(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    counts: watch::Sender<Counts>,
    places: Arc<Semaphore>,
    /// What looks for changes, as long as a stream holds it.
    following: Mutex<Weak<Following>>,
}

impl Default for News {
    fn default() -> Self {
        let (counts, places) = (watch::Sender::new(Counts::default()), Arc::new(Semaphore::new(STREAMS_MAX)));
        Self(Arc::new(Inner { counts, places, following: Mutex::default() }))
    }
}

impl News {
    /// Something changed.
    fn tell(&self, kinds: &[EventKind]) {
        if !kinds.is_empty() {
            self.0.counts.send_modify(|counts| kinds.iter().for_each(|kind| counts[*kind as usize] += 1));
        }
    }

    /// Spans were written. Costs next to nothing where nobody listens.
    pub(crate) fn saw(&self, spans: &[SpanData]) {
        if spans.is_empty() || self.0.counts.receiver_count() == 0 {
            return;
        }
        let is_saga = spans.iter().any(|span| span.attribute(SAGA).is_some());
        self.tell(if is_saga { &[EventKind::Traces, EventKind::Sagas] } else { &[EventKind::Traces] });
    }

    /// What looks for changes, from now on at the latest.
    async fn follow(&self, sources: Sources) -> Result<Arc<Following>, bowline_store::Error> {
        let mut following = self.0.following.lock().await;
        if let Some(following) = following.upgrade() {
            return Ok(following);
        }
        let new = Arc::new(Following::start(self.clone(), sources).await?);
        *following = Arc::downgrade(&new);
        Ok(new)
    }
}

/// Tells what changes, as server-sent events: of which kinds it is, so that whoever shows it asks anew.
///
/// First comes `hello` with the store's revision; from then on, `changed` with the kinds that changed, at most two a
/// second. Whoever lost the stream asks for all anew. At most 64 streams are answered at once.
#[utoipa::path(get, path = "/v1/events", tag = "server",
    responses((status = 200, description = "`event: hello` with a HelloEvent, then `event: changed`", body = ChangedEvent, content_type = "text/event-stream"),
        (status = 503, description = "there are 64 streams already")))]
pub(crate) async fn events(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let Ok(place) = Arc::clone(&shared.news.0.places).try_acquire_owned() else {
        let detail =
            format!("{STREAMS_MAX} streams of events are open already: close one, a page of the console is one");
        return Err(ApiError::new(Code::Unavailable, detail).with_retry_after(PLACE_AFTER));
    };
    let store_error = |error: bowline_store::Error| ApiError::of(error.code(), &error);
    let following = shared.news.follow(Sources::of(&shared)).await.map_err(store_error)?;
    let counts = shared.news.0.counts.subscribe();
    let told = *counts.borrow();
    let revision = shared.store.revision().await.map_err(store_error)?;
    let (drain, hello) = (shared.drain.clone(), Some(HelloEvent { revision }));
    let stream = Stream { hello, counts, told, drain, _following: following, _place: place };
    let listener = Listener::of(&shared);
    let body = StreamBody::new(stream::unfold((stream, listener), |(mut stream, listener)| async move {
        let text = stream.next().await?;
        let is_allowed = listener.is_allowed().await;
        is_allowed.then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from(text))), (stream, listener)))
    }));
    // What stands between must neither keep it nor wait until there is more of it.
    let headers = [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")];
    Ok((headers, Body::new(body)).into_response())
}

/// Who listens: a token that is revoked or expires ends its streams, too.
struct Listener {
    access: Arc<Access>,
    token: Option<String>,
}

impl Listener {
    /// Whoever sends the request at hand.
    fn of(shared: &Shared) -> Self {
        let token = match actor::current().actor {
            AuditActor::Token { id, .. } => Some(id),
            AuditActor::Bowline | AuditActor::Anonymous { .. } => None,
        };
        Self { access: shared.access.clone(), token }
    }

    async fn is_allowed(&self) -> bool {
        match &self.token {
            Some(id) => self.access.lives(id).await,
            None => true,
        }
    }
}

/// One stream of events.
struct Stream {
    /// The first event, until it was told.
    hello: Option<HelloEvent>,
    counts: watch::Receiver<Counts>,
    /// What was told last.
    told: Counts,
    drain: Drain,
    _following: Arc<Following>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// The text of the next event; none at the end.
    async fn next(&mut self) -> Option<String> {
        if let Some(hello) = self.hello.take() {
            return Some(format!("retry: {RETRY_MS}\n{}", event("hello", &hello)));
        }
        let mut drain = self.drain.clone();
        let kinds = drain.or_drain(timeout(KEEP_ALIVE_EVERY, self.changed())).await?;
        Some(kinds.map_or_else(|_| ": keep-alive\n\n".to_owned(), |kinds| event("changed", &ChangedEvent { kinds })))
    }

    /// Waits for changes, and a little longer for those that come with them.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not told is told by the next call.
    async fn changed(&mut self) -> Vec<EventKind> {
        while *self.counts.borrow_and_update() == self.told {
            if self.counts.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        time::sleep(TOGETHER).await;
        let now = *self.counts.borrow_and_update();
        let before = std::mem::replace(&mut self.told, now);
        EventKind::ALL.into_iter().filter(|kind| now[*kind as usize] != before[*kind as usize]).collect()
    }
}

fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("names and numbers are JSON");
    format!("event: {name}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use bowline_runtime::{drain, time::Instant};

    use super::*;

    fn stream(news: &News) -> (Stream, drain::Drainer) {
        let (drainer, drain) = drain::channel();
        let counts = news.0.counts.subscribe();
        let place = Arc::clone(&news.0.places).try_acquire_owned().unwrap();
        let told = *counts.borrow();
        let following = Arc::new(Following::default());
        let hello = Some(HelloEvent { revision: 7 });
        (Stream { hello, counts, told, drain, _following: following, _place: place }, drainer)
    }

    fn since(begun: Instant) -> Duration {
        time::now() - begun
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_at_once_is_told_together() {
        let news = News::default();
        let (mut stream, _drainer) = stream(&news);
        let begun = time::now();
        assert_eq!(stream.next().await.unwrap(), "retry: 2000\nevent: hello\ndata: {\"revision\":7}\n\n");
        for _ in 0..1000 {
            news.tell(&[EventKind::Health, EventKind::Services]);
        }
        news.tell(&[]);
        let told = stream.next().await.unwrap();
        assert_eq!(told, "event: changed\ndata: {\"kinds\":[\"services\",\"health\"]}\n\n");
        assert_eq!(since(begun), TOGETHER);
        news.tell(&[EventKind::Faults]);
        assert_eq!(stream.next().await.unwrap(), "event: changed\ndata: {\"kinds\":[\"faults\"]}\n\n");
        assert_eq!(since(begun), 2 * TOGETHER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_says_that_it_lives_and_loses_nothing() {
        let news = News::default();
        let (mut stream, drainer) = stream(&news);
        let begun = time::now();
        stream.next().await.unwrap();
        let keep_alive = ": keep-alive\n\n";
        assert_eq!(stream.next().await.unwrap(), keep_alive);
        assert_eq!(since(begun), KEEP_ALIVE_EVERY);
        // One that changes just before, so that the wait for others is cut off.
        let late = async {
            time::sleep(KEEP_ALIVE_EVERY.saturating_sub(TOGETHER / 2)).await;
            news.tell(&[EventKind::Mesh]);
        };
        let (next, ()) = tokio::join!(stream.next(), late);
        assert_eq!(next.unwrap(), keep_alive);
        assert!(stream.next().await.unwrap().contains("mesh"));
        drainer.start();
        assert_eq!(stream.next().await, None);
    }

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        for (at, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }
}
