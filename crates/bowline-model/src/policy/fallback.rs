//! What is answered where nobody answers.

use serde::{Deserialize, Serialize};

use super::{InvalidPolicy, check_that};

/// The longest body of a fallback, in bytes.
pub const FALLBACK_BODY_MAX: usize = 16 * 1024;

/// The answer of a call that got none, or a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallbackPolicy {
    /// Its status, 200 to 599.
    pub status: u16,
    /// Its body, of 16 KiB at most.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// What the body is.
    #[serde(default = "json")]
    pub content_type: String,
}

impl Default for FallbackPolicy {
    /// 200, without a body.
    fn default() -> Self {
        Self { status: 200, body: String::new(), content_type: json() }
    }
}

fn json() -> String {
    "application/json".to_owned()
}

impl FallbackPolicy {
    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        let Self { status, body, content_type } = self;
        check_that((200..=599).contains(status), "fallback.status", "it is 200 to 599")?;
        check_that(body.len() <= FALLBACK_BODY_MAX, "fallback.body", "it has at most 16 KiB")?;
        let is_text = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let is_header = (1..=256).contains(&content_type.len()) && content_type.bytes().all(is_text);
        check_that(is_header, "fallback.content_type", "it has 1 to 256 characters of ASCII")
    }
}
