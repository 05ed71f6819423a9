//! Server-sent events as text: written, and read as the WHATWG's standard says.

use std::time::Duration;

use bowline_transport::lines::{LineReader, TooLong};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// The longest event, or line, that is read.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// A server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Where its reader goes on after it: sent back as `Last-Event-ID`. Without line breaks.
    pub id: Option<String>,
    /// What kind it is; readers take none for `message`. Without line breaks.
    pub name: Option<String>,
    /// What it says.
    pub data: String,
    /// How long its reader is to wait before it comes again.
    pub retry: Option<Duration>,
}

impl Event {
    /// An event that says this.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// An event that says this as JSON.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn json(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self::new)
    }

    /// Gives it an id, from which its reader can go on.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Says what kind it is.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What it says, from JSON.
    ///
    /// # Errors
    /// When it is no JSON of that type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }

    /// As it is sent.
    pub(crate) fn encode(&self) -> Bytes {
        let mut text = String::with_capacity(self.data.len() + 32);
        let mut field = |name: &str, value: &str| {
            text.extend([name, ": "]);
            // A line break would be a field of its own.
            text.extend(value.chars().filter(|c| !matches!(c, '\r' | '\n')));
            text.push('\n');
        };
        let Self { id, name, data, retry } = self;
        if let Some(id) = id {
            // NUL would have it ignored.
            field("id", &id.replace('\0', ""));
        }
        if let Some(name) = name {
            field("event", name);
        }
        if let Some(retry) = retry {
            field("retry", &retry.as_millis().to_string());
        }
        for line in data.replace("\r\n", "\n").split(['\r', '\n']) {
            field("data", line);
        }
        text.push('\n');
        text.into()
    }
}

/// Reads events from lines.
#[derive(Debug)]
pub(crate) struct Decoder {
    lines: LineReader,
    is_first: bool,
    /// The event that is being read.
    event: Event,
    has_data: bool,
    /// The id of an event without data, since the last one that had some.
    id: Option<String>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            lines: LineReader::by_any(EVENT_BYTES_MAX),
            is_first: true,
            event: Event::default(),
            has_data: false,
            id: None,
        }
    }
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, TooLong> {
        while let Some(line) = self.lines.next_line()? {
            // As the standard has it: what is no text is read as U+FFFD.
            let line = String::from_utf8_lossy(&line);
            let is_first = std::mem::take(&mut self.is_first);
            let line = line.strip_prefix('\u{feff}').filter(|_| is_first).unwrap_or(&line);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if std::mem::take(&mut self.has_data) {
                    self.id = None;
                    return Ok(Some(event));
                }
                // What is said of where to go on holds though there is nothing to tell.
                self.id.clone_from(&event.id);
                self.event = Event { id: event.id, retry: event.retry, ..Event::default() };
                continue;
            }
            self.take_field(line)?;
        }
        Ok(None)
    }

    /// At the end: what was said, since the last event, of where to go on, and when. An id in an event that is not whole
    /// does not count.
    pub(crate) fn rest(&self) -> Event {
        Event { id: self.id.clone(), retry: self.event.retry, ..Event::default() }
    }

    fn take_field(&mut self, line: &str) -> Result<(), TooLong> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if self.event.data.len() + value.len() > EVENT_BYTES_MAX {
                    return Err(TooLong { max: EVENT_BYTES_MAX });
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => self.event.name = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.event.retry = value.parse().ok().map(Duration::from_millis);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
