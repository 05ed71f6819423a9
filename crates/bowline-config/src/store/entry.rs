//! What is kept in the store, and under which keys.
//!
//! | key | value |
//! |---|---|
//! | `config/doc/KEY` | a [`Head`]: the current version, and how far they were counted |
//! | `config/version/KEY/N` | a [`Version`], the current one too; `N` has 20 digits |
//! | `config/schema/KEY` | the schema, as it was written |
//! | `config/ack/KEY/INSTANCE` | an acknowledgement, bound to a lease |

use bowline_model::{ConfigKey, InstanceId};
use bowline_store::{Entry, Expect};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Version};

/// Under which keys the heads are.
pub(super) const HEADS: &str = "config/doc/";
/// Under which keys the schemas are.
pub(super) const SCHEMAS: &str = "config/schema/";

/// The format of what is written, and the only one that is read.
const FORMAT: u64 = 1;

/// A document as a whole; one that was deleted has no current version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The number of the latest version.
    pub(super) last: u64,
    /// The latest version that came from a file, which is kept however old it is.
    pub(super) from_file: Option<u64>,
    /// The current version.
    pub(super) current: Option<Version>,
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    format: u64,
    value: T,
}

/// The format alone: readable whatever the rest has become.
#[derive(Deserialize)]
struct Shell {
    format: u64,
}

pub(super) fn head_key(key: &ConfigKey) -> String {
    format!("{HEADS}{key}")
}

pub(super) fn key_of_head(head: &Entry) -> Result<ConfigKey, Error> {
    let key = head.key.strip_prefix(HEADS).and_then(|key| ConfigKey::new(key).ok());
    key.ok_or_else(|| Error::Unreadable { entry: head.key.to_string() })
}

pub(super) fn schema_key(key: &ConfigKey) -> String {
    format!("{SCHEMAS}{key}")
}

pub(super) fn versions(key: &ConfigKey) -> String {
    format!("config/version/{key}/")
}

pub(super) fn version_key(key: &ConfigKey, number: u64) -> String {
    format!("{}{number:020}", versions(key))
}

pub(super) fn acks(key: &ConfigKey) -> String {
    format!("config/ack/{key}/")
}

pub(super) fn ack_key(key: &ConfigKey, instance: &InstanceId) -> String {
    format!("{}{instance}", acks(key))
}

/// The condition that an entry is as it was read.
pub(super) fn unchanged(entry: Option<&Entry>) -> Expect {
    entry.map_or(Expect::Missing, |entry| Expect::Modified(entry.modified))
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&Kept { format: FORMAT, value }).expect("what is kept can be written as JSON")
}

pub(super) fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, Error> {
    let unreadable = || Error::Unreadable { entry: entry.key.to_string() };
    let Shell { format } = serde_json::from_slice(&entry.value).map_err(|_| unreadable())?;
    if format != FORMAT {
        return Err(unreadable());
    }
    let Kept { format: _, value } = serde_json::from_slice(&entry.value).map_err(|_| unreadable())?;
    Ok(value)
}

pub(super) fn text(entry: &Entry) -> Result<String, Error> {
    let text = std::str::from_utf8(&entry.value).map_err(|_| Error::Unreadable { entry: entry.key.to_string() })?;
    Ok(text.to_owned())
}
