//! What is known of a device, and what it can be told.

use std::fmt;

use iot_mqtt::{Outcome, topic};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Device {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) created_at_ms: i64,
    pub(crate) connected: bool,
    /// Since when it is, or is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since_ms: Option<i64>,
    /// When its last reading was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_reading_ms: Option<i64>,
}

/// What a device shows who it is with. It is told once, and written nowhere.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What is kept of a token: its hash, and itself until a broker that has to be given it has it.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) hash: String,
    pub(crate) token: Option<Token>,
}

/// A device as it is made.
#[derive(Debug, Clone)]
pub(crate) struct NewDevice {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) credential: Credential,
    pub(crate) created_ms: i64,
}

/// The state that a device is to be in, and that it says it is in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Shadow {
    pub(crate) desired: Object,
    pub(crate) desired_version: i64,
    pub(crate) reported: Object,
    /// The last version of what is desired that it says it has applied; 0 where it has said so of none.
    pub(crate) reported_version: i64,
    /// What is desired and not reported.
    pub(crate) delta: Object,
}

/// A command as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewCommand {
    pub(crate) device: String,
    pub(crate) told: iot_mqtt::Command,
}

/// A command, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Command {
    #[serde(rename = "command")]
    pub(crate) id: String,
    pub(crate) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    pub(crate) name: String,
    pub(crate) arguments: Object,
    pub(crate) created_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at_ms: Option<i64>,
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The broker has not been told, because it or the device is away.
    Waiting,
    /// The broker has it for the device.
    Sent,
    /// The device did it.
    Done,
    /// The device could not do it.
    Failed,
    /// Its time was over before the device said anything.
    Expired,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [Self::Waiting, Self::Sent, Self::Done, Self::Failed, Self::Expired];

    /// As it is kept and shown.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Failed => Self::Failed,
        }
    }
}

impl Command {
    /// As it is at a moment: what is not known to have ended in time has expired.
    pub(crate) fn at(self, now_ms: i64) -> Self {
        if self.ended_at_ms.is_none() && self.expires_at_ms <= now_ms {
            return Self { state: State::Expired, ended_at_ms: Some(self.expires_at_ms), ..self };
        }
        self
    }
}

/// What the broker is to be told.
#[derive(Debug, Clone)]
pub(crate) enum Due {
    /// A device may connect with that.
    Account { device: String, version: i64, credential: Credential },
    /// A device may not connect any more, and nothing is left of it.
    Removal { device: String },
    /// The state that a device is to be in.
    Desired { device: String, told: iot_mqtt::Desired },
    /// A command, which was asked for so often.
    Command { device: String, asked: i64, told: iot_mqtt::Command },
}

impl Due {
    /// The messages that say so, each retained or not, to any broker.
    pub(crate) fn messages(&self) -> Result<Vec<Message>, serde_json::Error> {
        Ok(match self {
            Self::Account { .. } => Vec::new(),
            Self::Removal { device } => {
                [topic::desired(device), topic::status(device)].map(|topic| Message::retained(topic, Vec::new())).into()
            }
            Self::Desired { device, told } => {
                vec![Message::retained(topic::desired(device), serde_json::to_vec(told)?)]
            }
            Self::Command { device, told, .. } => {
                let payload = serde_json::to_vec(told)?;
                vec![Message { topic: topic::commands(device), payload, is_retained: false }]
            }
        })
    }
}

/// A message to publish. Nothing in it, where it is retained, is that nothing is retained any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) is_retained: bool,
}

impl Message {
    pub(crate) fn retained(topic: String, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic, payload: payload.into(), is_retained: true }
    }
}

/// What is desired and not reported: of objects that both have, what differs in them.
pub(crate) fn delta(desired: &Object, reported: &Object) -> Object {
    let mut delta = Object::new();
    for (name, wanted) in desired {
        let differs = match (wanted, reported.get(name)) {
            (Value::Object(wanted), Some(Value::Object(there))) => {
                Some(self::delta(wanted, there)).filter(|delta| !delta.is_empty()).map(Value::Object)
            }
            (wanted, there) => (there != Some(wanted)).then(|| wanted.clone()),
        };
        delta.extend(differs.map(|differs| (name.clone(), differs)));
    }
    delta
}

/// Whether no more than so many objects and lists are within each other.
pub(crate) fn is_shallow(value: &Value, levels_max: usize) -> bool {
    match value {
        Value::Array(values) => levels_max > 0 && values.iter().all(|value| is_shallow(value, levels_max - 1)),
        Value::Object(values) => levels_max > 0 && values.values().all(|value| is_shallow(value, levels_max - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_delta_has_what_is_to_change() {
        let desired = object(json!({"a": 1, "b": {"c": [1], "d": 2}, "e": null, "f": {}}));
        assert_eq!(delta(&desired, &Object::new()), desired);
        assert_eq!(delta(&desired, &desired), Object::new());
        let reported = object(json!({"a": "1", "b": {"c": [1], "d": 3, "x": 1}, "f": {"y": 1}, "z": 1}));
        assert_eq!(delta(&desired, &reported), object(json!({"a": 1, "b": {"d": 2}, "e": null})));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = json!({"a": [{"b": 1}]});
        assert!(is_shallow(&deep, 3) && !is_shallow(&deep, 2) && is_shallow(&json!(1), 0));
    }

    #[test]
    fn a_token_is_not_shown_by_accident() {
        let credential = Credential { hash: String::new(), token: Some(Token("s3cret".to_owned())) };
        assert!(!format!("{credential:?}").contains("s3cret"));
    }
}
