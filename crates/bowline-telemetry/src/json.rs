//! The JSON of spans, as the API takes and gives it.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap as _,
};

use crate::{
    ATTRIBUTES_MAX, EVENTS_MAX, Event, Key, LINKS_MAX, Link, SpanData, SpanId, SpanKind, Status, TraceId, Value,
};

// === writing ===

#[derive(Serialize)]
struct SpanOut<'a> {
    trace_id: TraceId,
    span_id: SpanId,
    parent_span_id: Option<SpanId>,
    service: &'a str,
    instance: &'a str,
    name: &'a str,
    kind: SpanKind,
    start_unix_nanos: u64,
    duration_nanos: u64,
    status: &'a Status,
    attributes: AttributesOut<'a>,
    events: &'a [Event],
    #[serde(skip_serializing_if = "<[Link]>::is_empty")]
    links: &'a [Link],
}

#[derive(Serialize)]
struct EventOut<'a> {
    at_unix_nanos: u64,
    name: &'a str,
    attributes: AttributesOut<'a>,
}

#[derive(Serialize)]
struct LinkOut<'a> {
    trace_id: TraceId,
    span_id: SpanId,
    attributes: AttributesOut<'a>,
}

struct AttributesOut<'a>(&'a [(Key, Value)]);

impl Serialize for SpanData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SpanOut {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            service: &self.service,
            instance: &self.instance,
            name: &self.name,
            kind: self.kind,
            start_unix_nanos: self.start_unix_nanos,
            duration_nanos: self.duration_nanos,
            status: &self.status,
            attributes: AttributesOut(&self.attributes),
            events: &self.events,
            links: &self.links,
        }
        .serialize(serializer)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        EventOut { at_unix_nanos: self.at_unix_nanos, name: &self.name, attributes: AttributesOut(&self.attributes) }
            .serialize(serializer)
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LinkOut { trace_id: self.trace_id, span_id: self.span_id, attributes: AttributesOut(&self.attributes) }
            .serialize(serializer)
    }
}

impl Serialize for AttributesOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            // JSON has no NaN and no infinities.
            Self::Float(number) => serializer.collect_str(number),
            Self::Bool(yes) => serializer.serialize_bool(*yes),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusWire<'a> {
    code: StatusCode,
    #[serde(default)]
    message: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusCode {
    Unset,
    Ok,
    Error,
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unset => StatusWire { code: StatusCode::Unset, message: None },
            Self::Ok => StatusWire { code: StatusCode::Ok, message: None },
            Self::Error(message) => StatusWire { code: StatusCode::Error, message: Some(Cow::Borrowed(message)) },
        }
        .serialize(serializer)
    }
}

// === reading ===

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpanIn {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(default)]
    parent_span_id: Option<SpanId>,
    service: String,
    #[serde(default)]
    instance: String,
    name: String,
    #[serde(default)]
    kind: SpanKind,
    start_unix_nanos: u64,
    duration_nanos: u64,
    #[serde(default)]
    status: Status,
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<(Key, Value)>,
    #[serde(default, deserialize_with = "events")]
    events: Vec<Event>,
    #[serde(default, deserialize_with = "links")]
    links: Vec<Link>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventIn {
    at_unix_nanos: u64,
    name: String,
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<(Key, Value)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkIn {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<(Key, Value)>,
}

impl<'de> Deserialize<'de> for SpanData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let span = SpanIn::deserialize(deserializer)?;
        Ok(Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            service: Arc::from(span.service),
            instance: Arc::from(span.instance),
            name: Cow::Owned(span.name),
            kind: span.kind,
            start_unix_nanos: span.start_unix_nanos,
            duration_nanos: span.duration_nanos,
            status: span.status,
            attributes: span.attributes,
            events: span.events,
            links: span.links,
        })
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let EventIn { at_unix_nanos, name, attributes } = EventIn::deserialize(deserializer)?;
        Ok(Self { at_unix_nanos, name: Cow::Owned(name), attributes })
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let LinkIn { trace_id, span_id, attributes } = LinkIn::deserialize(deserializer)?;
        Ok(Self { trace_id, span_id, attributes })
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let StatusWire { code, message } = StatusWire::deserialize(deserializer)?;
        Ok(match code {
            StatusCode::Unset => Self::Unset,
            StatusCode::Ok => Self::Ok,
            StatusCode::Error => Self::Error(message.map(Cow::into_owned).unwrap_or_default()),
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "beyond i64, near is better than refused")]
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Value, E> {
        Ok(Value::Bool(yes))
    }
}

fn attributes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Key, Value)>, D::Error> {
    deserializer.deserialize_map(AttributesVisitor)
}

fn events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Event>, D::Error> {
    deserializer.deserialize_seq(BoundedVisitor { what: "events", count_max: EVENTS_MAX, item: PhantomData })
}

fn links<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Link>, D::Error> {
    deserializer.deserialize_seq(BoundedVisitor { what: "links", count_max: LINKS_MAX, item: PhantomData })
}

/// Stops reading where the bound is passed, so that an oversized span is never held in memory.
struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Vec<(Key, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {ATTRIBUTES_MAX} attributes")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut attributes: Vec<(Key, Value)> = Vec::with_capacity(map.size_hint().unwrap_or(0).min(ATTRIBUTES_MAX));
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            if let Some(old) = attributes.iter_mut().find(|(name, _)| *name == key) {
                old.1 = value;
                continue;
            }
            if attributes.len() == ATTRIBUTES_MAX {
                return Err(de::Error::custom(format_args!("there are more than {ATTRIBUTES_MAX} attributes")));
            }
            attributes.push((Cow::Owned(key), value));
        }
        Ok(attributes)
    }
}

struct BoundedVisitor<T> {
    what: &'static str,
    count_max: usize,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {} {}", self.count_max, self.what)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == self.count_max {
                return Err(de::Error::custom(format_args!("there are more than {} {}", self.count_max, self.what)));
            }
            items.push(item);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests;
