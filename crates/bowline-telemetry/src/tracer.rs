//! Starts spans, and hands those that were recorded to the reporter when they end.

use std::{fmt, sync::Arc};

use bowline_runtime::time::{self, Instant};

use crate::{
    ATTRIBUTES_MAX, EVENT_ATTRIBUTES_MAX, EVENTS_MAX, Event, Key, NAME_BYTES_MAX, SPAN_BYTES_MAX, Sampler, SpanContext,
    SpanData, SpanId, SpanKind, Status, TraceId, VALUE_BYTES_MAX, Value,
    limits::{attributes_bytes, cut, value_bytes},
    names,
};

/// Where spans leave the process.
pub trait Reporter: Send + Sync + 'static {
    /// Takes a span that has ended. Never blocks: what has no room is dropped and counted.
    fn report(&self, span: SpanData);
}

/// Starts the spans of one instance of one service. Cheap to clone.
#[derive(Clone)]
pub struct Tracer(Option<Arc<Shared>>);

struct Shared {
    service: Arc<str>,
    instance: Arc<str>,
    sampler: Box<dyn Sampler>,
    reporter: Box<dyn Reporter>,
}

/// Work in progress; ends when dropped, or by [`Span::end`].
///
/// One that is not recorded holds its context and nothing else.
#[derive(Debug)]
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    context: SpanContext,
    recording: Option<Box<Recording>>,
    /// Whether those who are called are told of any context.
    is_passed_on: bool,
}

struct Recording {
    shared: Arc<Shared>,
    started: Instant,
    data: SpanData,
    /// What the span's texts count for in [`SPAN_BYTES_MAX`].
    bytes: usize,
    dropped: u32,
    /// Whether it is reported when it ends.
    is_kept: bool,
}

impl Tracer {
    /// A tracer that reports for that instance.
    pub fn new(service: &str, instance: &str, sampler: impl Sampler, reporter: impl Reporter) -> Self {
        Self(Some(Arc::new(Shared {
            service: cut(service, NAME_BYTES_MAX).into(),
            instance: cut(instance, NAME_BYTES_MAX).into(),
            sampler: Box::new(sampler),
            reporter: Box::new(reporter),
        })))
    }

    /// A tracer that records nothing and passes its callers' contexts on as they are.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Starts a span: a child of `parent`, or the first of a new trace.
    #[inline]
    pub fn start(&self, name: impl Into<Key>, kind: SpanKind, parent: Option<SpanContext>) -> Span {
        let Some(shared) = &self.0 else {
            return Span { context: parent.unwrap_or_else(unsampled), recording: None, is_passed_on: true };
        };
        let trace_id = parent.map_or_else(TraceId::generate, |parent| parent.trace_id);
        let is_sampled = shared.sampler.should_sample(parent.as_ref(), trace_id);
        let context = SpanContext { trace_id, span_id: SpanId::generate(), is_sampled };
        let recording = is_sampled.then(|| Recording::start(shared, context, name.into(), kind, parent));
        Span { context, recording, is_passed_on: true }
    }

    /// Starts a span that is reported only if it is [kept](Span::keep), for who stands between two that
    /// report themselves, and says something only when something happens.
    ///
    /// The context of the `parent` is passed on as it is: who goes on from this span is its sibling, so
    /// nothing is missing where it is not reported. Without a `parent`, nothing is passed on until it is kept.
    pub fn start_aside(&self, name: impl Into<Key>, kind: SpanKind, parent: Option<SpanContext>) -> Span {
        let mut span = self.start(name, kind, parent);
        span.context = parent.unwrap_or(span.context);
        span.is_passed_on = parent.is_some();
        if let Some(recording) = &mut span.recording {
            recording.is_kept = false;
        }
        span
    }
}

fn unsampled() -> SpanContext {
    SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled: false }
}

impl Span {
    /// A span of nothing, for callers that have no tracer.
    pub fn disabled() -> Self {
        Self { context: unsampled(), recording: None, is_passed_on: true }
    }

    /// The same without anything that is recorded: for work whose details are not worth it.
    pub fn unrecorded(&self) -> Self {
        Self { context: self.context, recording: None, is_passed_on: self.is_passed_on }
    }

    /// What children need to know of it.
    #[inline]
    pub fn context(&self) -> SpanContext {
        self.context
    }

    /// What is told to those who are called; none where they begin a trace of their own.
    #[inline]
    pub fn passed_on(&self) -> Option<SpanContext> {
        self.is_passed_on.then_some(self.context)
    }

    /// Whether anything of it is kept. Ask before working out costly attributes.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Sets an attribute, replacing the one of the same key.
    ///
    /// Texts over 4 KiB are cut; more than 64 attributes are dropped, and their count is said in
    /// `bowline.dropped`.
    #[inline]
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        if let Some(recording) = &mut self.recording {
            recording.set(key.into(), value.into());
        }
    }

    /// Sets an attribute whose value is worked out only if the span is recorded.
    #[inline]
    pub fn set_with<V: Into<Value>>(&mut self, key: impl Into<Key>, value: impl FnOnce() -> V) {
        if let Some(recording) = &mut self.recording {
            recording.set(key.into(), value().into());
        }
    }

    /// Notes that something happened now. At most 128, the later ones are dropped.
    #[inline]
    pub fn event(&mut self, name: impl Into<Key>, attributes: Vec<(Key, Value)>) {
        if let Some(recording) = &mut self.recording {
            recording.event(name.into(), attributes);
        }
    }

    /// Notes an event whose attributes are worked out only if the span is recorded.
    #[inline]
    pub fn event_with(&mut self, name: impl Into<Key>, attributes: impl FnOnce() -> Vec<(Key, Value)>) {
        if let Some(recording) = &mut self.recording {
            recording.event(name.into(), attributes());
        }
    }

    /// Has it reported when it ends, where it was [started aside](Tracer::start_aside). Others are anyway.
    pub fn keep(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.is_kept = true;
            self.is_passed_on = true;
        }
    }

    /// Whether it will be reported, as far as is known by now.
    #[inline]
    pub fn is_kept(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.is_kept)
    }

    /// Says that it ended badly, and why. The last word counts.
    pub fn fail(&mut self, message: impl Into<String>) {
        if let Some(recording) = &mut self.recording {
            recording.data.status = Status::Error(cut_string(message.into(), VALUE_BYTES_MAX));
        }
    }

    /// Says that it ended well.
    pub fn succeed(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.data.status = Status::Ok;
        }
    }

    /// Gives it a better name, as when the route is known.
    pub fn rename(&mut self, name: impl Into<Key>) {
        if let Some(recording) = &mut self.recording {
            recording.data.name = cut_key(name.into(), NAME_BYTES_MAX);
        }
    }

    /// Ends it now.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(recording) = self.recording.take() {
            recording.end();
        }
    }
}

impl Recording {
    fn start(
        shared: &Arc<Shared>,
        context: SpanContext,
        name: Key,
        kind: SpanKind,
        parent: Option<SpanContext>,
    ) -> Box<Self> {
        let started = time::now();
        let name = cut_key(name, NAME_BYTES_MAX);
        let data = SpanData {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent_span_id: parent.map(|parent| parent.span_id),
            service: Arc::clone(&shared.service),
            instance: Arc::clone(&shared.instance),
            name,
            kind,
            start_unix_nanos: time::unix_nanos(time::wall_of(started)),
            duration_nanos: 0,
            status: Status::Unset,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
        };
        // Names and status are counted at their longest, as they may still change, and so is the
        // note of what was dropped.
        let bytes = 3 * NAME_BYTES_MAX + VALUE_BYTES_MAX + names::BOWLINE_DROPPED.len() + 8;
        Box::new(Self { shared: Arc::clone(shared), started, data, bytes, dropped: 0, is_kept: true })
    }

    fn set(&mut self, key: Key, value: Value) {
        let (key, value) = (cut_key(key, NAME_BYTES_MAX), cut_value(value));
        let attributes = &mut self.data.attributes;
        let at = attributes.iter().position(|(name, _)| *name == key);
        let old = at.map_or(0, |at| key.len() + value_bytes(&attributes[at].1));
        let bytes = self.bytes - old + key.len() + value_bytes(&value);
        if key.is_empty() || bytes > SPAN_BYTES_MAX || (at.is_none() && attributes.len() >= ATTRIBUTES_MAX) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.bytes = bytes;
        match at {
            Some(at) => attributes[at].1 = value,
            None => attributes.push((key, value)),
        }
    }

    fn event(&mut self, name: Key, mut attributes: Vec<(Key, Value)>) {
        if name.is_empty() || self.data.events.len() >= EVENTS_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let count = attributes.len();
        attributes.retain(|(key, _)| !key.is_empty());
        attributes.truncate(EVENT_ATTRIBUTES_MAX);
        self.dropped = self.dropped.saturating_add(u32::try_from(count - attributes.len()).unwrap_or(u32::MAX));
        let cut = |(key, value)| (cut_key(key, NAME_BYTES_MAX), cut_value(value));
        let attributes: Vec<_> = attributes.into_iter().map(cut).collect();
        let name = cut_key(name, NAME_BYTES_MAX);
        let bytes = self.bytes + name.len() + attributes_bytes(&attributes);
        if bytes > SPAN_BYTES_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.bytes = bytes;
        let at_unix_nanos = self.data.start_unix_nanos.saturating_add(nanos_since(self.started));
        self.data.events.push(Event { at_unix_nanos, name, attributes });
    }

    fn end(mut self: Box<Self>) {
        if !self.is_kept {
            return;
        }
        self.data.duration_nanos = nanos_since(self.started);
        if self.dropped > 0 {
            // Room for the one attribute that says so; its length is in `bytes` already.
            if self.data.attributes.len() >= ATTRIBUTES_MAX {
                self.data.attributes.truncate(ATTRIBUTES_MAX - 1);
                self.dropped = self.dropped.saturating_add(1);
            }
            self.data.attributes.push((Key::Borrowed(names::BOWLINE_DROPPED), Value::from(self.dropped)));
        }
        let Self { shared, data, .. } = *self;
        shared.reporter.report(data);
    }
}

fn nanos_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn cut_key(key: Key, bytes_max: usize) -> Key {
    if key.len() <= bytes_max {
        return key;
    }
    match key {
        Key::Borrowed(text) => Key::Borrowed(cut(text, bytes_max)),
        Key::Owned(text) => Key::Owned(cut_string(text, bytes_max)),
    }
}

fn cut_value(value: Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(cut_key(text, VALUE_BYTES_MAX)),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => value,
    }
}

fn cut_string(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

impl<R: Reporter + ?Sized> Reporter for Arc<R> {
    fn report(&self, span: SpanData) {
        (**self).report(span);
    }
}

impl<R: Reporter + ?Sized> Reporter for Box<R> {
    fn report(&self, span: SpanData) {
        (**self).report(span);
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.0.as_ref().map(|shared| &shared.service);
        f.debug_struct("Tracer").field("service", &service).finish()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("data", &self.data).finish()
    }
}

#[cfg(test)]
mod tests;
