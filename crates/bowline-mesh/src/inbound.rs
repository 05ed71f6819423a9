//! What every request passes before it reaches the application: authorization, then faults. What Bowline asks of the
//! sidecar itself is answered here.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bowline_model::{
    ServiceName,
    mesh::{BREAKERS_PATH, OwnBreakers, Snapshot},
};
use bowline_proxy::{Filter, Verdict, Visit, matcher::InvalidRoute};
use bowline_runtime::{metric::Registry, time};
use bytes::Bytes;
use http::{Method, Response, header};

use crate::{
    authorize::Authorizer,
    inject::{Abort, Faults, Injected},
};

/// The rules and the faults of one service, as its snapshot has them.
#[derive(Debug)]
pub(crate) struct Inbound {
    authorizer: Authorizer,
    faults: Faults,
    teller: Teller,
}

type Tell = Box<dyn Fn() -> OwnBreakers + Send + Sync>;

/// What tells Bowline of the breakers of a sidecar that makes its application's calls. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Teller(Arc<OnceLock<Tell>>);

impl Teller {
    /// Has that tell of them; the first one stays.
    pub(crate) fn set(&self, tell: impl Fn() -> OwnBreakers + Send + Sync + 'static) {
        self.0.get_or_init(|| Box::new(tell));
    }

    /// The answer to a request, where it asks for them: who asks has been let in.
    fn answer(&self, visit: &Visit<'_>) -> Option<Response<Bytes>> {
        let is_asked = visit.head.method == Method::GET && visit.head.uri.path() == BREAKERS_PATH;
        let tell = self.0.get().filter(|_| is_asked)?;
        let body = serde_json::to_vec(&tell()).ok()?;
        Response::builder().header(header::CONTENT_TYPE, "application/json").body(Bytes::from(body)).ok()
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").field("tells", &self.0.get().is_some()).finish()
    }
}

/// What follows the delay of a request.
#[derive(Debug, Clone)]
struct AfterDelay(Option<Abort>);

impl Inbound {
    /// # Errors
    /// [`InvalidRoute`] names a rule that cannot be compiled.
    pub(crate) fn new(
        service: &ServiceName,
        snapshot: &Snapshot,
        metrics: &Registry,
        teller: Teller,
    ) -> Result<Self, InvalidRoute> {
        let authorizer = Authorizer::new(service, snapshot, metrics)?;
        Ok(Self { authorizer, faults: Faults::new(service, snapshot, metrics), teller })
    }
}

impl Filter for Inbound {
    fn admit(&self, visit: &mut Visit<'_>) -> Verdict {
        if visit.has_waited {
            let after = visit.head.extensions.remove::<AfterDelay>();
            return end(after.and_then(|after| after.0), visit);
        }
        if let Err(refusal) = self.authorizer.admit(visit) {
            return Verdict::Refuse(refusal);
        }
        if let Some(answer) = self.teller.answer(visit) {
            return Verdict::Answer(Box::new(answer));
        }
        let Injected { delay, abort } = self.faults.draw(visit);
        let Some(delay) = delay else { return end(abort, visit) };
        visit.head.extensions.insert(AfterDelay(abort));
        Verdict::Wait(Box::pin(async move { time::sleep(delay).await }))
    }
}

fn end(abort: Option<Abort>, visit: &mut Visit<'_>) -> Verdict {
    match abort {
        Some(abort) => Verdict::Answer(Box::new(abort.answer(visit))),
        None => Verdict::Pass,
    }
}
