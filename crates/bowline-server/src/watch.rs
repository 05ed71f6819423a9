//! A watch as a response body: one JSON object a line, with a bookmark now and then.

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

use crate::error::ApiError;

/// The media type of newline-delimited JSON.
pub(crate) const WATCH_CONTENT_TYPE: &str = "application/x-ndjson";

/// How long a silent watch waits before it sends a bookmark, so that a dead peer is noticed.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);

struct State {
    watch: Box<dyn InstanceWatch>,
    revision: u64,
    drain: Drain,
    has_ended: bool,
}

type Item = Result<Frame<Bytes>, std::convert::Infallible>;

/// The events after `revision`; ends when the server drains, or after an error event.
pub(crate) fn body(
    watch: Box<dyn InstanceWatch>,
    revision: u64,
    drain: Drain,
) -> StreamBody<impl Stream<Item = Item> + Send> {
    let state = State { watch, revision, drain, has_ended: false };
    StreamBody::new(stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        let mut line = serde_json::to_vec(&event).expect("a watch event is JSON");
        line.push(b'\n');
        Some((Ok(Frame::data(Bytes::from(line))), state))
    }))
}

impl State {
    async fn next(&mut self) -> Option<WatchEvent> {
        if self.has_ended {
            return None;
        }
        let waited = self.drain.or_drain(timeout(BOOKMARK_EVERY, self.watch.next())).await?;
        Some(match waited {
            Err(_) => {
                // Others' changes count too: whoever resumes later is then not behind the history.
                self.revision = self.watch.revision().map_or(self.revision, |seen| seen.max(self.revision));
                WatchEvent::Bookmark { revision: self.revision }
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
