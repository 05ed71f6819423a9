//! A watch over the API: events off a body that does not end.

use std::{sync::Arc, time::Duration};

use bowline_model::Code;
use bowline_registry::{Error, InstanceChange, InstanceEvent, InstanceWatch, Revision};
use bowline_runtime::{BoxFuture, time};
use bowline_transport::{ResponseBody, SharedPool, problem};
use bytes::{Buf as _, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;

use crate::wire::WatchEvent;

/// The longest line of a watch.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How long a watch may be silent: three bookmarks of the server are missing then.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// Changes as a server tells them.
#[derive(Debug)]
pub(crate) struct RemoteWatch {
    body: ResponseBody<SharedPool>,
    buffer: BytesMut,
    revision: Revision,
}

impl RemoteWatch {
    /// The watch that an answer is; an answer that is no success is read as the error it tells.
    pub(crate) async fn of(answer: Response<ResponseBody<SharedPool>>, from: Revision) -> Result<Self, Error> {
        let (head, body) = answer.into_parts();
        let mut watch = Self { body, buffer: BytesMut::new(), revision: from };
        if head.status.is_success() {
            return Ok(watch);
        }
        while watch.read().await? {}
        let problem = problem::Problem::parse(head.status, &head.headers, &watch.buffer);
        let (code, detail) = match problem {
            Some(problem) => (problem.code, problem.detail),
            None => (problem::code_of_status(head.status), head.status.to_string()),
        };
        Err(refused(code, detail))
    }

    /// Reads more; false at the end of the body.
    async fn read(&mut self) -> Result<bool, Error> {
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(unavailable("the line of a watch is too long"));
        }
        match time::timeout(SILENCE_MAX, self.body.frame()).await {
            Err(elapsed) => Err(unavailable(elapsed)),
            Ok(None) => Ok(false),
            Ok(Some(Err(error))) => Err(unavailable(error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                Ok(true)
            }
        }
    }

    /// The next whole line that is buffered, parsed.
    fn line(&mut self) -> Option<Result<WatchEvent, Error>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        Some(serde_json::from_slice(&line).map_err(unavailable))
    }

    async fn event(&mut self) -> Result<InstanceEvent, Error> {
        loop {
            match self.line().transpose()? {
                Some(WatchEvent::Put { revision, instance }) => {
                    return Ok(self.seen(revision, InstanceChange::Put(instance)));
                }
                Some(WatchEvent::Delete { revision, id, service }) => {
                    return Ok(self.seen(revision, InstanceChange::Delete { id, service }));
                }
                Some(WatchEvent::Error { code, detail }) => return Err(refused(code, detail)),
                Some(WatchEvent::Bookmark { revision, .. }) => self.revision = self.revision.max(revision),
                None if self.read().await? => {}
                None => return Err(Error::Unavailable(None)),
            }
        }
    }

    /// A change; up to the revision before it everything was told, of it maybe not yet.
    fn seen(&mut self, revision: Revision, change: InstanceChange) -> InstanceEvent {
        self.revision = self.revision.max(revision.saturating_sub(1));
        InstanceEvent { revision, change }
    }
}

/// A refusal in the registry's words: what makes the watcher list anew is told apart.
fn refused(code: Code, detail: String) -> Error {
    match code {
        Code::OutOfRange => Error::OtherHistory,
        code => Error::Refused { code, detail },
    }
}

/// The registry cannot be reached, because.
fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable(Some(Arc::from(cause.into())))
}

impl InstanceWatch for RemoteWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<InstanceEvent, Error>> {
        Box::pin(self.event())
    }

    fn revision(&self) -> Option<Revision> {
        Some(self.revision)
    }
}
