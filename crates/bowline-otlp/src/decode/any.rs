//! `AnyValue`: a value of ours, or JSON text where it is an array or a map.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bowline_telemetry::{VALUE_BYTES_MAX, Value};

use super::cut;
use crate::wire::{
    Malformed,
    reader::{Field, Reader},
};

/// How deep arrays and maps may be nested.
pub(super) const DEPTH_MAX: usize = 32;

/// The bytes whose base64 text is as long as a text may be.
const BYTES_MAX: usize = VALUE_BYTES_MAX / 4 * 3;

/// A value as it came.
#[derive(Debug, Default)]
pub(super) enum Any {
    /// Nobody said.
    #[default]
    Empty,
    Scalar(Value),
    /// An array or a map, as JSON; whole only if it is no longer than a text may be.
    Json(String),
}

impl Any {
    pub(super) fn text(text: &str) -> Self {
        Self::Scalar(Value::from(cut(text, VALUE_BYTES_MAX).to_owned()))
    }

    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Empty => Value::from(""),
            Self::Scalar(value) => value,
            Self::Json(mut text) => {
                text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
                Value::from(text)
            }
        }
    }

    fn push_json(&self, out: &mut String) {
        match self {
            Self::Empty => out.push_str("null"),
            Self::Json(text) => out.push_str(text),
            Self::Scalar(Value::Text(text)) => push_text(out, text),
            Self::Scalar(Value::Int(number)) => drop(write!(out, "{number}")),
            Self::Scalar(Value::Bool(yes)) => drop(write!(out, "{yes}")),
            Self::Scalar(Value::Float(number)) if number.is_finite() => drop(write!(out, "{number}")),
            Self::Scalar(Value::Float(number)) => drop(write!(out, "\"{number}\"")),
        }
    }
}

/// An array or a map as JSON, element by element. Nothing is added once it is too long.
#[derive(Debug)]
pub(super) struct Json {
    text: String,
    end: char,
}

impl Json {
    pub(super) fn array() -> Self {
        Self { text: "[".to_owned(), end: ']' }
    }

    pub(super) fn map() -> Self {
        Self { text: "{".to_owned(), end: '}' }
    }

    pub(super) fn push(&mut self, key: Option<&str>, value: &Any) {
        if self.text.len() > VALUE_BYTES_MAX {
            return;
        }
        if self.text.len() > 1 {
            self.text.push(',');
        }
        if let Some(key) = key {
            push_text(&mut self.text, cut(key, VALUE_BYTES_MAX));
            self.text.push(':');
        }
        value.push_json(&mut self.text);
    }

    pub(super) fn end(mut self) -> Any {
        self.text.push(self.end);
        Any::Json(self.text)
    }
}

fn push_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a text is JSON"));
}

/// Reads an `AnyValue`.
pub(super) fn any(mut message: Reader<'_>, depth: usize) -> Result<Any, Malformed> {
    let mut any = Any::Empty;
    while let Some((number, field)) = message.next()? {
        any = match number {
            1 => Any::text(field.text()?),
            2 => Any::Scalar(Value::Bool(field.varint()? != 0)),
            3 => Any::Scalar(Value::Int(field.varint()?.cast_signed())),
            4 => Any::Scalar(Value::Float(f64::from_bits(field.fixed64()?))),
            5 => list(field, Json::array(), depth)?,
            6 => list(field, Json::map(), depth)?,
            7 => {
                let bytes = field.bytes()?;
                Any::Scalar(Value::from(STANDARD.encode(&bytes[..bytes.len().min(BYTES_MAX)])))
            }
            _ => any,
        };
    }
    Ok(any)
}

/// Reads an `ArrayValue` or a `KeyValueList`, which have the same field.
fn list(field: Field<'_>, mut json: Json, depth: usize) -> Result<Any, Malformed> {
    let depth = deeper(depth)?;
    let mut message = field.message()?;
    while let Some((number, field)) = message.next()? {
        match (number, json.end) {
            (1, ']') => json.push(None, &any(field.message()?, depth)?),
            (1, _) => {
                let (key, value) = key_value(field, depth)?;
                json.push(Some(key), &value);
            }
            _ => {}
        }
    }
    Ok(json.end())
}

/// Reads a `KeyValue`.
pub(super) fn key_value(field: Field<'_>, depth: usize) -> Result<(&str, Any), Malformed> {
    let (mut key, mut value) = ("", Any::Empty);
    let mut message = field.message()?;
    while let Some((number, field)) = message.next()? {
        match number {
            1 => key = field.text()?,
            2 => value = any(field.message()?, depth)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn deeper(depth: usize) -> Result<usize, Malformed> {
    if depth >= DEPTH_MAX { Err(Malformed::new("a value is nested too deep")) } else { Ok(depth + 1) }
}
