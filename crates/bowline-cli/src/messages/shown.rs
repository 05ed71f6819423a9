//! One message for people. Whoever publishes writes all of it, so nothing of it reaches a terminal as it is.

use std::fmt::Write as _;

use bowline_provider_remote::wire::{DeadMessage, StoredMessage};

use super::when_utc;
use crate::style;

/// How many bytes of a payload that is no text are shown, and how many a line.
const HEX_BYTES: (usize, usize) = (256, 16);

/// The header that says under which trace a message was published.
const TRACEPARENT: &str = "traceparent";

/// A message, a line each.
pub(super) fn message(topic: &str, message: &StoredMessage) -> Vec<String> {
    let mut lines = vec![field("topic", topic), field("position", &message.position.to_string())];
    lines.extend(body(message));
    lines
}

/// A dead letter, a line each.
pub(super) fn letter(topic: &str, letter: &DeadMessage) -> Vec<String> {
    let DeadMessage { position, group, attempts, failure, died_unix_ms, message } = letter;
    let mut lines = vec![
        field("topic", topic),
        field("dead letter", &position.to_string()),
        field("group", group),
        field("tries", &attempts.to_string()),
        field("failure", failure),
        field("died", &when_utc(*died_unix_ms)),
        field("was at", &message.position.to_string()),
    ];
    lines.extend(body(message));
    let again = format!("once its cause is mended: bowline messages redrive {topic} {position}");
    lines.extend([String::new(), style::plain(&again)]);
    lines
}

fn body(message: &StoredMessage) -> Vec<String> {
    let StoredMessage { position: _, id, key, headers, payload, .. } = message;
    let StoredMessage { published_unix_ms, due_unix_ms, expires_unix_ms, only, .. } = message;
    let mut lines = vec![field("id", id)];
    lines.extend(key.iter().map(|key| field("key", key)));
    lines.push(field("published", &when_utc(*published_unix_ms)));
    if due_unix_ms > published_unix_ms {
        lines.push(field("not before", &when_utc(*due_unix_ms)));
    }
    lines.extend(expires_unix_ms.iter().map(|at| field("expires", &when_utc(*at))));
    lines.extend(only.iter().map(|group| field("only for", group)));
    if let Some(trace) = trace_id(headers) {
        lines.push(field("trace", &format!("{trace}, see: bowline trace {trace}")));
    }
    if !headers.is_empty() {
        lines.push("headers".to_owned());
        lines.extend(headers.iter().map(|(name, value)| style::plain(&format!("  {name}: {value}"))));
    }
    lines.extend(payload_lines(payload));
    lines
}

fn field(name: &str, value: &str) -> String {
    style::plain(&format!("{name:<11}  {value}"))
}

/// The trace that a message was published under.
///
/// Source: W3C Trace Context, 3.2 (`version-traceid-parentid-flags`).
fn trace_id(headers: &[(String, String)]) -> Option<&str> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(TRACEPARENT))?;
    let id = value.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(id)
}

fn payload_lines(payload: &[u8]) -> Vec<String> {
    let head = |kind: &str| field("payload", &format!("{} bytes{kind}", payload.len()));
    if payload.is_empty() {
        return vec![head("")];
    }
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(payload)
        && let Ok(text) = serde_json::to_string_pretty(&json)
    {
        let shown = text.lines().map(|line| format!("  {}", style::plain(line)));
        return std::iter::once(head(" of JSON")).chain(shown).collect();
    }
    if let Ok(text) = std::str::from_utf8(payload) {
        let shown = text.lines().map(|line| format!("  {}", style::plain(line)));
        return std::iter::once(head(" of text")).chain(shown).collect();
    }
    let (max, width) = HEX_BYTES;
    let shown = payload[..payload.len().min(max)].chunks(width).map(|chunk| format!("  {}", hex(chunk)));
    let rest = (payload.len() > max).then(|| "  …: all of it, in base64, is in --output json".to_owned());
    std::iter::once(head(", no text")).chain(shown).chain(rest).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (at, byte) in bytes.iter().enumerate() {
        let _infallible = write!(text, "{}{byte:02x}", if at == 0 { "" } else { " " });
    }
    text
}

/// The beginning of a payload, for a list.
pub(super) fn summary(payload: &[u8]) -> String {
    let begin = &payload[..payload.len().min(256)];
    match std::str::from_utf8(begin) {
        Ok(text) => text.to_owned(),
        // A character may have been cut.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            String::from_utf8_lossy(&begin[..error.valid_up_to()]).into_owned()
        }
        Err(_) => hex(&begin[..begin.len().min(16)]),
    }
}
