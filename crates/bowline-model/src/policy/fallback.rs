//! What is answered where nobody answers.

use serde::{Deserialize, Serialize};

use super::{InvalidPolicy, check_that};

/// The longest body of a fallback, in bytes.
pub const FALLBACK_BODY_MAX: usize = 16 * 1024;

/// The statuses of answers that have no body.
pub(crate) const BODILESS: [u16; 3] = [204, 205, 304];

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

/// Whether it may stand in a header: 1 to 256 characters of ASCII, with a slash.
pub(crate) fn is_media_type(text: &str) -> bool {
    let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    (1..=256).contains(&text.len()) && text.contains('/') && text.bytes().all(is_plain)
}

fn json() -> String {
    "application/json".to_owned()
}

impl FallbackPolicy {
    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        let Self { status, body, content_type } = self;
        check_that((200..=599).contains(status), "fallback.status", "it is 200 to 599")?;
        check_that(
            body.is_empty() || !BODILESS.contains(status),
            "fallback.body",
            "an answer of 204, 205 or 304 has none",
        )?;
        check_that(body.len() <= FALLBACK_BODY_MAX, "fallback.body", "it has at most 16 KiB")?;
        check_that(is_media_type(content_type), "fallback.content_type", "it is a media type: application/json")
    }
}
