//! Errors of a message bus, so that they are the same on both sides.

use std::{sync::Arc, time::Duration};

use bowline_messaging::Error;
use bowline_model::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The member of a problem document that says which error it is.
const MEMBER: &str = "fault";

/// Of what there may be too many: those have a name on both sides.
const BOUNDED: [&str; 6] = [
    "topics",
    "groups of one topic",
    "consumers of one group",
    "subscriptions",
    "subscriptions of one topic",
    "delayed messages",
];

/// Why one of many failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessageFault {
    /// What kind of failure it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: Code,
    /// What happened.
    pub detail: String,
    /// What programs need of it, as in a problem document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub fault: Option<Value>,
}

/// Which error it is, and of what.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    NoTopic {
        topic: String,
    },
    NoGroup {
        topic: String,
        group: String,
    },
    NoMessage {
        topic: String,
        position: u64,
    },
    LeaseLost {
        position: u64,
    },
    Full {
        topic: String,
        by: Option<String>,
    },
    TooMany {
        what: String,
        max: usize,
    },
    Io,
    Unavailable {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    Closed,
}

/// What a server says of a failure of its own, or of the way to it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

/// What programs need of an error, as members of its problem document.
pub fn encode_message_error(error: &Error) -> Map<String, Value> {
    let kind = match error.clone() {
        Error::NoTopic { topic } => Kind::NoTopic { topic },
        Error::NoGroup { topic, group } => Kind::NoGroup { topic, group },
        Error::NoMessage { topic, position } => Kind::NoMessage { topic, position },
        Error::LeaseLost { position } => Kind::LeaseLost { position },
        Error::Full { topic, by } => Kind::Full { topic, by },
        Error::TooMany { what, max } => Kind::TooMany { what: what.to_owned(), max },
        Error::Io(_) => Kind::Io,
        Error::Unavailable { retry_after } => Kind::Unavailable { retry_after_ms: retry_after.map(millis) },
        Error::Closed => Kind::Closed,
        // Limits are checked on both sides; of files and folders, nobody else is told.
        _ => return Map::new(),
    };
    let kind = serde_json::to_value(kind).expect("texts and numbers are JSON");
    Map::from_iter([(MEMBER.to_owned(), kind)])
}

/// The error that a problem document tells, by its code, its detail and its members.
pub fn decode_message_error(code: Code, detail: String, extra: &mut Map<String, Value>) -> Error {
    let kind = extra.remove(MEMBER).and_then(|kind| serde_json::from_value(kind).ok());
    match kind {
        Some(Kind::NoTopic { topic }) => Error::NoTopic { topic },
        Some(Kind::NoGroup { topic, group }) => Error::NoGroup { topic, group },
        Some(Kind::NoMessage { topic, position }) => Error::NoMessage { topic, position },
        Some(Kind::LeaseLost { position }) => Error::LeaseLost { position },
        Some(Kind::Full { topic, by }) => Error::Full { topic, by },
        Some(Kind::TooMany { what, max }) => match BOUNDED.into_iter().find(|known| *known == what) {
            Some(what) => Error::TooMany { what, max },
            None => Error::Refused { code, detail },
        },
        Some(Kind::Io) => Error::Io(Arc::new(Told(detail))),
        Some(Kind::Unavailable { retry_after_ms }) => {
            Error::Unavailable { retry_after: retry_after_ms.map(Duration::from_millis) }
        }
        Some(Kind::Closed) => Error::Closed,
        None if code == Code::Unavailable => Error::Unavailable { retry_after: None },
        None => Error::Refused { code, detail },
    }
}

impl MessageFault {
    /// An error, with the words for it: not each of them is for everybody.
    pub fn new(code: Code, detail: String, error: &Error) -> Self {
        Self { code, detail, fault: encode_message_error(error).remove(MEMBER) }
    }

    /// The error it tells.
    pub fn into_error(self) -> Error {
        let Self { code, detail, fault } = self;
        let mut extra = fault.map(|fault| (MEMBER.to_owned(), fault)).into_iter().collect();
        decode_message_error(code, detail, &mut extra)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_the_same_on_both_sides() {
        let (topic, group) = ("orders".to_owned(), "mail".to_owned());
        for error in [
            Error::NoTopic { topic: topic.clone() },
            Error::NoGroup { topic: topic.clone(), group: group.clone() },
            Error::NoMessage { topic: topic.clone(), position: 7 },
            Error::LeaseLost { position: 7 },
            Error::Full { topic: topic.clone(), by: Some(group) },
            Error::Full { topic, by: None },
            Error::TooMany { what: "groups of one topic", max: 64 },
            Error::Io(Arc::new(Told("it failed".to_owned()))),
            Error::Unavailable { retry_after: Some(Duration::from_millis(1500)) },
            Error::Closed,
            Error::Refused { code: Code::PermissionDenied, detail: "you may not".to_owned() },
        ] {
            let told = match &error {
                Error::Refused { detail, .. } => detail.clone(),
                Error::Io(cause) => cause.to_string(),
                error => error.to_string(),
            };
            let fault = MessageFault::new(error.code(), told, &error);
            let json = serde_json::to_string(&fault).unwrap();
            let read: MessageFault = serde_json::from_str(&json).unwrap();
            assert_eq!(format!("{:?}", read.into_error()), format!("{error:?}"), "{json}");
        }
    }

    #[test]
    fn what_is_not_known_is_told_as_it_is() {
        let mut extra = Map::from_iter([(MEMBER.to_owned(), serde_json::json!({"kind": "burnt"}))]);
        let error = decode_message_error(Code::Conflict, "it burns".to_owned(), &mut extra);
        assert!(matches!(&error, Error::Refused { code: Code::Conflict, detail } if detail == "it burns"), "{error:?}");
        let many = Kind::TooMany { what: "elephants".to_owned(), max: 1 };
        let mut extra = Map::from_iter([(MEMBER.to_owned(), serde_json::to_value(many).unwrap())]);
        let error = decode_message_error(Code::Unavailable, "too many elephants".to_owned(), &mut extra);
        assert!(error.retryable() && error.to_string().contains("elephants"), "{error}");
    }
}
