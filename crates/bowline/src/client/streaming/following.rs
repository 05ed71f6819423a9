//! Events across answers: asked for again when one ends.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_model::{Code, error::chain, policy::Backoff};
use bowline_resilience::retry::{backoff, is_idempotent};
use bowline_runtime::{
    rand,
    time::{self, Instant},
};
use bowline_transport::Body;
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _, unfold};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{Call, Error, Event, Events, Streaming};
use crate::{ServiceClient, client::time_left};

/// The longest wait that a service may ask for.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// The waits between two times that it is asked for.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(30) };
/// For how long an answer without an event is to stand, not to count as one that failed.
const STANDS: Duration = Duration::from_secs(1);
const EVENT_STREAM: &str = "text/event-stream";

/// See [`Call::events`].
#[must_use = "streams do nothing unless polled"]
pub struct Following(Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>);

impl Following {
    pub(super) fn new(call: Call) -> Self {
        let (client, body) = (call.client.clone(), call.body.as_ref().ok().cloned().flatten());
        let begun = call.into_request().map(|(_, request)| {
            let (mut head, _) = request.into_parts();
            head.headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static(EVENT_STREAM));
            Follower { client, head, body: body.map(Bytes::from), current: None, in_a_row: 0, wait: None }
        });
        Self(match begun {
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
            Ok(follower) => unfold(Some(follower), |follower| async {
                let mut follower = follower?;
                let next = follower.next().await?;
                let is_over = next.is_err();
                Some((next, Some(follower).filter(|_| !is_over)))
            })
            .fuse()
            .boxed(),
        })
    }
}

impl Stream for Following {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").finish_non_exhaustive()
    }
}

struct Follower {
    client: ServiceClient,
    /// Of the request; `Last-Event-ID` is that of the last event.
    head: Parts,
    body: Option<Bytes>,
    /// The answer that is read, and since when.
    current: Option<(Events, Instant)>,
    /// How often it was asked for in a row without an event, or an answer that stood; one that did is the first of the
    /// next row.
    in_a_row: u32,
    /// What the service asked for.
    wait: Option<Duration>,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            let Some((events, _)) = &mut self.current else {
                if self.in_a_row > 0 {
                    let pause = self.pause();
                    time::sleep(time_left().map_or(pause, |left| pause.min(left))).await;
                }
                self.in_a_row = self.in_a_row.saturating_add(1);
                match self.open().await {
                    Ok(events) => self.current = Some((events?, time::now())),
                    Err(error) if self.asks_again() && passes(&error) => self.tell(&error),
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            match events.next().await {
                Some(Ok(event)) => {
                    self.in_a_row = 1;
                    self.heed(&event);
                    return Some(Ok(event));
                }
                Some(Err(error)) if self.asks_again() && passes(&error) => {
                    self.tell(&error);
                    self.close();
                }
                Some(Err(error)) => return Some(Err(error)),
                None if self.asks_again() => self.close(),
                None if self.is_repeatable() => return Some(Err(Error::out_of_time(self.client.service()))),
                None => return None,
            }
        }
    }

    /// How long to wait now: as long as the service asked for, and longer where it fails again and again.
    fn pause(&self) -> Duration {
        let own = backoff(&BACKOFF, self.in_a_row, rand::unit());
        match self.wait {
            Some(wait) if self.in_a_row <= 1 => wait.min(WAIT_MAX),
            Some(wait) => wait.min(WAIT_MAX).max(own),
            None => own,
        }
    }

    /// Asks; none: there is nothing more.
    async fn open(&mut self) -> Result<Option<Events>, Error> {
        let body = self.body.clone().map_or_else(Body::empty, Body::full);
        let response = self.client.0.open(http::Request::from_parts(self.head.clone(), body)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        if !is_event_stream(&response) {
            return Err(response.body().unread(format!("it is no {EVENT_STREAM}")));
        }
        Ok(Some(response.into_body().events()))
    }

    /// Leaves an answer that is over.
    fn close(&mut self) {
        let Some((events, since)) = self.current.take() else { return };
        self.heed(&events.rest());
        if time::now() - since >= STANDS {
            self.in_a_row = 1;
        }
    }

    /// Whether it may be asked for once more.
    fn asks_again(&self) -> bool {
        // What is asked for a request that is over would only fail.
        time_left().is_none_or(|left| !left.is_zero()) && self.is_repeatable()
    }

    fn is_repeatable(&self) -> bool {
        let Parts { method, headers, .. } = &self.head;
        is_idempotent(method.as_str(), headers.contains_key("idempotency-key"))
    }

    fn tell(&self, error: &Error) {
        let service = self.client.service();
        tracing::warn!(%service, error = chain(error), "events break off: they are asked for again");
    }

    /// Remembers from where to go on, and when.
    fn heed(&mut self, event: &Event) {
        self.wait = event.retry.or(self.wait);
        let Some(id) = &event.id else { return };
        // An empty one says that there is none.
        match HeaderValue::from_str(id) {
            Ok(id) if !id.is_empty() => drop(self.head.headers.insert("last-event-id", id)),
            _ => drop(self.head.headers.remove("last-event-id")),
        }
    }
}

/// Whether it may pass by itself, or with another instance.
fn passes(error: &Error) -> bool {
    // What cannot be read is what the service has to say.
    !matches!(error, Error::Answer { .. }) && (error.retryable() || error.code() == Code::BadGateway)
}

fn is_event_stream(response: &Response<Streaming>) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(EVENT_STREAM))
}
