//! The chain that a request passes: authenticate, limit, middleware; its answer passes the middleware in
//! reverse.

use std::{net::IpAddr, sync::Arc};

use bowline_model::Code;
use bowline_proxy::{Filter, Refusal, Verdict, Visit};
use bowline_resilience::rate::Decision;
use bowline_telemetry::names;
use http::HeaderMap;

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

    /// Finds out who calls; `None` where that is not asked, or known already: what the listener found out
    /// stands where the same provider is asked again.
    fn identify(&self, headers: &HeaderMap, known: Option<&Identity>, may_wait: bool) -> Option<Outcome> {
        let auth = self.auth.as_ref()?;
        if known.is_some_and(|identity| identity.provider() == auth.provider()) {
            return None;
        }
        Some(match auth.authenticate(headers, may_wait) {
            Outcome::Later(_) if !may_wait => Outcome::Refused(Box::new(undecided())),
            outcome => outcome,
        })
    }

    fn authenticate(&self, visit: &mut Visit<'_>) -> Result<(), Verdict> {
        let Some(outcome) = self.identify(&visit.head.headers, known(visit), !visit.has_waited) else { return Ok(()) };
        visit.span.set_with(names::BOWLINE_AUTH, || self.provider().to_owned());
        match outcome {
            Outcome::Known(identity) => {
                visit.span.set_with(names::ENDUSER_ID, || identity.subject().to_owned());
                visit.head.extensions.insert(identity);
                Ok(())
            }
            Outcome::Refused(refusal) => Err(Verdict::Refuse(refusal)),
            Outcome::Later(event) => Err(Verdict::Wait(event)),
        }
    }

    fn provider(&self) -> &str {
        self.auth.as_ref().map_or("", |auth| auth.provider())
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

/// What a chain would make of a request.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// Who calls, as far as that is known.
    pub(crate) identity: Option<Identity>,
    /// What the limit has left; `None` where it is not asked.
    pub(crate) decision: Option<Decision>,
    pub(crate) refusal: Option<Box<Refusal>>,
}

impl Chain {
    /// What [`Filter::admit`] would make of a request; nothing is counted, changed or told to the service.
    /// `known` is what the listener found out.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub(crate) async fn examine(
        &self,
        headers: &HeaderMap,
        client: Option<IpAddr>,
        is_preflight: bool,
        known: Option<Identity>,
    ) -> Examined {
        let mut examined = Examined { identity: known, ..Examined::default() };
        let outcome = if is_preflight { None } else { self.find_out(headers, examined.identity.as_ref()).await };
        match outcome {
            Some(Outcome::Known(identity)) => examined.identity = Some(identity),
            Some(Outcome::Refused(refusal)) => {
                examined.refusal = Some(refusal);
                return examined;
            }
            Some(Outcome::Later(_)) | None => {}
        }
        if let Some(limit) = self.limit.as_ref().filter(|_| !(is_preflight && self.answers_preflights())) {
            let decision = limit.peek(&Caller { client, identity: examined.identity.as_ref(), headers });
            if !decision.is_allowed {
                examined.refusal = Some(Box::new(limit::refuse(&**limit, &decision)));
            }
            examined.decision = Some(decision);
        }
        examined
    }

    /// [`Chain::identify`], waited for as requests wait.
    async fn find_out(&self, headers: &HeaderMap, known: Option<&Identity>) -> Option<Outcome> {
        match self.identify(headers, known, true) {
            Some(Outcome::Later(event)) => {
                event.await;
                self.identify(headers, known, false)
            }
            outcome => outcome,
        }
    }
}

/// Who calls, as far as that was found out.
fn known<'a>(visit: &'a Visit<'_>) -> Option<&'a Identity> {
    visit.head.extensions.get()
}

/// An authenticator that does not decide though it was waited for.
fn undecided() -> Refusal {
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
