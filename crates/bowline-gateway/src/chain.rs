//! The chain that a request passes: authenticate, limit, middleware; its answer passes the middleware in
//! reverse.

use std::sync::Arc;

use bowline_model::Code;
use bowline_proxy::{Filter, Refusal, Verdict, Visit};
use bowline_telemetry::names;

use crate::{
    auth::{Authenticator, Identity, Outcome},
    limit::{self, Caller, RateLimiter},
    middleware::Middleware,
};

/// What the listener or one route demands and does.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) auth: Option<Arc<dyn Authenticator>>,
    pub(crate) limit: Option<Arc<dyn RateLimiter>>,
    pub(crate) middleware: Vec<Box<dyn Middleware>>,
    /// Whose credentials go no further. A route's chain takes away the listener's, too: until then its own
    /// authenticator may need what the listener's has read.
    pub(crate) forget: Vec<Arc<dyn Authenticator>>,
}

impl Chain {
    /// Whether it demands and does nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { auth, limit, middleware, forget } = self;
        auth.is_none() && limit.is_none() && middleware.is_empty() && forget.is_empty()
    }

    /// Finds out who calls.
    ///
    /// What the listener found out stands where the same provider is asked again.
    fn authenticate(&self, visit: &mut Visit<'_>) -> Result<(), Verdict> {
        let Some(auth) = &self.auth else { return Ok(()) };
        if known(visit).is_some_and(|identity| identity.provider() == auth.provider()) {
            return Ok(());
        }
        match auth.authenticate(&visit.head.headers, !visit.has_waited) {
            Outcome::Known(identity) => {
                visit.span.set_with(names::BOWLINE_AUTH, || identity.provider().to_owned());
                visit.span.set_with(names::ENDUSER_ID, || identity.subject().to_owned());
                visit.head.extensions.insert(identity);
                Ok(())
            }
            Outcome::Refused(refusal) => {
                visit.span.set_with(names::BOWLINE_AUTH, || auth.provider().to_owned());
                Err(Verdict::Refuse(refusal))
            }
            Outcome::Later(_) if visit.has_waited => Err(Verdict::Refuse(Box::new(undecided()))),
            Outcome::Later(event) => Err(Verdict::Wait(event)),
        }
    }

    fn check_limit(&self, visit: &mut Visit<'_>) -> Result<(), Verdict> {
        let Some(limit) = &self.limit else { return Ok(()) };
        let (client, headers) = (visit.client, &visit.head.headers);
        let decision = limit.check(&Caller { client, identity: known(visit), headers });
        visit.span.set(names::BOWLINE_LIMIT, if decision.is_allowed { "allowed" } else { "refused" });
        visit.span.set(names::BOWLINE_LIMIT_REMAINING, i64::from(decision.remaining));
        let said = limit.describe(&decision);
        visit.on_answer(move |leaving| {
            for (name, value) in said {
                leaving.head.headers.append(name, value);
            }
        });
        if decision.is_allowed {
            return Ok(());
        }
        Err(Verdict::Refuse(Box::new(limit::refuse(&**limit, &decision))))
    }

    fn pass(&self, visit: &mut Visit<'_>) -> Result<(), Verdict> {
        // A browser sends no credentials with a preflight (Fetch, CORS-preflight fetch).
        if visit.is_preflight {
            let answer = self.middleware.iter().find_map(|each| each.preflight(&visit.head.headers));
            return match answer {
                Some(answer) => Err(Verdict::Answer(Box::new(answer))),
                // The listener has none: it limits how often one may ask.
                None => self.check_limit(visit),
            };
        }
        self.authenticate(visit)?;
        self.check_limit(visit)?;
        for auth in &self.forget {
            auth.forget(&mut visit.head.headers);
        }
        if let Some(identity) = visit.head.extensions.get::<Identity>() {
            identity.write(&mut visit.head.headers);
        }
        for each in &self.middleware {
            each.process(visit);
        }
        Ok(())
    }
}

/// Who calls, as far as that was found out.
pub(crate) fn known<'a>(visit: &'a Visit<'_>) -> Option<&'a Identity> {
    visit.head.extensions.get()
}

/// An authenticator that does not decide though it was waited for.
pub(crate) fn undecided() -> Refusal {
    Refusal::new(Code::Unavailable, "auth_undecided", "who calls cannot be found out now")
}

impl Filter for Chain {
    fn begin(&self, visit: &mut Visit<'_>) {
        for each in &self.middleware {
            each.begin(visit);
        }
    }

    fn admit(&self, visit: &mut Visit<'_>) -> Verdict {
        match self.pass(visit) {
            Ok(()) => Verdict::Pass,
            Err(verdict) => verdict,
        }
    }

    fn answers_preflights(&self) -> bool {
        self.middleware.iter().any(|each| each.name() == "cors")
    }
}
