//! Sessions of the console on the wire: one half in a cookie, the other with the page.

use bowline_model::Secret;
use serde::{Deserialize, Serialize};

use super::access::{Role, exposed};

/// `POST /v1/session`: the token to sign in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// The token, as `bowline token create` printed it.
    #[serde(with = "exposed")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token: Secret,
}

/// The answer to [`NewSession`]: its cookie and this proof, together, identify the page from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenedSession {
    /// What the token is called.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When the session ends, in milliseconds since 1970.
    pub expires_unix_ms: u64,
    /// What the page sends in `x-bowline-console` with every request; this is the only answer that holds it.
    #[serde(with = "exposed")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub proof: Secret,
}

/// `GET /v1/session`: who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// Whether whoever asks is known by a token.
    pub signed_in: bool,
    /// What the token is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What whoever asks may do; null: nothing without a token.
    pub role: Option<Role>,
    /// How they are known; null where they are not.
    pub by: Option<SessionBy>,
    /// Why what they show does not identify them: a session that has ended, a token that is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The name of the server's system, for those who may read; absent where it knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The release of Bowline.
    pub version: String,
}

/// How somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionBy {
    /// By the cookie of a session, and its proof.
    Cookie,
    /// By the token in `Authorization`.
    Bearer,
    /// By being on this machine, without a token.
    Loopback,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_and_not_printed() {
        let new = NewSession { token: Secret::new("bwl_ab_cd") };
        assert_eq!(serde_json::to_string(&new).unwrap(), r#"{"token":"bwl_ab_cd"}"#);
        assert!(!format!("{new:?}").contains("cd\""), "{new:?}");
    }

    #[test]
    fn what_nobody_may_is_told_as_null() {
        let version = "0.1.0".to_owned();
        let nobody = Session { signed_in: false, name: None, role: None, by: None, why: None, system: None, version };
        let text = serde_json::to_string(&nobody).unwrap();
        assert_eq!(text, r#"{"signed_in":false,"role":null,"by":null,"version":"0.1.0"}"#);
        assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), nobody);
    }
}
