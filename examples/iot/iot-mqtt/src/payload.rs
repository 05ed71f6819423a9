//! What is said on each topic, and what of it is taken: JSON, each of a bounded size.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The most readings of one message.
pub const READINGS_MAX: usize = 100;

/// The longest message with what a device is in, or is to be in, in bytes.
pub const SHADOW_BYTES_MAX: usize = 8 << 10;

/// The longest acknowledgement, in bytes.
const ACK_BYTES_MAX: usize = 1 << 10;

/// The longest detail of an acknowledgement, in bytes.
const DETAIL_BYTES_MAX: usize = 256;

/// The longest id of a command, in bytes.
const COMMAND_BYTES_MAX: usize = 64;

/// The longest message with readings, in bytes.
const READINGS_BYTES_MAX: usize = 16 << 10;

/// The longest fault that is told, in bytes: it may quote what came.
const FAULT_BYTES_MAX: usize = 200;

/// A reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The device's own number of it, which grows, also over its restarts.
    pub sequence: i64,
    /// When it was read, in milliseconds since 1970.
    pub at_ms: i64,
    /// What was read.
    pub value: f64,
}

/// The state that a device is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// The version of what is desired that it has applied last, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// All of its state.
    pub reported: Map<String, Value>,
}

/// The state that a device is to be in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// It grows with each change.
    pub version: i64,
    /// All that is desired.
    pub desired: Map<String, Value>,
}

/// What a device is to do, once however often it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// By this it is acknowledged.
    #[serde(rename = "command")]
    pub id: String,
    /// What is to be done.
    pub name: String,
    /// How.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// From when on it is not to be done any more, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The id of the command.
    pub command: String,
    /// What became of it.
    pub state: Outcome,
    /// More about that, at most 256 bytes without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It could not be done.
    Failed,
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is connected.
    Online,
    /// It is not.
    Offline,
}

impl Presence {
    /// The payload that says so.
    pub fn text(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }

    /// What a payload says; none where it is neither.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        [Self::Online, Self::Offline].into_iter().find(|presence| presence.text().as_bytes() == payload)
    }
}

/// The readings of a message: one, or a list of 1 to [`READINGS_MAX`].
///
/// # Errors
/// What is wrong with it.
pub fn readings(payload: &[u8]) -> Result<Vec<Reading>, String> {
    if payload.trim_ascii_start().first() != Some(&b'[') {
        return Ok(vec![parse(payload, READINGS_BYTES_MAX)?]);
    }
    let readings: Vec<Reading> = parse(payload, READINGS_BYTES_MAX)?;
    if (1..=READINGS_MAX).contains(&readings.len()) {
        return Ok(readings);
    }
    Err(format!("{} readings, 1 to {READINGS_MAX} are taken", readings.len()))
}

/// The state of a message.
///
/// # Errors
/// What is wrong with it.
pub fn reported(payload: &[u8]) -> Result<Reported, String> {
    parse(payload, SHADOW_BYTES_MAX)
}

/// The acknowledgement of a message.
///
/// # Errors
/// What is wrong with it.
pub fn ack(payload: &[u8]) -> Result<Ack, String> {
    let ack: Ack = parse(payload, ACK_BYTES_MAX)?;
    if !is_command(&ack.command) {
        return Err(format!("the id of a command has 1 to {COMMAND_BYTES_MAX} of a-z, 0-9 and -"));
    }
    let is_told = |detail: &String| detail.len() <= DETAIL_BYTES_MAX && !detail.contains(char::is_control);
    if ack.detail.as_ref().is_none_or(is_told) {
        return Ok(ack);
    }
    Err(format!("the detail has more than {DETAIL_BYTES_MAX} bytes, or control characters"))
}

/// Whether it can be the id of a command.
pub fn is_command(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=COMMAND_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain)
}

fn parse<T: DeserializeOwned>(payload: &[u8], bytes_max: usize) -> Result<T, String> {
    if payload.len() > bytes_max {
        return Err(format!("{} bytes, at most {bytes_max} are taken", payload.len()));
    }
    serde_json::from_slice(payload).map_err(|error| {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(FAULT_BYTES_MAX));
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn one_reading_is_taken_and_a_list_of_some() {
        let reading = Reading { sequence: 1, at_ms: 2, value: 21.5 };
        let text = json!({"sequence": 1, "at_ms": 2, "value": 21.5});
        assert_eq!(readings(text.to_string().as_bytes()), Ok(vec![reading]));
        for (count, is_taken) in [(0, false), (1, true), (READINGS_MAX, true), (READINGS_MAX + 1, false)] {
            let list = format!(" {}", json!(vec![&text; count]));
            assert_eq!(readings(list.as_bytes()).map(|readings| readings.len()).ok(), is_taken.then_some(count));
        }
        // The longest numbers fit.
        let longest = Reading { sequence: i64::MIN, at_ms: i64::MIN, value: f64::MIN };
        let list = serde_json::to_vec(&vec![longest; READINGS_MAX]).unwrap();
        assert_eq!(readings(&list).map(|readings| readings.len()), Ok(READINGS_MAX));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_its_fault_is_short() {
        for payload in [
            "",
            "[",
            "null",
            "21.5",
            "{}",
            "[[]]",
            "{\"sequence\":1,\"at_ms\":2}",
            "{\"sequence\":1.5,\"at_ms\":2,\"value\":3}",
            "{\"sequence\":1,\"at_ms\":2,\"value\":1e999}",
            "{\"sequence\":1,\"at_ms\":2,\"value\":3,\"unit\":\"C\"}",
        ] {
            readings(payload.as_bytes()).unwrap_err();
        }
        let long = json!({"sequence": 1, "ä".repeat(1000): 1}).to_string();
        assert!(readings(long.as_bytes()).unwrap_err().len() <= FAULT_BYTES_MAX);
        let large = format!("{{\"reported\":{{\"a\":\"{}\"}}}}", "x".repeat(SHADOW_BYTES_MAX));
        assert!(reported(large.as_bytes()).unwrap_err().contains("bytes"));
        reported(b"{\"reported\":[]}").unwrap_err();
    }

    #[test]
    fn an_acknowledgement_says_what_became_of_a_command() {
        let done = ack(br#"{"command":"c-1","state":"done"}"#).unwrap();
        assert_eq!(done, Ack { command: "c-1".to_owned(), state: Outcome::Done, detail: None });
        assert_eq!(ack(br#"{"command":"c-1","state":"failed","detail":"no power"}"#).unwrap().state, Outcome::Failed);
        ack(br#"{"command":"c-1","state":"waiting"}"#).unwrap_err();
        ack(br#"{"command":"c-1","state":"done","detail":"\u0000"}"#).unwrap_err();
        ack(json!({"command": "c-1", "state": "done", "detail": "x".repeat(257)}).to_string().as_bytes()).unwrap_err();
        for id in ["", "\0", "c_1", "C-1", "c-\u{e4}", &"c".repeat(65)] {
            ack(json!({"command": id, "state": "done"}).to_string().as_bytes()).unwrap_err();
        }
        assert_eq!(Presence::parse(b"offline"), Some(Presence::Offline));
        assert_eq!(Presence::parse(b"Offline"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sequence: i64, at_ms: i64, value in -1e12_f64..1e12, version: Option<i64>, text: String) {
            let reading = Reading { sequence, at_ms, value: value.round() };
            prop_assert_eq!(readings(&serde_json::to_vec(&reading).unwrap()), Ok(vec![reading]));
            let state: Map<String, Value> = [(text.clone(), json!({"a": [text]}))].into_iter().collect();
            let is = Reported { version, reported: state };
            prop_assert_eq!(reported(&serde_json::to_vec(&is).unwrap()), Ok(is));
        }

        #[test]
        fn nothing_that_comes_harms(payload: Vec<u8>) {
            drop((readings(&payload), reported(&payload), ack(&payload), Presence::parse(&payload)));
        }
    }
}
