//! What every request passes before it reaches the application: authorization, then faults.

use bowline_model::{ServiceName, mesh::Snapshot};
use bowline_proxy::{Filter, Verdict, Visit, matcher::InvalidRoute};
use bowline_runtime::{metric::Registry, time};

use crate::{
    authorize::Authorizer,
    inject::{Abort, Faults, Injected},
};

/// The rules and the faults of one service, as its snapshot has them.
#[derive(Debug)]
pub(crate) struct Inbound {
    authorizer: Authorizer,
    faults: Faults,
}

/// What follows the delay of a request.
#[derive(Debug, Clone)]
struct AfterDelay(Option<Abort>);

impl Inbound {
    /// # Errors
    /// [`InvalidRoute`] names a rule that cannot be compiled.
    pub(crate) fn new(service: &ServiceName, snapshot: &Snapshot, metrics: &Registry) -> Result<Self, InvalidRoute> {
        let authorizer = Authorizer::new(service, snapshot, metrics)?;
        Ok(Self { authorizer, faults: Faults::new(service, snapshot, metrics) })
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
