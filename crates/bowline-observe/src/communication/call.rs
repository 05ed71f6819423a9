//! The calls of one trace: who asked whom, for what, and how both ends tell it.

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::{
    mesh::Workload,
    observed::{Exchange, Interval, Means, ObservedOperation, Unexpected},
    system::CallMode,
};
use bowline_telemetry::{SpanData, SpanId, SpanKind, TraceId, names};

use crate::attributes;

/// Whom a sidecar names that let somebody in without a certificate.
const UNKNOWN: &str = "unknown";
/// What a sidecar's reasons begin with.
const DENIED: &str = "mesh_";
/// The most spans that one consumer's links lead to.
const LINKS_MAX: usize = 128;

/// A call from one service to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// None: nobody knows.
    pub(super) caller: Option<String>,
    pub(super) callee: String,
    pub(super) mode: CallMode,
    pub(super) is_waited_for: bool,
    pub(super) is_denied: bool,
    pub(super) operation: Option<ObservedOperation>,
    pub(super) topic: Option<String>,
    pub(super) at_unix_nanos: u64,
    pub(super) trace_id: TraceId,
    /// Where its events broke the formula of its mode.
    pub(super) breach: Option<Unexpected>,
}

/// A message that was taken, and whose sender is in another trace.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    service: String,
    interval: Interval,
    topic: Option<String>,
    trace_id: TraceId,
}

/// The spans of one trace, and how they hang together.
pub(super) struct Trace<'a> {
    spans: &'a [SpanData],
    by_id: BTreeMap<SpanId, &'a SpanData>,
    children: BTreeMap<SpanId, Vec<&'a SpanData>>,
}

/// The spans by which one service answered one sender: of its sidecar, of itself, of each attempt.
struct Answer<'a> {
    sender: Option<&'a SpanData>,
    callee: &'a str,
    spans: Vec<&'a SpanData>,
}

impl<'a> Trace<'a> {
    pub(super) fn new(spans: &'a [SpanData]) -> Self {
        let mut children: BTreeMap<SpanId, Vec<&SpanData>> = BTreeMap::new();
        for span in spans {
            if let Some(parent) = span.parent_span_id {
                children.entry(parent).or_default().push(span);
            }
        }
        Self { spans, by_id: spans.iter().map(|span| (span.span_id, span)).collect(), children }
    }

    /// Every call between services that the spans show.
    pub(super) fn calls(&self) -> Vec<Call> {
        let answers = self.answers();
        let senders = answers.iter().filter_map(|answer| answer.sender.map(|sender| sender.span_id));
        // What carries out a request that was handed over is not its sender, and was answered.
        let parents = answers.iter().flat_map(|answer| &answer.spans).filter_map(|span| span.parent_span_id);
        let answered: BTreeSet<SpanId> = senders.chain(parents).collect();
        let seen = answers.iter().filter_map(|answer| self.call(answer));
        let silent = self.spans.iter().filter(|span| !answered.contains(&span.span_id));
        seen.chain(silent.filter_map(|span| self.unanswered(span))).collect()
    }

    /// Messages that were taken, by the spans of other traces that sent them.
    pub(super) fn taken(&self) -> Vec<((TraceId, SpanId), Taken)> {
        let consumers = self.spans.iter().filter(|span| span.kind == SpanKind::Consumer);
        let links = consumers.flat_map(|span| span.links.iter().take(LINKS_MAX).map(move |link| (span, link)));
        let foreign = links.filter(|(span, link)| link.trace_id != span.trace_id);
        let taken = |span: &SpanData| Taken {
            service: span.service.as_ref().to_owned(),
            interval: interval(span),
            topic: attributes::text(span, names::MESSAGING_DESTINATION_NAME),
            trace_id: span.trace_id,
        };
        foreign.map(|(span, link)| ((link.trace_id, link.span_id), taken(span))).collect()
    }

    /// Answers by who was answered. An answer without a sender stands alone.
    fn answers(&self) -> Vec<Answer<'a>> {
        // Who passes on a trace may be in the place of several senders: they are told apart by who is said to ask.
        type Key<'a> = (SpanId, &'a str, Option<String>);
        let mut answers: BTreeMap<Key<'_>, Answer<'a>> = BTreeMap::new();
        for span in self.spans.iter().filter(|span| attributes::is_answer(span.kind)) {
            let callee = &*span.service;
            let parent = span.parent_span_id.and_then(|parent| self.by_id.get(&parent).copied());
            let sender = self.linked(span).or(parent).map(|sender| self.handed_over(sender).unwrap_or(sender));
            let own = sender.filter(|sender| &*sender.service == callee);
            if own.is_some_and(|own| is_behind(span, own)) {
                continue;
            }
            // Who is missing, too, is one that its sidecar and the application have in common.
            let id = sender.map(|sender| sender.span_id).or(span.parent_span_id).unwrap_or(span.span_id);
            let answer = answers.entry((id, callee, own.and_then(|_| said(span))));
            let sender = sender.filter(|_| own.is_none());
            answer.or_insert_with(|| Answer { sender, callee, spans: Vec::new() }).spans.push(span);
        }
        answers.into_values().collect()
    }

    /// Who sent a message that is taken later, as its links say.
    fn linked(&self, span: &SpanData) -> Option<&'a SpanData> {
        let links = span.links.iter().filter(|link| span.kind == SpanKind::Consumer && link.trace_id == span.trace_id);
        links.take(LINKS_MAX).find_map(|link| self.by_id.get(&link.span_id).copied())
    }

    /// Who handed a request over that a span carries out: that one is the sender, and went on long ago.
    fn handed_over(&self, span: &SpanData) -> Option<&'a SpanData> {
        let parent = self.by_id.get(&span.parent_span_id?).copied()?;
        let is_same = parent.service == span.service && topic(parent).is_none();
        (span.kind == SpanKind::Client && parent.kind == SpanKind::Producer && is_same).then_some(parent)
    }

    fn call(&self, answer: &Answer<'a>) -> Option<Call> {
        let Answer { sender, callee, spans } = answer;
        let first = spans.first()?;
        let told = spans.iter().find_map(|span| said(span));
        let caller = match told.as_deref() {
            None => Some(service_of(sender.as_ref()?)?),
            // The gateway would have a certificate: whoever passes on its trace is somebody else.
            Some(UNKNOWN) => sender.and_then(service_of),
            Some(told) => match told.parse() {
                Ok(Workload::Service(service)) => Some(service.to_string()),
                Ok(Workload::Gateway | Workload::Platform) => return None,
                Err(_) => Some(told.to_owned()),
            },
        };
        if caller.as_deref() == Some(callee) {
            return None;
        }
        // Somebody may pass on the trace of another: then the spans are of two calls.
        let sender = sender.filter(|sender| caller.as_deref() == Some(&*sender.service));
        let topic = spans.iter().copied().chain(sender).find_map(topic);
        let means = sender.and_then(|sender| means(sender, first, topic.is_some()));
        let exchange = sender.zip(means).map(|(sender, means)| exchange(sender, means, spans));
        Some(Call {
            caller,
            callee: (*callee).to_owned(),
            mode: exchange.map_or_else(|| mode_of(first.kind, topic.is_some()), |exchange| exchange.mode()),
            is_waited_for: exchange.is_some_and(|exchange| exchange.is_waited_for()),
            is_denied: spans.iter().any(|span| is_denied(span)),
            operation: self.operation(spans),
            topic,
            at_unix_nanos: sender.unwrap_or(first).start_unix_nanos,
            trace_id: first.trace_id,
            breach: exchange.and_then(|exchange| exchange.judge().err()),
        })
    }

    /// A call of which only the caller's span is there: the callee reports none, or it did not come so far.
    fn unanswered(&self, span: &SpanData) -> Option<Call> {
        let is_passed_on = self.children.get(&span.span_id).is_some_and(|children| {
            children.iter().any(|child| child.service == span.service && child.kind != SpanKind::Internal)
        });
        let is_messaging = attributes::text(span, names::MESSAGING_DESTINATION_NAME).is_some();
        if is_passed_on || is_messaging || !attributes::is_call(span) || attributes::database(span).is_some() {
            return None;
        }
        let caller = service_of(span)?;
        let callee = attributes::service(span).filter(|callee| *callee != caller)?;
        Some(Call {
            caller: Some(caller),
            callee,
            mode: if self.handed_over(span).is_some() { CallMode::Async } else { CallMode::Sync },
            // Whether it waited until the callee was through, only the callee's span shows.
            is_waited_for: false,
            is_denied: false,
            operation: self.operation(&[span]),
            topic: None,
            at_unix_nanos: span.start_unix_nanos,
            trace_id: span.trace_id,
            breach: None,
        })
    }

    /// What was asked for of one service, by these spans: the template of the application, else the path.
    fn operation(&self, spans: &[&SpanData]) -> Option<ObservedOperation> {
        let inner = spans.iter().flat_map(|span| self.children.get(&span.span_id).into_iter().flatten());
        // All of them are of one service.
        let of = &spans.first()?.service;
        let inner = inner.filter(|child| child.kind == SpanKind::Server && child.service == *of);
        let mut all = spans.iter().chain(inner);
        let told = |span: &&&SpanData| attributes::text(span, names::HTTP_ROUTE).is_some();
        let span = all.clone().find(told).or_else(|| all.next())?;
        let path = attributes::text(span, names::HTTP_ROUTE).or_else(|| attributes::text(span, names::URL_PATH))?;
        // Counted where it is added up.
        Some(ObservedOperation { method: attributes::text(span, names::HTTP_REQUEST_METHOD)?, path, count: 0 })
    }
}

impl Taken {
    /// The call that it is the end of.
    pub(super) fn call(self, sender: &SpanData) -> Option<Call> {
        let Self { service, interval: callee, topic: received, trace_id } = self;
        let caller = service_of(sender).filter(|caller| *caller != service)?;
        let topic = received.or_else(|| topic(sender));
        let means = if topic.is_some() { Means::Topic } else { Means::Message };
        let exchange = Exchange { means, caller: interval(sender), callee, is_given_up: false };
        Some(Call {
            caller: Some(caller),
            callee: service,
            mode: exchange.mode(),
            is_waited_for: exchange.is_waited_for(),
            is_denied: false,
            operation: None,
            topic,
            at_unix_nanos: sender.start_unix_nanos,
            trace_id,
            breach: exchange.judge().err(),
        })
    }
}

/// Whether a span is of an application behind its sidecar, whose span is `own`: one call has both.
///
/// Unless they say that different callers ask: then the one passed on its trace, and the other asks by it.
fn is_behind(span: &SpanData, own: &SpanData) -> bool {
    let said = said(span);
    said.is_none() || attributes::is_answer(own.kind) && said == self::said(own)
}

/// Who asks, as the callee's sidecar knows it.
fn said(span: &SpanData) -> Option<String> {
    attributes::text(span, names::BOWLINE_CALLER)
}

/// The service of a span; none of Bowline's own, which are no services of a system.
fn service_of(span: &SpanData) -> Option<String> {
    let is_own = matches!(span.service.parse(), Ok(Workload::Gateway | Workload::Platform));
    (!is_own).then(|| span.service.as_ref().to_owned())
}

fn is_denied(span: &SpanData) -> bool {
    let reason = span.attribute(names::BOWLINE_REASON).map(ToString::to_string);
    let status = span.attribute(names::HTTP_RESPONSE_STATUS_CODE).map(ToString::to_string);
    reason.is_some_and(|reason| reason.starts_with(DENIED)) && status.as_deref() == Some("403")
}

fn topic(span: &SpanData) -> Option<String> {
    let is_message = matches!(span.kind, SpanKind::Producer | SpanKind::Consumer | SpanKind::Client);
    is_message.then(|| attributes::text(span, names::MESSAGING_DESTINATION_NAME)).flatten()
}

/// How it was sent, where the sender's span stands for the sending.
fn means(sender: &SpanData, answer: &SpanData, has_topic: bool) -> Option<Means> {
    let is_message = sender.kind == SpanKind::Producer || answer.kind == SpanKind::Consumer;
    match (is_message, has_topic) {
        (true, true) if sender.kind == SpanKind::Producer || attributes::is_call(sender) => Some(Means::Topic),
        (true, false) if sender.kind == SpanKind::Producer || attributes::is_call(sender) => Some(Means::Message),
        (false, _) if attributes::is_call(sender) => Some(Means::Request),
        _ => None,
    }
}

/// The mode where only the answer tells it.
fn mode_of(answer: SpanKind, has_topic: bool) -> CallMode {
    match answer {
        SpanKind::Consumer if has_topic => CallMode::Message,
        SpanKind::Consumer => CallMode::Async,
        SpanKind::Internal | SpanKind::Server | SpanKind::Client | SpanKind::Producer => CallMode::Sync,
    }
}

/// Both ends. Of several instances that answered (attempts, a copy for a mirror), the one that the formula fits.
fn exchange(sender: &SpanData, means: Means, spans: &[&SpanData]) -> Exchange {
    let attempts = sender.attribute(names::BOWLINE_ATTEMPTS).map(ToString::to_string);
    let is_tried_again = attempts.is_some_and(|attempts| attempts != "1");
    let is_given_up = sender.is_error() || is_tried_again || is_unanswered(sender);
    let mut by_instance: BTreeMap<&str, Interval> = BTreeMap::new();
    for span in spans {
        let own = interval(span);
        let whole = by_instance.entry(&span.instance).or_insert(own);
        *whole = Interval { start: whole.start.min(own.start), end: whole.end.max(own.end) };
    }
    let caller = interval(sender);
    let each = by_instance.into_values().map(|callee| Exchange { means, caller, callee, is_given_up });
    let is_fit = |exchange: &Exchange| exchange.judge().is_ok() && exchange.mode() != CallMode::Async;
    let all: Vec<_> = each.collect();
    let fit = all.iter().find(|exchange| is_fit(exchange)).or(all.last());
    *fit.expect("an answer has a span")
}

/// Whether it took no answer: a request that is dropped ends its span without an error, and without a status.
fn is_unanswered(sender: &SpanData) -> bool {
    let has = |key: &str| sender.attribute(key).is_some();
    let is_request = sender.kind == SpanKind::Client && has(names::HTTP_REQUEST_METHOD);
    is_request && !has(names::HTTP_RESPONSE_STATUS_CODE)
}

fn interval(span: &SpanData) -> Interval {
    Interval { start: span.start_unix_nanos, end: span.end_unix_nanos() }
}
