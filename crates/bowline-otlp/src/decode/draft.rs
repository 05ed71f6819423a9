//! A span while it is read: held to our bounds, with a count of what had no room.

use std::sync::Arc;

use bowline_telemetry::{
    ATTRIBUTES_MAX, EVENT_ATTRIBUTES_MAX, EVENTS_MAX, Event, Key, LINK_ATTRIBUTES_MAX, LINKS_MAX, Link, NAME_BYTES_MAX,
    SPAN_BYTES_MAX, SpanData, SpanId, SpanKind, Status, TraceId, VALUE_BYTES_MAX, Value, names,
};

use super::{DECODED_BYTES_MAX, Decoded, Refusal, any::Any, cut, known};

/// The service of a resource that does not say (OpenTelemetry's semantic conventions of resources).
const UNKNOWN_SERVICE: &str = "unknown_service";
/// The name of a span that has none.
const UNKNOWN_NAME: &str = "unknown";
/// What the ids of a link count for.
const LINK_BYTES: usize = 24;

/// Attributes, each key once, up to a number.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) list: Vec<(Key, Value)>,
    count_max: usize,
    bytes: usize,
    dropped: u32,
}

/// A span as far as it was read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) trace_id: Option<TraceId>,
    pub(super) span_id: Option<SpanId>,
    pub(super) parent_span_id: Option<SpanId>,
    pub(super) is_parent_wrong: bool,
    pub(super) kind: SpanKind,
    pub(super) start_unix_nanos: u64,
    pub(super) end_unix_nanos: u64,
    pub(super) status_code: u64,
    pub(super) status_message: String,
    pub(super) attributes: Attributes,
    /// What the SDK dropped, or we did.
    pub(super) dropped: u32,
    name: Key,
    trace_state: String,
    events: Vec<Event>,
    links: Vec<Link>,
}

/// Who reports: what all spans of a resource have in common.
#[derive(Debug)]
pub(super) struct Resource {
    service: Arc<str>,
    instance: Arc<str>,
    attributes: Attributes,
}

/// The library that made spans.
#[derive(Debug, Default)]
pub(super) struct Scope {
    name: String,
    version: String,
}

impl Scope {
    pub(super) fn set_name(&mut self, name: &str) {
        cut(name, VALUE_BYTES_MAX).clone_into(&mut self.name);
    }

    pub(super) fn set_version(&mut self, version: &str) {
        cut(version, VALUE_BYTES_MAX).clone_into(&mut self.version);
    }
}

impl Attributes {
    pub(super) fn of_resource() -> Self {
        // Those of the service are taken out again.
        Self::new(ATTRIBUTES_MAX + 2)
    }

    pub(super) fn of_event() -> Self {
        Self::new(EVENT_ATTRIBUTES_MAX)
    }

    pub(super) fn of_link() -> Self {
        Self::new(LINK_ATTRIBUTES_MAX)
    }

    fn new(count_max: usize) -> Self {
        Self { list: Vec::new(), count_max, bytes: 0, dropped: 0 }
    }

    pub(super) fn set(&mut self, key: &str, value: Any) {
        self.put(known::key(cut(key, NAME_BYTES_MAX)), value.into_value(), SPAN_BYTES_MAX);
    }

    fn put(&mut self, key: Key, value: Value, bytes_max: usize) {
        let at = self.list.iter().position(|(name, _)| *name == key);
        let old = at.map_or(0, |at| attribute_bytes(&key, &self.list[at].1));
        let bytes = self.bytes - old + attribute_bytes(&key, &value);
        if key.is_empty() || bytes > bytes_max || (at.is_none() && self.list.len() >= self.count_max) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.bytes = bytes;
        match at {
            Some(at) => self.list[at].1 = value,
            None => self.list.push((key, value)),
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.list.iter().position(|(name, _)| name == key)?;
        Some(self.list.remove(at).1)
    }
}

impl Resource {
    pub(super) fn new(mut attributes: Attributes) -> Self {
        let text = |value: Option<Value>| value.map(|value| value.to_string()).unwrap_or_default();
        let service = text(attributes.take(names::SERVICE_NAME));
        let service = if service.is_empty() { UNKNOWN_SERVICE } else { cut(&service, NAME_BYTES_MAX) };
        let instance = text(attributes.take(names::SERVICE_INSTANCE_ID));
        Self { service: service.into(), instance: cut(&instance, NAME_BYTES_MAX).into(), attributes }
    }
}

impl Default for Draft {
    fn default() -> Self {
        // Names and status count at their longest, as do those of the resource and the note of what was dropped.
        let bytes = 3 * NAME_BYTES_MAX + VALUE_BYTES_MAX + names::BOWLINE_DROPPED.len() + 8;
        Self {
            trace_id: None,
            span_id: None,
            parent_span_id: None,
            is_parent_wrong: false,
            kind: SpanKind::Internal,
            start_unix_nanos: 0,
            end_unix_nanos: 0,
            status_code: 0,
            status_message: String::new(),
            attributes: Attributes { bytes, ..Attributes::new(ATTRIBUTES_MAX) },
            dropped: 0,
            name: Key::Borrowed(""),
            trace_state: String::new(),
            events: Vec::new(),
            links: Vec::new(),
        }
    }
}

impl Draft {
    pub(super) fn set_name(&mut self, name: &str) {
        self.name = Key::Owned(cut(name, NAME_BYTES_MAX).to_owned());
    }

    pub(super) fn set_kind(&mut self, kind: u64) {
        self.kind = match kind {
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            // Unspecified, and what is yet to come.
            _ => SpanKind::Internal,
        };
    }

    pub(super) fn set_status_message(&mut self, message: &str) {
        cut(message, VALUE_BYTES_MAX).clone_into(&mut self.status_message);
    }

    pub(super) fn set_trace_state(&mut self, state: &str) {
        cut(state, VALUE_BYTES_MAX).clone_into(&mut self.trace_state);
    }

    pub(super) fn event(&mut self, at_unix_nanos: u64, name: &str, attributes: Attributes, dropped: u32) {
        self.dropped = self.dropped.saturating_add(dropped).saturating_add(attributes.dropped);
        let name = if name.is_empty() { UNKNOWN_NAME } else { cut(name, NAME_BYTES_MAX) };
        let bytes = self.attributes.bytes + name.len() + attributes.bytes;
        if self.events.len() >= EVENTS_MAX || bytes > SPAN_BYTES_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.attributes.bytes = bytes;
        self.events.push(Event { at_unix_nanos, name: Key::Owned(name.to_owned()), attributes: attributes.list });
    }

    /// A link to a span that has no usable ids is dropped, and counted.
    pub(super) fn link(
        &mut self,
        trace_id: Option<TraceId>,
        span_id: Option<SpanId>,
        attributes: Attributes,
        dropped: u32,
    ) {
        self.dropped = self.dropped.saturating_add(dropped).saturating_add(attributes.dropped);
        let bytes = self.attributes.bytes + LINK_BYTES + attributes.bytes;
        match trace_id.zip(span_id) {
            Some((trace_id, span_id)) if self.links.len() < LINKS_MAX && bytes <= SPAN_BYTES_MAX => {
                self.attributes.bytes = bytes;
                self.links.push(Link { trace_id, span_id, attributes: attributes.list });
            }
            _ => self.dropped = self.dropped.saturating_add(1),
        }
    }

    fn put(&mut self, key: Key, value: Value) {
        self.attributes.put(key, value, SPAN_BYTES_MAX);
    }

    /// Why it cannot be kept, which is known once it is read.
    pub(super) fn check(&self) -> Result<(TraceId, SpanId), Refusal> {
        let trace_id = self.trace_id.ok_or(Refusal::TraceId)?;
        let span_id = self.span_id.ok_or(Refusal::SpanId)?;
        if self.is_parent_wrong {
            return Err(Refusal::ParentSpanId);
        }
        if self.parent_span_id == Some(span_id) {
            return Err(Refusal::OwnParent);
        }
        Ok((trace_id, span_id))
    }

    /// Adds what the scope and the resource say, where the span itself does not.
    fn inherit(&mut self, resource: &Resource, scope: &Scope) {
        if !self.trace_state.is_empty() {
            let state = std::mem::take(&mut self.trace_state);
            self.put(Key::Borrowed(names::W3C_TRACESTATE), Value::from(state));
        }
        let own = self.attributes.list.len();
        let scope = [(names::OTEL_SCOPE_NAME, &scope.name), (names::OTEL_SCOPE_VERSION, &scope.version)];
        for (key, text) in scope.into_iter().filter(|(_, text)| !text.is_empty()) {
            if !self.attributes.list[..own].iter().any(|(name, _)| name == key) {
                self.put(Key::Borrowed(key), Value::from(text.clone()));
            }
        }
        let own = self.attributes.list.len();
        for (key, value) in &resource.attributes.list {
            if !self.attributes.list[..own].iter().any(|(name, _)| name == key) {
                self.put(key.clone(), value.clone());
            }
        }
    }

    /// Keeps it, or counts why not.
    pub(super) fn end(mut self, resource: &Resource, scope: &Scope, decoded: &mut Decoded) {
        let (trace_id, span_id) = match self.check() {
            Ok(ids) => ids,
            Err(why) => return decoded.refuse(why),
        };
        if decoded.bytes >= DECODED_BYTES_MAX {
            return decoded.refuse(Refusal::TooMuch);
        }
        self.attributes.list.reserve_exact(resource.attributes.list.len().min(ATTRIBUTES_MAX) + 2);
        self.inherit(resource, scope);
        decoded.bytes += size_of::<SpanData>() + self.attributes.bytes;
        decoded.bytes += self.attributes.list.capacity() * size_of::<(Key, Value)>();
        let mut dropped = self.dropped.saturating_add(self.attributes.dropped);
        dropped = dropped.saturating_add(resource.attributes.dropped);
        let mut attributes = self.attributes.list;
        if dropped > 0 {
            // Room for the one attribute that says so; its length counts already.
            if attributes.len() >= ATTRIBUTES_MAX {
                attributes.truncate(ATTRIBUTES_MAX - 1);
                dropped = dropped.saturating_add(1);
            }
            attributes.retain(|(key, _)| key != names::BOWLINE_DROPPED);
            attributes.push((Key::Borrowed(names::BOWLINE_DROPPED), Value::from(dropped)));
        }
        decoded.spans.push(SpanData {
            trace_id,
            span_id,
            parent_span_id: self.parent_span_id,
            service: Arc::clone(&resource.service),
            instance: Arc::clone(&resource.instance),
            name: if self.name.is_empty() { Key::Borrowed(UNKNOWN_NAME) } else { self.name },
            kind: self.kind,
            start_unix_nanos: self.start_unix_nanos,
            duration_nanos: self.end_unix_nanos.saturating_sub(self.start_unix_nanos),
            status: match self.status_code {
                1 => Status::Ok,
                2 => Status::Error(self.status_message),
                _ => Status::Unset,
            },
            attributes,
            events: self.events,
            links: self.links,
        });
    }
}

fn attribute_bytes(key: &str, value: &Value) -> usize {
    let value = if let Value::Text(text) = value { text.len() } else { 8 };
    key.len() + value
}
