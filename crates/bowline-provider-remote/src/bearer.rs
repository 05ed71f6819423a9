//! The credential of a client: a token, as it is sent.

use bowline_model::{Code, Secret};
use bowline_transport::HttpClient;
use http::{HeaderValue, header};

/// The longest token that is sent, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// A token in the form of its header. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bearer(HeaderValue);

/// A text that can be no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: it has 1 to 4096 visible ASCII characters and no spaces")]
pub struct InvalidToken;

#[expect(clippy::unused_self, reason = "every error answers these")]
impl InvalidToken {
    /// Always [`Code::InvalidArgument`].
    pub fn code(self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the text stays what it is.
    pub fn retryable(self) -> bool {
        false
    }
}

impl Bearer {
    /// The header of a token.
    ///
    /// # Errors
    /// When no header can hold the text.
    pub fn new(token: &Secret) -> Result<Self, InvalidToken> {
        let text = token.expose();
        if !(1..=TOKEN_BYTES_MAX).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken);
        }
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| InvalidToken)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The client, which sends it with every request from now on.
    pub(crate) fn on(self, client: HttpClient) -> HttpClient {
        client.with_header(header::AUTHORIZATION, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_is_not_printed() {
        let bearer = Bearer::new(&Secret::new("bwl_a_b")).unwrap();
        assert_eq!(bearer.0, "Bearer bwl_a_b");
        assert!(!format!("{bearer:?}").contains("bwl"), "{bearer:?}");
        for bad in ["", "two words", "line\n", "é", &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(Bearer::new(&Secret::new(bad)).unwrap_err(), InvalidToken, "{bad:?}");
        }
    }
}
