//! The rules of judging transfers: once each, by a model, or without one where it does not answer.

use std::sync::Arc;

use bank_features::Features;
use bowline::{
    Code, HandlerError, SpanKind, Tracer, current,
    extract::Subject,
    runtime::{metric, time},
};

use crate::{
    assessment::{Assessment, Decision, NewAssessment, Report, is_id},
    repository::{Assessments, Decided, Kept},
    rules::Rules,
    scorer::Scorer,
};

/// Who notes what customers report.
const TELLER: &str = "teller";

/// Judges transfers.
pub(crate) struct RiskService<R, S> {
    pub(crate) repository: R,
    pub(crate) scorer: S,
    /// The rules now.
    pub(crate) rules: Box<dyn Fn() -> Arc<Rules> + Send + Sync>,
    pub(crate) tracer: Tracer,
    pub(crate) metrics: metric::Registry,
}

impl<R: Assessments, S: Scorer> RiskService<R, S> {
    /// Judges a transfer. Asked again it answers the same, whatever changed since; two who ask at once get one answer.
    pub(crate) async fn assess(&self, new: NewAssessment) -> Result<Assessment, HandlerError> {
        new.validate(i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX))?;
        if let Some(kept) = self.repository.find(&new.transfer).await? {
            return answer(kept, &new);
        }
        let history = self.repository.history(&new).await?;
        let features = Features::of(new.at_unix_ms, new.amount, history.paid, history.received);
        let rules = (self.rules)();
        let decided = match self.scorer.score(&new.transfer, &features).await {
            Ok(scored) => Decided::Scored(rules.judge(&scored)),
            Err(why) => {
                self.tell_fallback(why);
                Decided::Unscored(&rules)
            }
        };
        let (kept, is_new) = self.repository.keep(&new, &decided).await?;
        if is_new {
            self.count(&kept.assessment);
        }
        answer(kept, &new)
    }

    /// Notes that a transfer was a fraud. It counts against its payee, so nobody does that for themself.
    pub(crate) async fn report(&self, subject: &Subject, report: Report) -> Result<Report, HandlerError> {
        if subject.as_str() != TELLER {
            return Err(HandlerError::new(Code::PermissionDenied, "reports are the teller's business: tell them"));
        }
        if !is_id(&report.transfer) {
            return Err(HandlerError::new(Code::Unprocessable, "transfer: 1 to 128 letters, digits, - . and _"));
        }
        if !self.repository.report(&report.transfer).await? {
            let detail = format!("no transfer `{}` is known here, or it is older than 38 days", report.transfer);
            return Err(HandlerError::new(Code::NotFound, detail));
        }
        Ok(report)
    }

    /// The trace says that no model was asked, and why.
    fn tell_fallback(&self, why: String) {
        let mut span = self.tracer.start("risk.fallback", SpanKind::Internal, current::context());
        span.set("risk.fallback.why", why);
    }

    fn count(&self, decided: &Assessment) {
        let by = if decided.score.is_some() { "model" } else { "fallback" };
        counter(&self.metrics, by, decided.decision).increment();
    }
}

/// Has every series be there from the start, so that a rule sees the first of them.
pub(crate) fn show_counters(metrics: &metric::Registry) {
    for by in ["model", "fallback"] {
        for decision in [Decision::Allow, Decision::Deny] {
            counter(metrics, by, decision);
        }
    }
}

fn counter(metrics: &metric::Registry, by: &str, decision: Decision) -> metric::Counter {
    let labels = [("by", by), ("decision", decision.as_str())];
    metrics.counter("bank_risk_assessments_total", "Transfers that were judged, by whom, and how.", &labels)
}

fn answer(kept: Kept, new: &NewAssessment) -> Result<Assessment, HandlerError> {
    if kept.is_of(new) {
        return Ok(kept.assessment);
    }
    Err(HandlerError::new(Code::Conflict, "transfer: it was assessed with other accounts, amount or currency"))
}

#[cfg(test)]
mod tests;
