//! The bounds of a span, and what is said of one from outside that exceeds them.

use bowline_model::Code;

use crate::{Key, SpanData, Status, Value};

/// The longest name of a span, event, attribute, service or instance, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The most attributes of a span.
pub const ATTRIBUTES_MAX: usize = 64;
/// The most events of a span.
pub const EVENTS_MAX: usize = 128;
/// The most attributes of an event.
pub const EVENT_ATTRIBUTES_MAX: usize = 32;
/// The most links of a span.
pub const LINKS_MAX: usize = 128;
/// The most attributes of a link.
pub const LINK_ATTRIBUTES_MAX: usize = 32;
/// The longest value of an attribute, and the longest status message, in bytes.
pub const VALUE_BYTES_MAX: usize = 4 * 1024;
/// The most bytes of names and values that a span holds in all.
pub const SPAN_BYTES_MAX: usize = 256 * 1024;

/// What the ids of a link count for.
const LINK_BYTES: usize = 24;

/// A span from outside exceeds a bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSpan {
    /// A name is empty, where it must not be.
    #[error("the {what} is empty")]
    Empty {
        /// Of what.
        what: &'static str,
    },
    /// A text is too long.
    #[error("the {what} has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// There are too many of something.
    #[error("there are {count} {what}, at most {count_max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        count_max: usize,
    },
    /// The span is its own parent.
    #[error("the span is its own parent")]
    OwnParent,
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl InvalidSpan {
    /// Always [`Code::InvalidArgument`].
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the same span stays wrong.
    pub fn retryable(&self) -> bool {
        false
    }
}

impl SpanData {
    /// Checks the bounds of a span that comes from outside the process.
    ///
    /// # Errors
    /// The first bound that it exceeds.
    pub fn validate(&self) -> Result<(), InvalidSpan> {
        name("name", &self.name)?;
        name("service", &self.service)?;
        at_most("instance", self.instance.len(), NAME_BYTES_MAX)?;
        if self.parent_span_id == Some(self.span_id) {
            return Err(InvalidSpan::OwnParent);
        }
        if let Status::Error(message) = &self.status {
            at_most("status message", message.len(), VALUE_BYTES_MAX)?;
        }
        count("attributes", self.attributes.len(), ATTRIBUTES_MAX)?;
        attributes(&self.attributes)?;
        count("events", self.events.len(), EVENTS_MAX)?;
        for event in &self.events {
            name("event name", &event.name)?;
            count("attributes of an event", event.attributes.len(), EVENT_ATTRIBUTES_MAX)?;
            attributes(&event.attributes)?;
        }
        count("links", self.links.len(), LINKS_MAX)?;
        for link in &self.links {
            count("attributes of a link", link.attributes.len(), LINK_ATTRIBUTES_MAX)?;
            attributes(&link.attributes)?;
        }
        at_most("span", self.text_bytes(), SPAN_BYTES_MAX)
    }

    /// The bytes of all its names and values: near what it holds in memory.
    pub fn text_bytes(&self) -> usize {
        let message = if let Status::Error(message) = &self.status { message.len() } else { 0 };
        let events: usize = self.events.iter().map(|e| e.name.len() + attributes_bytes(&e.attributes)).sum();
        let links: usize = self.links.iter().map(|link| LINK_BYTES + attributes_bytes(&link.attributes)).sum();
        let names = self.name.len() + self.service.len() + self.instance.len();
        names + message + attributes_bytes(&self.attributes) + events + links
    }
}

/// The bytes that attributes count for in [`SPAN_BYTES_MAX`].
pub(crate) fn attributes_bytes(attributes: &[(Key, Value)]) -> usize {
    attributes.iter().map(|(key, value)| key.len() + value_bytes(value)).sum()
}

pub(crate) fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => 8,
    }
}

/// The text's beginning of at most that many bytes, cut between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn attributes(attributes: &[(Key, Value)]) -> Result<(), InvalidSpan> {
    for (key, value) in attributes {
        name("attribute name", key)?;
        at_most("attribute value", value_bytes(value), VALUE_BYTES_MAX)?;
    }
    Ok(())
}

fn name(what: &'static str, text: &str) -> Result<(), InvalidSpan> {
    if text.is_empty() {
        return Err(InvalidSpan::Empty { what });
    }
    at_most(what, text.len(), NAME_BYTES_MAX)
}

fn at_most(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), InvalidSpan> {
    if bytes > bytes_max { Err(InvalidSpan::TooLong { what, bytes, bytes_max }) } else { Ok(()) }
}

fn count(what: &'static str, count: usize, count_max: usize) -> Result<(), InvalidSpan> {
    if count > count_max { Err(InvalidSpan::TooMany { what, count, count_max }) } else { Ok(()) }
}
