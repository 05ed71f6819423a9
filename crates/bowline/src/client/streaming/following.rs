//! Events across answers: asked for again when one ends.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_model::policy::RetryPolicy;
use bowline_resilience::retry::backoff;
use bowline_runtime::{rand, time};
use bowline_transport::Body;
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _, unfold};
use http::{HeaderValue, StatusCode, header, request::Parts};

use super::{Call, Error, Event, Events};
use crate::ServiceClient;

/// The longest wait that a service may ask for.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// See [`Call::events`].
#[must_use = "streams do nothing unless polled"]
pub struct Following(Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>);

impl Following {
    pub(super) fn new(call: Call) -> Self {
        let (client, body) = (call.client.clone(), call.body.as_ref().ok().cloned().flatten());
        let begun = call.into_request().map(|(_, request)| {
            let (mut head, _) = request.into_parts();
            head.headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("text/event-stream"));
            Follower { client, head, body: body.map(Bytes::from), current: None, attempts: 0, wait: None }
        });
        Self(match begun {
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
            Ok(follower) => unfold(Some(follower), |follower| async {
                let mut follower = follower?;
                let next = follower.next().await?;
                let is_over = next.is_err();
                Some((next, Some(follower).filter(|_| !is_over)))
            })
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
    current: Option<Events>,
    /// In a row that gave no event; one that gave some is the first of the next row.
    attempts: u32,
    /// What the service asked for.
    wait: Option<Duration>,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        let retry = self.client.policy().retry.unwrap_or(RetryPolicy { attempts_max: 1, ..RetryPolicy::default() });
        loop {
            let is_last = self.attempts >= retry.attempts_max;
            let Some(current) = &mut self.current else {
                if self.attempts > 0 {
                    let wait = self.wait.unwrap_or_else(|| backoff(&retry.backoff, self.attempts, rand::unit()));
                    time::sleep(wait.min(WAIT_MAX)).await;
                }
                self.attempts += 1;
                match self.open().await {
                    Ok(events) => self.current = Some(events?),
                    Err(error) if error.retryable() && self.attempts < retry.attempts_max => {}
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            match current.next().await {
                Some(Ok(event)) => {
                    self.attempts = 1;
                    self.heed(&event);
                    return Some(Ok(event));
                }
                Some(Err(error @ Error::Answer { .. })) => return Some(Err(error)),
                Some(Err(error)) if is_last => return Some(Err(error)),
                None if is_last => return None,
                Some(Err(_)) | None => self.current = None,
            }
        }
    }

    /// Asks; none: there is nothing more.
    async fn open(&mut self) -> Result<Option<Events>, Error> {
        let body = self.body.clone().map_or_else(Body::empty, Body::full);
        let response = self.client.0.open(http::Request::from_parts(self.head.clone(), body)).await?;
        let has_more = response.status() != StatusCode::NO_CONTENT;
        Ok(has_more.then(|| response.into_body().events()))
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
