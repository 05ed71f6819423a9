//! A watch as a response body: one JSON object a line; that of instances with a bookmark first and now and then.

use bowline_provider_remote::wire::WatchEvent;
use bowline_registry::{InstanceChange, InstanceWatch};
use bowline_runtime::{
    drain::Drain,
    time::{Duration, timeout},
};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body_util::StreamBody;
use hyper::body::Frame;

use crate::error::{ApiError, TRACE_ID};

/// The media type of newline-delimited JSON.
pub(crate) const WATCH_CONTENT_TYPE: &str = "application/x-ndjson";

/// How long a silent watch waits before it sends a bookmark, so that a dead peer is noticed.
pub(crate) const BOOKMARK_EVERY: Duration = Duration::from_secs(10);

/// What a watch has to tell, one event after the other.
pub(crate) trait Source: Send + 'static {
    /// A line of it.
    type Event: serde::Serialize;

    /// Waits for the next event; none at the end.
    fn next(&mut self) -> impl Future<Output = Option<Self::Event>> + Send;
}

struct State {
    watch: Box<dyn InstanceWatch>,
    revision: u64,
    history: Option<String>,
    drain: Drain,
    has_begun: bool,
    has_ended: bool,
}

type Item = Result<Frame<Bytes>, std::convert::Infallible>;

/// The events of a source, one a line.
pub(crate) fn lines<S: Source>(source: S) -> StreamBody<impl Stream<Item = Item> + Send + 'static> {
    // The body is read after the request left its scope.
    let trace_id = TRACE_ID.try_with(Clone::clone).unwrap_or_default();
    StreamBody::new(stream::unfold(source, move |mut source| {
        TRACE_ID.scope(trace_id.clone(), async move {
            let event = source.next().await?;
            let mut line = serde_json::to_vec(&event).expect("a watch event is JSON");
            line.push(b'\n');
            Some((Ok(Frame::data(Bytes::from(line))), source))
        })
    }))
}

/// A bookmark, then the events after `revision`; ends when the server drains, or after an error
/// event.
pub(crate) fn body(
    watch: Box<dyn InstanceWatch>,
    revision: u64,
    history: Option<String>,
    drain: Drain,
) -> StreamBody<impl Stream<Item = Item> + Send + 'static> {
    lines(State { watch, revision, history, drain, has_begun: false, has_ended: false })
}

impl Source for State {
    type Event = WatchEvent;

    async fn next(&mut self) -> Option<WatchEvent> {
        if self.has_ended {
            return None;
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            return Some(self.bookmark());
        }
        let waited = self.drain.or_drain(timeout(BOOKMARK_EVERY, self.watch.next())).await?;
        Some(match waited {
            Err(_) => {
                // Others' changes count too: whoever resumes later is then not behind the history.
                self.revision = self.watch.revision().map_or(self.revision, |seen| seen.max(self.revision));
                self.bookmark()
            }
            Ok(Ok(event)) => {
                self.revision = event.revision;
                match event.change {
                    InstanceChange::Put(instance) => WatchEvent::Put { revision: event.revision, instance },
                    InstanceChange::Delete { id, service } => {
                        WatchEvent::Delete { revision: event.revision, id, service }
                    }
                }
            }
            Ok(Err(error)) => {
                self.has_ended = true;
                let (code, detail) = ApiError::from(error).into_parts();
                WatchEvent::Error { code, detail }
            }
        })
    }
}

impl State {
    fn bookmark(&self) -> WatchEvent {
        WatchEvent::Bookmark { revision: self.revision, history: self.history.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bowline_registry::{Error, InstanceEvent};
    use bowline_runtime::{BoxFuture, drain};
    use http_body_util::BodyExt as _;

    use super::*;

    /// Fails, and keeps the trace id that a failure is logged under.
    struct Fails(Arc<Mutex<Option<String>>>);

    impl InstanceWatch for Fails {
        fn next(&mut self) -> BoxFuture<'_, Result<InstanceEvent, Error>> {
            Box::pin(async {
                *self.0.lock().unwrap() = TRACE_ID.try_with(Clone::clone).ok();
                Err(Error::Lagged)
            })
        }
    }

    #[tokio::test]
    async fn a_failure_is_logged_under_the_requests_trace_id() {
        let (_drainer, drain) = drain::channel();
        let seen = Arc::new(Mutex::new(None));
        let watch = Box::new(Fails(seen.clone()));
        let body = TRACE_ID.scope("4bf9".to_owned(), async { body(watch, 7, None, drain) }).await;
        let text = body.collect().await.unwrap().to_bytes();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines[0], br#"{"type":"bookmark","revision":7}"#);
        assert!(lines[1].starts_with(br#"{"type":"error","code":"unavailable""#), "{lines:?}");
        assert_eq!(seen.lock().unwrap().as_deref(), Some("4bf9"));
    }
}
