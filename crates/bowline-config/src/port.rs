//! The port: what a manager of configuration promises, near or remote.

use std::{fmt, time::Duration};

use bowline_model::{ConfigKey, InstanceId, ServiceName};
use bowline_runtime::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{Document, Error, Format};

/// The most documents; each may be deleted and published again.
pub const KEYS_MAX: usize = 4096;
/// The most versions of a document that are kept, the current one included.
pub const VERSIONS_MAX: usize = 100;
/// The most bytes of a document's versions that are kept; the current one always is.
pub const HISTORY_BYTES_MAX: usize = 4 << 20;
/// The largest schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// The longest comment on a version, in bytes.
pub const COMMENT_BYTES_MAX: usize = 500;
/// The longest name of an author, in bytes.
pub const AUTHOR_BYTES_MAX: usize = 128;
/// The longest reason of a refusal, in bytes.
pub const REASON_BYTES_MAX: usize = 2000;
/// The most instances that acknowledge one document.
pub const ACKS_MAX: usize = 10_000;
/// The most violations that are told of one document.
pub const VIOLATIONS_MAX: usize = 32;

/// Which schema a change of it expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectSchema {
    /// Whichever there is, or none.
    Any,
    /// None.
    Missing,
    /// This one, as it was written.
    Is(String),
}

impl ExpectSchema {
    pub(crate) fn admits(&self, current: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Missing => current.is_none(),
            Self::Is(expected) => current == Some(expected),
        }
    }
}

/// Documents by key, each with its versions, its schema and who runs it; shared by everybody in
/// the process.
pub trait ConfigManager: Send + Sync + 'static {
    /// The current version; none where nothing was published, or it was deleted.
    fn get_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Option<Version>, Error>>;

    /// A version by its number; none where there was none, or it is no longer kept.
    fn get_version(&self, key: &ConfigKey, number: u64) -> BoxFuture<'_, Result<Option<Version>, Error>>;

    /// Publishes a document as the next version, once it was found well-formed and to fit its
    /// schema. Numbers go on after a deletion. Answered when it would survive a power loss.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the current version is not the one the draft expects,
    /// [`Error::Syntax`] and [`Error::Rejected`] when the document is at fault, [`Error::Full`]
    /// when there are [`KEYS_MAX`] documents.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    fn set_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<Version, Error>>;

    /// The number that [`ConfigManager::set_config`] would publish that as now. Changes nothing.
    ///
    /// # Errors
    /// Those of [`ConfigManager::set_config`], but for what only writing shows.
    fn check_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<u64, Error>>;

    /// As [`ConfigManager::set_config`], with a schema that the document is held against instead,
    /// and that replaces the one there is in the same step: so both can change together.
    ///
    /// # Errors
    /// Those of [`ConfigManager::set_config`] and of [`ConfigManager::set_schema`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    fn set_config_with_schema(
        &self,
        key: &ConfigKey,
        draft: Draft,
        schema: &str,
    ) -> BoxFuture<'_, Result<Version, Error>>;

    /// Deletes the current version, if it is the one that is expected; whether there was one. The
    /// history, the schema and the count of versions stay, so that [`ConfigManager::rollback`]
    /// undoes it.
    ///
    /// # Errors
    /// [`Error::Conflict`].
    fn delete_config(&self, key: &ConfigKey, expect: Option<u64>) -> BoxFuture<'_, Result<bool, Error>>;

    /// Publishes the document of an earlier version again, as a new version that says so; it has
    /// to fit the schema of today. The current version has to be the one that is expected, 0 where
    /// there must be none.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::NoVersion`], [`Error::Rejected`], and [`Error::Invalid`] when it
    /// is the current version.
    fn rollback(
        &self,
        key: &ConfigKey,
        to: u64,
        expect: Option<u64>,
        author: Author,
    ) -> BoxFuture<'_, Result<Version, Error>>;

    /// Follows a document: the state now, then each later one. Nothing is asked of a server
    /// before [`ConfigWatcher::next`].
    fn watch_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Box<dyn ConfigWatcher>, Error>>;

    /// The versions that are kept and have a smaller number than `before`, newest first, at most
    /// `limit`; also of a document that was deleted.
    fn history(
        &self,
        key: &ConfigKey,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VersionSummary>, Error>>;

    /// Every document, or those of a namespace, sorted by key.
    fn list(&self, namespace: Option<&str>) -> BoxFuture<'_, Result<Vec<Summary>, Error>>;

    /// The schema that a document is held against.
    fn get_schema(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Option<String>, Error>>;

    /// Replaces the schema, or removes it, if it is the one that is expected. The current document
    /// has to fit it.
    ///
    /// # Errors
    /// [`Error::InvalidSchema`] when it is none, [`Error::Rejected`] when the current document
    /// breaks it, [`Error::SchemaConflict`].
    fn set_schema(
        &self,
        key: &ConfigKey,
        schema: Option<&str>,
        expect: ExpectSchema,
    ) -> BoxFuture<'_, Result<(), Error>>;

    /// Says what an instance makes of a version. It is known for `ttl` (1 s to 1 h); the same
    /// again only renews that, without touching the disk.
    ///
    /// # Errors
    /// [`Error::NoDocument`] and [`Error::NoVersion`] when that was never published.
    fn acknowledge(&self, key: &ConfigKey, ack: Acknowledgement, ttl: Duration) -> BoxFuture<'_, Result<(), Error>>;

    /// The current version, and what each instance that lives makes of it, sorted by instance.
    fn status(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Status, Error>>;
}

/// The latest state of a document. Dropping it ends the watch.
pub trait ConfigWatcher: Send {
    /// The current version first, then each newer one; none while there is none. States that
    /// follow each other quickly may be left out, the last one never is, and no state is told
    /// twice in a row. That there is no document is told only when somebody said so.
    ///
    /// After an error the next call begins anew, and tells what changed since.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call answers the same state or a later one.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Version>, Error>>;
}

/// What judges documents: behind it is JSON Schema, and what the platform's own keys demand.
pub trait Schema: Send + Sync + 'static {
    /// Whether a document may be published under that key. May take its time: it is asked where
    /// blocking is allowed.
    ///
    /// # Errors
    /// Every rule that the document breaks.
    fn check(&self, key: &ConfigKey, document: &Document, schema: Option<&str>) -> Result<(), Vec<Violation>>;

    /// Whether a text is a schema that can be set for that key.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check_schema(&self, key: &ConfigKey, schema: &str) -> Result<(), String>;
}

/// A published document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Counts the versions of its key, from 1.
    pub number: u64,
    /// What was published.
    pub document: Document,
    /// Who published it.
    pub author: Author,
    /// Which way it came.
    pub origin: Origin,
    /// Why, in the author's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The version whose document it brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
}

/// A version without its document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSummary {
    /// As [`Version::number`].
    pub number: u64,
    /// What its document is written in.
    pub format: Format,
    /// How long its document is.
    pub bytes: usize,
    /// As [`Version::author`].
    pub author: Author,
    /// As [`Version::origin`].
    pub origin: Origin,
    /// As [`Version::comment`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// As [`Version::at_unix_ms`].
    pub at_unix_ms: u64,
    /// As [`Version::restores`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
}

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its key.
    pub key: ConfigKey,
    /// Its current version.
    pub version: VersionSummary,
    /// Whether it is held against a schema.
    pub has_schema: bool,
}

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The document.
    pub document: Document,
    /// The number of the version it changes, 0 where there must be none; absent: whichever.
    pub expect: Option<u64>,
    /// Who publishes it.
    pub author: Author,
    /// Which way it comes.
    pub origin: Origin,
    /// Why; one line of at most [`COMMENT_BYTES_MAX`] bytes, may be empty.
    pub comment: String,
}

/// Who did something: 1 to [`AUTHOR_BYTES_MAX`] bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Author(String);

/// Which way a version came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Out of a file that describes the system, by who started it.
    File,
    /// Through the API.
    Api,
}

/// A rule that a document breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The value at fault, as a JSON pointer: `/items_max`; empty: the whole document.
    pub path: String,
    /// The rule it breaks: a keyword of JSON Schema, or what else names it.
    pub rule: String,
    /// What is wrong, in words.
    pub detail: String,
}

/// What an instance makes of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Which instance.
    pub instance: InstanceId,
    /// The service it is a copy of.
    pub service: ServiceName,
    /// The version it was told.
    pub version: u64,
    /// What it did with it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The version it runs now; none: what it has built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
}

/// What an instance did with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It runs by it.
    Applied,
    /// It does not, and runs on as before.
    Refused {
        /// Why not; at most [`REASON_BYTES_MAX`] bytes.
        reason: String,
    },
}

/// An acknowledgement, and since when it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// What was said.
    #[serde(flatten)]
    pub ack: Acknowledgement,
    /// When it was said first, in milliseconds since 1970.
    pub at_unix_ms: u64,
}

/// Who runs which version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The document.
    pub key: ConfigKey,
    /// Its current version.
    pub current: Option<VersionSummary>,
    /// What each instance makes of it.
    pub instances: Vec<Acknowledged>,
}

impl Version {
    /// What a list tells of it.
    pub fn summary(&self) -> VersionSummary {
        let Self { number, document, author, origin, comment, at_unix_ms, restores } = self;
        VersionSummary {
            number: *number,
            format: document.format,
            bytes: document.text.len(),
            author: author.clone(),
            origin: *origin,
            comment: comment.clone(),
            at_unix_ms: *at_unix_ms,
            restores: *restores,
        }
    }
}

impl Draft {
    /// A draft from the API, whatever version there is, without a comment.
    pub fn new(document: Document, author: Author) -> Self {
        Self { document, expect: None, author, origin: Origin::Api, comment: String::new() }
    }

    /// Checks document and comment against their bounds.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Syntax`].
    pub fn check(&self) -> Result<(), Error> {
        let Self { document, expect: _, author: _, origin: _, comment } = self;
        if comment.len() > COMMENT_BYTES_MAX || comment.chars().any(char::is_control) {
            return Err(Error::Invalid { what: "comment", rule: "it is one line of at most 500 bytes" });
        }
        document.check()
    }
}

impl Acknowledgement {
    /// Checks the reason against its bound.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        match &self.outcome {
            Outcome::Refused { reason } if reason.len() > REASON_BYTES_MAX => {
                Err(Error::Invalid { what: "reason", rule: "it has at most 2000 bytes" })
            }
            Outcome::Refused { .. } | Outcome::Applied => Ok(()),
        }
    }
}

impl Author {
    /// Checks the name.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > AUTHOR_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Error::Invalid { what: "author", rule: "it has 1 to 128 bytes and no control characters" });
        }
        Ok(Self(name.to_owned()))
    }

    /// Somebody who did not say.
    pub fn anonymous() -> Self {
        Self("anonymous".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Author {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        Self::new(&name)
    }
}

impl From<Author> for String {
    fn from(author: Author) -> Self {
        author.0
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, rule, detail } = self;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        write!(f, "{detail} ({rule})")
    }
}
