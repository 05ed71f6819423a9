//! The wire types of configuration.

use std::time::Duration;

use bowline_config::{
    Acknowledgement, Author, Document, Draft, Error, Format, Origin, Outcome, Summary, Version, VersionSummary,
    Violation,
};
use bowline_model::{Code, ConfigKey, InstanceId, ServiceName, units};
use bowline_transport::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `PUT /v1/config/{namespace}/{name}`, `POST …/check`: what is to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// What it is written in: `toml`, `json` or `text`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "toml"))]
    pub format: Format,
    /// The document as it is written, at most 256 KiB.
    #[cfg_attr(feature = "openapi", schema(example = "items_max = 20"))]
    pub text: String,
    /// The number of the version it changes, 0 where there must be none; absent: whichever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// Why, in one line of at most 500 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// A JSON Schema that replaces the one there is in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

/// `POST /v1/config/{namespace}/{name}/check`: it would be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigCheck {
    /// The number of the version that it would be.
    pub number: u64,
}

/// `GET /v1/config`: documents, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigList {
    /// The documents, each with its `key`, its current `version` and whether it `has_schema`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub documents: Vec<Summary>,
}

/// `GET /v1/config/{namespace}/{name}/history`: versions, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigHistory {
    /// The versions, without their documents.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub versions: Vec<VersionSummary>,
}

/// `POST /v1/config/{namespace}/{name}/rollback`: which version to bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Its number.
    pub to: u64,
    /// The number of the version that is current, 0 where there must be none; absent: whichever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
}

/// How a request says that it expects no schema.
pub const NO_SCHEMA: &str = "none";

/// The tag of a schema, by which a request says which one it expects: 32 hexadecimal digits.
pub fn schema_tag(schema: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(schema.as_bytes()))
}

/// `PUT /v1/config/{namespace}/{name}/status/{instance}`: what an instance makes of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigAck {
    /// The service it is a copy of.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "order"))]
    pub service: ServiceName,
    /// The version it was told.
    pub version: u64,
    /// Whether it runs by it, or refused it and runs on as before.
    pub outcome: Verdict,
    /// With `refused`: why, in at most 2000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version it runs now; absent: what it has built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// How long that is known without being said again, `"1s"` to `"1h"`.
    #[serde(with = "units::duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "15s"))]
    pub ttl: Duration,
}

/// An [`Outcome`] without its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It runs by it.
    Applied,
    /// It does not.
    Refused,
}

/// One line of `GET /v1/config/{namespace}/{name}?watch=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ConfigEvent {
    /// This is the current version. The first line is this or `absent`.
    Put {
        /// The version with its document.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        version: Version,
    },
    /// There is no document: none was published, or it was deleted.
    Absent,
    /// Nothing happened; sent now and then so that a dead connection is noticed.
    Bookmark,
    /// The watch ends with an error: watch anew.
    Error {
        /// Its code.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        code: Code,
        /// What happened.
        detail: String,
    },
}

impl Publication {
    /// A draft, and the schema it comes with. Author and origin are the server's to say.
    pub fn of(draft: Draft, schema: Option<String>) -> Self {
        let Draft { document: Document { format, text }, expect, author: _, origin: _, comment } = draft;
        Self { format, text, expect, comment, schema }
    }

    /// The draft of that author, through the API, and the schema it comes with.
    pub fn into_draft(self, author: Author) -> (Draft, Option<String>) {
        let Self { format, text, expect, comment, schema } = self;
        let document = Document { format, text };
        (Draft { document, expect, author, origin: Origin::Api, comment }, schema)
    }
}

impl ConfigAck {
    /// An acknowledgement, and whose it is.
    pub fn of(ack: Acknowledgement, ttl: Duration) -> (InstanceId, Self) {
        let Acknowledgement { instance, service, version, outcome, runs } = ack;
        let (outcome, reason) = match outcome {
            Outcome::Applied => (Verdict::Applied, None),
            Outcome::Refused { reason } => (Verdict::Refused, Some(reason)),
        };
        (instance, Self { service, version, outcome, reason, runs, ttl })
    }

    /// The acknowledgement of that instance, and how long it stands.
    ///
    /// # Errors
    /// When there is a reason without a refusal, or a refusal without a reason.
    pub fn into_ack(self, instance: InstanceId) -> Result<(Acknowledgement, Duration), &'static str> {
        let Self { service, version, outcome, reason, runs, ttl } = self;
        let outcome = match (outcome, reason) {
            (Verdict::Applied, None) => Outcome::Applied,
            (Verdict::Refused, Some(reason)) => Outcome::Refused { reason },
            (Verdict::Applied, Some(_)) => return Err("reason: it goes with the outcome `refused`"),
            (Verdict::Refused, None) => return Err("reason: a refusal says why"),
        };
        Ok((Acknowledgement { instance, service, version, outcome, runs }, ttl))
    }
}

/// What programs need of an error, as members of its problem document.
pub fn encode_config_error(error: &Error) -> Map<String, Value> {
    let members = match error {
        Error::Syntax { format, line, column, reason } => {
            let syntax = serde_json::json!({"format": format, "line": line, "column": column, "reason": reason});
            vec![("syntax", syntax)]
        }
        Error::Rejected { violations } => vec![("violations", json(violations))],
        Error::InvalidSchema { reason } => vec![("schema_fault", json(reason))],
        Error::Conflict { key: _, expected, base, current } => {
            vec![("expected", json(expected)), ("base", json(base)), ("current", json(current))]
        }
        Error::SchemaConflict { key: _ } => vec![("schema", json(&"changed"))],
        Error::NoDocument { key } => vec![("key", json(key))],
        Error::NoVersion { key, number } => vec![("key", json(key)), ("number", json(number))],
        _ => Vec::new(),
    };
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("texts, numbers and lists of them are JSON")
}

/// The error that a problem document about that key tells.
pub fn decode_config_error(key: &ConfigKey, problem: Problem) -> Error {
    let Problem { code, detail, mut extra, .. } = problem;
    let known = match code {
        Code::Conflict => conflict(key, &mut extra),
        Code::NotFound => not_found(&mut extra),
        Code::Unprocessable => unprocessable(&mut extra),
        _ => None,
    };
    known.unwrap_or(Error::Refused { code, detail })
}

fn member<T: serde::de::DeserializeOwned>(extra: &mut Map<String, Value>, name: &str) -> Option<T> {
    serde_json::from_value(extra.remove(name)?).ok()
}

/// What is not there; a path that a server does not know says nothing about documents.
fn not_found(extra: &mut Map<String, Value>) -> Option<Error> {
    let key = member(extra, "key")?;
    Some(match member(extra, "number") {
        Some(number) => Error::NoVersion { key, number },
        None => Error::NoDocument { key },
    })
}

fn conflict(key: &ConfigKey, extra: &mut Map<String, Value>) -> Option<Error> {
    if extra.contains_key("schema") {
        return Some(Error::SchemaConflict { key: key.clone() });
    }
    let expected = member(extra, "expected")?;
    Some(Error::Conflict {
        key: key.clone(),
        expected,
        base: member(extra, "base")?,
        current: member(extra, "current")?,
    })
}

fn unprocessable(extra: &mut Map<String, Value>) -> Option<Error> {
    #[derive(Deserialize)]
    struct Syntax {
        format: Format,
        line: usize,
        column: usize,
        reason: String,
    }
    if let Some(violations) = member::<Vec<Violation>>(extra, "violations") {
        return Some(Error::Rejected { violations });
    }
    if let Some(Syntax { format, line, column, reason }) = member(extra, "syntax") {
        return Some(Error::Syntax { format, line, column, reason });
    }
    member(extra, "schema_fault").map(|reason| Error::InvalidSchema { reason })
}
