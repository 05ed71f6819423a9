//! A watch of one document as lines: its state first, then each later one.

use bowline_config::{ConfigWatcher, Version};
use bowline_provider_remote::wire::ConfigEvent;
use bowline_runtime::{drain::Drain, time::timeout};
use bytes::Bytes;
use http_body::Body;

use crate::{
    error::ApiError,
    watch::{BOOKMARK_EVERY, Source, lines},
};

struct Document {
    watcher: Box<dyn ConfigWatcher>,
    /// The first line, which is known when the answer begins.
    first: Option<ConfigEvent>,
    drain: Drain,
    has_ended: bool,
}

/// The lines of a watch; ends when the server drains, or after an error event.
///
/// # Errors
/// When there is no first line: it is better told as the answer.
pub(super) async fn body(
    mut watcher: Box<dyn ConfigWatcher>,
    drain: Drain,
) -> Result<impl Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static, ApiError> {
    let first = Some(event_of(watcher.next().await?));
    Ok(lines(Document { watcher, first, drain, has_ended: false }))
}

fn event_of(state: Option<Version>) -> ConfigEvent {
    state.map_or(ConfigEvent::Absent, |version| ConfigEvent::Put { version })
}

impl Source for Document {
    type Event = ConfigEvent;

    async fn next(&mut self) -> Option<ConfigEvent> {
        if self.has_ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        Some(match self.drain.or_drain(timeout(BOOKMARK_EVERY, self.watcher.next())).await? {
            Err(_) => ConfigEvent::Bookmark,
            Ok(Ok(state)) => event_of(state),
            Ok(Err(error)) => {
                self.has_ended = true;
                let (code, detail) = ApiError::from(error).into_parts();
                ConfigEvent::Error { code, detail }
            }
        })
    }
}
