//! Tokens and the audit on the wire.

use std::{fmt, str::FromStr, time::Duration};

use bowline_model::{Secret, units};
use serde::{Deserialize, Serialize};

/// What a token may do; each role may also what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes what runs: instances, spans, configuration.
    Editor,
    /// Decides who may what: tokens, routes, instances that Bowline runs.
    Admin,
}

impl Role {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let role = [Self::Viewer, Self::Editor, Self::Admin].into_iter().find(|role| role.as_str() == text);
        role.ok_or("write viewer, editor or admin")
    }
}

/// `POST /v1/tokens`: what a token is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whom or what it is for: 1 to 64 of `a-z A-Z 0-9 - _ . : @`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// How long it lives, `"1m"` to `"3650d"`; absent: until revoked.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "30d"))]
    pub expires_in: Option<Duration>,
}

/// A token as it is listed: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// Which one.
    pub id: String,
    /// Whom or what it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Who made it.
    pub created_by: String,
    /// When it ends, in milliseconds since 1970; absent: when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_ms: Option<u64>,
}

/// The answer to [`NewToken`]: the only one that holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedToken {
    /// What is kept of it.
    #[serde(flatten)]
    pub about: Token,
    /// The token itself, as it is sent in `Authorization: Bearer`. It cannot be asked for again.
    #[serde(with = "exposed")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token: Secret,
}

/// `GET /v1/tokens`: every token, sorted by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// The tokens.
    pub tokens: Vec<Token>,
}

/// What kind of change an entry of the audit tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditClass {
    /// Instances that came, changed or went.
    Registry,
    /// Topics, groups and dead letters.
    Messages,
    /// Everything else that was changed.
    Other,
    /// What was refused for want of a credential or a role; one a second at most.
    Refused,
}

impl AuditClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Registry, Self::Messages, Self::Other, Self::Refused];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Messages => "messages",
            Self::Other => "other",
            Self::Refused => "refused",
        }
    }
}

impl FromStr for AuditClass {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let class = Self::ALL.into_iter().find(|class| class.as_str() == text);
        class.ok_or("write registry, messages, other or refused")
    }
}

/// `GET /v1/audit`: who changed what, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditList {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Whether there are older ones: ask again with `before`, the last one's id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its id: 16 hexadecimal digits, which grow with time.
    pub id: String,
    /// What kind it is of.
    pub class: AuditClass,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Who.
    pub actor: AuditActor,
    /// The request, as `PUT /v1/instances/order-1`; absent for what Bowline does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The keys it changed in the store; none where it was refused.
    #[serde(default)]
    pub changes: Vec<AuditChange>,
    /// How many more keys it changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changes_omitted: usize,
}

/// Who changed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AuditActor {
    /// This process: the supervisor, the begin of a run.
    Bowline,
    /// Somebody on this machine, without a credential.
    Anonymous {
        /// Whence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    /// Whoever holds a token.
    Token {
        /// Which one.
        id: String,
        /// What it is called.
        name: String,
        /// What it may do.
        role: Role,
        /// Whence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
}

/// What happened to a key of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditChange {
    /// Whether it was put or deleted.
    pub change: ChangeKind,
    /// The key.
    pub key: String,
}

/// The two things that happen to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was created or replaced.
    Put,
    /// It was deleted.
    Delete,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A secret in clear: for the one answer that holds it.
pub(super) mod exposed {
    use bowline_model::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::wire) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_they_are_read() {
        for role in [Role::Viewer, Role::Editor, Role::Admin] {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        for class in AuditClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        assert!("root".parse::<Role>().is_err() && "all".parse::<AuditClass>().is_err());
    }

    #[test]
    fn a_created_token_is_sent_and_not_printed() {
        let about = Token {
            id: "ab".to_owned(),
            name: "ci".to_owned(),
            role: Role::Editor,
            created_unix_ms: 1,
            created_by: "root".to_owned(),
            expires_unix_ms: None,
        };
        let created = CreatedToken { about, token: Secret::new("bwl_ab_cd") };
        let text = serde_json::to_string(&created).unwrap();
        assert!(text.contains(r#""token":"bwl_ab_cd""#) && text.contains(r#""role":"editor""#), "{text}");
        assert_eq!(serde_json::from_str::<CreatedToken>(&text).unwrap(), created);
        assert!(!format!("{created:?}").contains("cd\""), "{created:?}");
    }
}
