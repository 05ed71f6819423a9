//! Messages and dead letters as NATS has them: the payload as it is, and all that is said of it as JSON in one header.
//!
//! The headers of a message are in there, too: those of NATS have no order, and some of their names order the server.

use async_nats::{
    HeaderMap, header,
    jetstream::message::{PublishMessage, StreamMessage},
};
use bowline_messaging::{DeadLetter, Message, delivery::Position};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Holds an [`Envelope`].
const MESSAGE: &str = "Bowline-Message";

/// Holds a [`Letter`].
const LETTER: &str = "Bowline-Letter";

/// What is said of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) published_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) only: Option<String>,
}

/// What is said of a dead letter.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    group: String,
    attempts: u32,
    failure: String,
    died_ms: i64,
    /// Where the message stood.
    position: Position,
    message: Envelope,
}

impl Envelope {
    fn of(message: &Message) -> Self {
        let Message { position: _, id, key, headers, payload: _, published_ms, due_ms, expires_ms, only } =
            message.clone();
        let due_ms = (due_ms != published_ms).then_some(due_ms);
        Self { id, key, headers, published_ms, due_ms, expires_ms, only }
    }

    fn message(self, position: Position, payload: Bytes) -> Message {
        let Self { id, key, headers, published_ms, due_ms, expires_ms, only } = self;
        let due_ms = due_ms.unwrap_or(published_ms);
        Message { position, id, key, headers, payload, published_ms, due_ms, expires_ms, only }
    }

    /// As NATS gets it.
    pub(crate) fn publish(&self, payload: Bytes) -> PublishMessage {
        PublishMessage::build().message_id(server_id(&self.id)).header(MESSAGE, json(self)).payload(payload)
    }
}

/// Its id as NATS gets it, which strips blanks.
fn server_id(id: &str) -> String {
    if id.trim() == id && !id.starts_with('"') { id.to_owned() } else { json(&id) }
}

/// A message as a stream has it. One that another program published has no key and no headers.
pub(crate) fn message(headers: Option<&HeaderMap>, position: Position, payload: Bytes, stored_ms: i64) -> Message {
    let find = |name| headers.and_then(|headers: &HeaderMap| headers.get(name)).map(header::HeaderValue::as_str);
    let envelope = find(MESSAGE).and_then(|text| serde_json::from_str::<Envelope>(text).ok());
    let envelope = envelope.unwrap_or_else(|| Envelope {
        id: find("Nats-Msg-Id").map_or_else(|| position.to_string(), str::to_owned),
        key: None,
        headers: Vec::new(),
        published_ms: stored_ms,
        due_ms: None,
        expires_ms: None,
        only: None,
    });
    envelope.message(position, payload)
}

/// A message that was read by its position.
pub(crate) fn stored(raw: StreamMessage) -> Message {
    let stored_ms = millis(raw.time.unix_timestamp_nanos());
    message(Some(&raw.headers), raw.sequence, raw.payload, stored_ms)
}

/// A dead letter as NATS gets it; in one life of its group a message is one letter.
pub(crate) fn bury(letter: &DeadLetter, life: &str) -> PublishMessage {
    let DeadLetter { position: _, group, attempts, failure, died_ms, message } = letter;
    let id = format!("{group}/{}/{life}", message.position);
    let said = Letter {
        group: group.clone(),
        attempts: *attempts,
        failure: failure.clone(),
        died_ms: *died_ms,
        position: message.position,
        message: Envelope::of(message),
    };
    PublishMessage::build().message_id(id).header(LETTER, json(&said)).payload(message.payload.clone())
}

/// A dead letter that was read; none where somebody else wrote it.
pub(crate) fn letter(raw: StreamMessage) -> Option<DeadLetter> {
    let letter: Letter = serde_json::from_str(raw.headers.get(LETTER)?.as_str()).ok()?;
    let Letter { group, attempts, failure, died_ms, position, message } = letter;
    let message = message.message(position, raw.payload);
    Some(DeadLetter { position: raw.sequence, group, attempts, failure, died_ms, message })
}

/// Nanoseconds since 1970 in milliseconds.
pub(crate) fn millis(nanos: i128) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)
}

/// What has only texts and numbers is always JSON.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_differ_in_blanks_stay_apart() {
        let ids = ["a", " a", "a ", "\" a\"", "\"a\""].map(server_id);
        let apart: std::collections::BTreeSet<_> = ids.iter().map(|id| id.trim().to_owned()).collect();
        assert_eq!(apart.len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn what_another_program_published_is_a_message() {
        let read = message(None, 7, "x".into(), 1000);
        assert_eq!((read.position, read.id.as_str(), read.due_ms, read.key), (7, "7", 1000, None));
    }
}
