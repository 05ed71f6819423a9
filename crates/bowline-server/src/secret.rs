//! Secrets: made of the system's randomness, kept as hashes, compared in constant time.
//!
//! A token is `bwl_ID_SECRET`, an API key `bwk_SECRET`; the secret is 256 random bits in hexadecimal
//! digits. That much entropy needs no slow hash: SHA-256 of the whole text is what is kept.

use aws_lc_rs::{constant_time, digest, hmac, rand};
use bowline_model::{Code, Secret, gateway::KeyHash};

/// How a token begins.
const TOKEN_PREFIX: &str = "bwl_";
/// How an API key begins.
const KEY_PREFIX: &str = "bwk_";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Random bytes of a token's id.
const ID_BYTES: usize = 6;
/// The longest id of a token.
const ID_MAX: usize = 32;
/// What a proof is over, first of all: so that it is a proof of nothing else.
const PROOF_CONTEXT: &str = "bowline server proof";

/// The system has no randomness to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

#[expect(clippy::unused_self, reason = "every error answers these")]
impl NoRandomness {
    /// Always [`Code::Internal`].
    pub fn code(self) -> Code {
        Code::Internal
    }

    /// It may have some later.
    pub fn retryable(self) -> bool {
        true
    }
}

/// A new API key, to be shown once, and the hash of it that a file may hold.
///
/// # Errors
/// [`NoRandomness`].
pub fn new_api_key() -> Result<(Secret, KeyHash), NoRandomness> {
    let key = Secret::new(format!("{KEY_PREFIX}{}", random_hex(SECRET_BYTES)?));
    let hash = hash(key.expose());
    Ok((key, hash))
}

/// A value that nobody has seen, for [`proof`].
///
/// # Errors
/// [`NoRandomness`].
pub fn new_nonce() -> Result<String, NoRandomness> {
    random_hex(SECRET_BYTES)
}

/// What whoever knows the root token's hash answers to a nonce, if the API listens on that address.
///
/// The address keeps an impostor from passing the nonce on to the real server and its answer back.
pub fn proof(root: &KeyHash, nonce: &str, listens: std::net::SocketAddr) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &root.0), &proven(nonce, listens));
    hex(tag.as_ref())
}

/// Whether the answer is the [`proof`]; takes as long for a wrong one as for the right one.
pub fn is_proof(root: &KeyHash, nonce: &str, listens: std::net::SocketAddr, answer: &str) -> bool {
    constant_time::verify_slices_are_equal(proof(root, nonce, listens).as_bytes(), answer.as_bytes()).is_ok()
}

fn proven(nonce: &str, listens: std::net::SocketAddr) -> Vec<u8> {
    format!("{PROOF_CONTEXT}\n{nonce}\n{listens}").into_bytes()
}

/// The SHA-256 of a secret.
pub fn hash(secret: &str) -> KeyHash {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    KeyHash(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Whether a secret hashes to that; takes the same time for every secret of one length.
pub(crate) fn matches(secret: &str, kept: &KeyHash) -> bool {
    constant_time::verify_slices_are_equal(&hash(secret).0, &kept.0).is_ok()
}

/// A new token of that id.
pub(crate) fn new_token(id: &str) -> Result<Secret, NoRandomness> {
    Ok(Secret::new(format!("{TOKEN_PREFIX}{id}_{}", random_hex(SECRET_BYTES)?)))
}

/// An id that no token has, but for a chance of one in 2⁴⁸.
pub(crate) fn new_token_id() -> Result<String, NoRandomness> {
    random_hex(ID_BYTES)
}

/// A half of a session: 256 random bits.
pub(crate) fn new_half() -> Result<Secret, NoRandomness> {
    random_hex(SECRET_BYTES).map(Secret::new)
}

/// Whether a text has the form of a half of a session.
pub(crate) fn is_half(text: &str) -> bool {
    text.len() == 2 * SECRET_BYTES && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The id in a text that has the form of a token.
pub(crate) fn token_id(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
    let is_secret = secret.len() == 2 * SECRET_BYTES && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_token_id(id) && is_secret).then_some(id)
}

/// Whether a token may have that id.
pub(crate) fn is_token_id(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn random_hex(bytes: usize) -> Result<String, NoRandomness> {
    let mut random = vec![0; bytes];
    rand::fill(&mut random).map_err(|_| NoRandomness)?;
    Ok(hex(&random))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_it_says() {
        let token = new_token("ab12").unwrap();
        assert_eq!(token_id(token.expose()), Some("ab12"));
        assert!(matches(token.expose(), &hash(token.expose())));
        assert_ne!(new_token("ab12").unwrap(), token, "no two are alike");
        let secret = "0".repeat(64);
        for bad in [
            String::new(),
            "bwl_".to_owned(),
            secret.clone(),
            format!("bwl_ab_{}", &secret[1..]),
            format!("bwl_ab_{secret}0"),
            format!("bwl__{secret}"),
            format!("bwl_AB_{secret}"),
            format!("bwl_../x_{secret}"),
            format!("bwk_ab_{secret}"),
            format!("bwl_{}_{secret}", "a".repeat(33)),
            format!("bwl_ab_{}é", &secret[2..]),
        ] {
            assert_eq!(token_id(&bad), None, "{bad}");
        }
    }

    #[test]
    fn another_secret_of_the_same_id_does_not_match() {
        let (one, other) = (new_token("ab").unwrap(), new_token("ab").unwrap());
        assert!(!matches(one.expose(), &hash(other.expose())));
    }

    #[test]
    fn an_api_key_comes_with_its_hash() {
        let (key, kept) = new_api_key().unwrap();
        assert!(key.expose().starts_with("bwk_") && key.expose().len() == 68, "{}", key.expose());
        assert!(matches(key.expose(), &kept));
    }

    #[test]
    fn a_proof_is_of_one_token_nonce_and_address() {
        let (root, at) = (hash("root"), std::net::SocketAddr::from(([127, 0, 0, 1], 7117)));
        let answer = proof(&root, "00ff", at);
        assert!(is_proof(&root, "00ff", at, &answer));
        assert!(!is_proof(&hash("other"), "00ff", at, &answer));
        assert!(!is_proof(&root, "00fe", at, &answer));
        assert!(!is_proof(&root, "00ff", ([127, 0, 0, 1], 7118).into(), &answer));
        for bad in ["", &answer[1..], &answer.to_uppercase()] {
            assert!(!is_proof(&root, "00ff", at, bad), "{bad}");
        }
    }

    #[test]
    fn sha_256_is_that_of_the_standard() {
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc").to_string(), abc);
    }
}
