//! Join tokens: 256 bits that let one workload in once, and the root that it may believe.
//!
//! As text: `bwj_`, 64 hexadecimal digits of secret, `_`, 32 digits of the root's fingerprint. By the
//! fingerprint a workload finds out that it asks the authority that made its token, and no other.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use bowline_model::Secret;

use crate::Error;

/// What join tokens begin with.
const PREFIX: &str = "bwj_";
/// Bytes of a fingerprint in a token: finding another root with the same takes 2¹²⁸ attempts.
const FINGERPRINT_BYTES: usize = 16;
/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// A token that lets one workload join.
#[derive(Clone)]
pub struct JoinToken {
    text: Secret,
    fingerprint: String,
}

impl JoinToken {
    /// A new one, for workloads that may believe this root.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the system gives no randomness.
    pub fn generate(root_der: &[u8]) -> Result<Self, Error> {
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| Error::Cryptography)?;
        let fingerprint = fingerprint(root_der);
        let text = Secret::new(format!("{PREFIX}{}_{fingerprint}", hex(&secret)));
        Ok(Self { text, fingerprint })
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the text is none; the text is not told.
    pub fn parse(text: &Secret) -> Result<Self, Error> {
        let is_hex = |text: &str, bytes: usize| {
            text.len() == 2 * bytes && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let parts = text.expose().strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
        match parts {
            Some((secret, pin)) if is_hex(secret, SECRET_BYTES) && is_hex(pin, FINGERPRINT_BYTES) => {
                Ok(Self { text: text.clone(), fingerprint: pin.to_owned() })
            }
            _ => Err(Error::Invalid {
                what: "the join token",
                rule: "it is not complete: it begins with `bwj_` and has 101 characters".to_owned(),
            }),
        }
    }

    /// Its text.
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// Whether its holder may believe this root.
    pub fn is_for_root(&self, root_der: &[u8]) -> bool {
        self.fingerprint == fingerprint(root_der)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// What a root is recognised by: half of its SHA-256, in hexadecimal digits.
pub fn fingerprint(root_der: &[u8]) -> String {
    hex(&digest(&SHA256, root_der).as_ref()[..FINGERPRINT_BYTES])
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_knows_its_root() {
        let token = JoinToken::generate(b"root").unwrap();
        let again = JoinToken::parse(token.text()).unwrap();
        assert!(again.is_for_root(b"root") && !again.is_for_root(b"other"));
        assert_eq!(token.text().expose().len(), 101);
        let secret = token.text().expose()[4..68].to_owned();
        assert!(!format!("{token:?}").contains(&secret));
        let cut = Secret::new(&token.text().expose()[..100]);
        for bad in [cut, Secret::new(""), Secret::new("bwj_xx_yy"), Secret::new(secret.clone())] {
            let error = JoinToken::parse(&bad).unwrap_err().to_string();
            assert!(error.contains("join token") && !error.contains(&secret), "{error}");
        }
    }
}
