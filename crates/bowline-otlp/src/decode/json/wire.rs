//! The messages as they are written; what is unknown is passed over, and `null` is what is absent.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::wire::Malformed;

macro_rules! message {
    ($(#[$outer:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
        $(#[$outer])*
        pub(super) struct $name<'a> {
            $(pub(super) $field: $type,)*
        }
    };
}

message!(Request { resource_spans: List<'a> });
message!(ResourceSpans { resource: Option<Resource<'a>>, scope_spans: List<'a> });
message!(Resource { attributes: List<'a> });
message!(ScopeSpans { scope: Option<Scope<'a>>, spans: List<'a> });
message!(Scope { name: Text<'a>, version: Text<'a> });
message!(#[expect(clippy::struct_field_names, reason = "so the protocol has them")] Span {
    trace_id: Text<'a>,
    span_id: Text<'a>,
    parent_span_id: Text<'a>,
    trace_state: Text<'a>,
    name: Text<'a>,
    kind: Integer,
    start_time_unix_nano: Integer,
    end_time_unix_nano: Integer,
    attributes: List<'a>,
    events: List<'a>,
    links: List<'a>,
    status: Option<Status<'a>>,
    dropped_attributes_count: Integer,
    dropped_events_count: Integer,
    dropped_links_count: Integer,
});
message!(Event {
    time_unix_nano: Integer,
    name: Text<'a>,
    attributes: List<'a>,
    dropped_attributes_count: Integer,
});
message!(Link { trace_id: Text<'a>, span_id: Text<'a>, attributes: List<'a>, dropped_attributes_count: Integer });
message!(Status { message: Text<'a>, code: Integer });
message!(KeyValue { key: Text<'a>, value: Option<AnyValue<'a>> });
message!(#[expect(clippy::struct_field_names, reason = "so the protocol has them")] AnyValue {
    string_value: Option<Text<'a>>,
    bool_value: Option<bool>,
    int_value: Option<Integer>,
    double_value: Option<Double>,
    array_value: Option<Values<'a>>,
    kvlist_value: Option<Values<'a>>,
    bytes_value: Option<Text<'a>>,
});
message!(Values { values: List<'a> });

/// The most elements of one list: each takes 16 bytes before it is read, however short its text is.
const ELEMENTS_MAX: usize = 512 * 1024;

/// The elements of a list, not yet read.
#[derive(Default)]
pub(super) struct List<'a>(pub(super) Vec<&'a RawValue>);

/// A text, without a copy where it has no escapes.
#[derive(Default)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

/// A whole number, or its text.
#[derive(Default, Clone, Copy)]
pub(super) struct Integer(i128);

/// Any number, or its text, as `NaN` is written.
pub(super) struct Double(pub(super) f64);

impl Integer {
    pub(super) fn unsigned(self) -> Result<u64, Malformed> {
        u64::try_from(self.0).map_err(|_| out_of_range())
    }

    pub(super) fn signed(self) -> Result<i64, Malformed> {
        i64::try_from(self.0).map_err(|_| out_of_range())
    }

    pub(super) fn count(self) -> Result<u32, Malformed> {
        u32::try_from(self.0).map_err(|_| out_of_range())
    }
}

fn out_of_range() -> Malformed {
    Malformed::new("a number is out of its range")
}

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(ListVisitor).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntegerVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DoubleVisitor).map(Self)
    }
}

struct ListVisitor;

impl<'de> de::Visitor<'de> for ListVisitor {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == ELEMENTS_MAX {
                return Err(de::Error::custom(format!("a list has more than {ELEMENTS_MAX} elements")));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

struct TextVisitor;

impl<'de> de::Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }
}

struct IntegerVisitor;

impl de::Visitor<'_> for IntegerVisitor {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or its text")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i128, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_unit<E: de::Error>(self) -> Result<i128, E> {
        Ok(0)
    }
}

struct DoubleVisitor;

impl de::Visitor<'_> for DoubleVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or its text")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<f64, E> {
        Ok(number)
    }

    #[expect(clippy::cast_precision_loss, reason = "a number of this type has no more")]
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "a number of this type has no more")]
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
