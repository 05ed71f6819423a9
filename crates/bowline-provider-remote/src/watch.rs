//! A watch of instances over the API.

use bowline_model::Code;
use bowline_registry::{Error, InstanceChange, InstanceEvent, InstanceWatch, Revision};
use bowline_runtime::BoxFuture;
use bowline_transport::{ResponseBody, SharedPool};
use http::Response;

use crate::{
    lines::{Fault, Lines},
    wire::WatchEvent,
};

/// Changes as a server tells them.
#[derive(Debug)]
pub(crate) struct RemoteWatch {
    lines: Lines,
    revision: Revision,
}

impl RemoteWatch {
    /// The watch that an answer is; an answer that is no success is read as the error it tells.
    pub(crate) async fn of(answer: Response<ResponseBody<SharedPool>>, from: Revision) -> Result<Self, Error> {
        Ok(Self { lines: Lines::of(answer).await.map_err(error_of)?, revision: from })
    }

    async fn event(&mut self) -> Result<InstanceEvent, Error> {
        loop {
            match self.lines.next().await.map_err(error_of)? {
                Some(WatchEvent::Put { revision, instance }) => {
                    return Ok(self.seen(revision, InstanceChange::Put(instance)));
                }
                Some(WatchEvent::Delete { revision, id, service }) => {
                    return Ok(self.seen(revision, InstanceChange::Delete { id, service }));
                }
                Some(WatchEvent::Error { code, detail }) => return Err(refused(code, detail)),
                Some(WatchEvent::Bookmark { revision, .. }) => self.revision = self.revision.max(revision),
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

fn error_of(fault: Fault) -> Error {
    match fault {
        Fault::Refused(problem) => refused(problem.code, problem.detail),
        Fault::Broken(cause) => Error::Unavailable(Some(cause)),
    }
}

/// A refusal in the registry's words: what makes the watcher list anew is told apart.
fn refused(code: Code, detail: String) -> Error {
    match code {
        Code::OutOfRange => Error::OtherHistory,
        code => Error::Refused { code, detail },
    }
}

impl InstanceWatch for RemoteWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<InstanceEvent, Error>> {
        Box::pin(self.event())
    }

    fn revision(&self) -> Option<Revision> {
        Some(self.revision)
    }
}
