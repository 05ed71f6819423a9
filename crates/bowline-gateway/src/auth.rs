//! Who calls: the port, and what providers have in common.

use std::fmt;

use bowline_model::Code;
use bowline_proxy::Refusal;
use bowline_runtime::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header::WWW_AUTHENTICATE};

mod api_key;
mod fetch;
mod jwt;
mod key_set;
mod secret;
mod source;
mod verified;

pub(crate) use api_key::ApiKeys;
pub(crate) use jwt::{Jwt, Keys};
pub(crate) use key_set::Jwks;
pub use key_set::KeySetSettings;
pub(crate) use secret::Secret;
pub use secret::SecretError;
pub(crate) use source::Source;

/// Says to a service who calls: the subject, as the provider knows it.
pub const SUBJECT_HEADER: HeaderName = HeaderName::from_static(bowline_telemetry::names::SUBJECT_HEADER);

/// Says to a service which provider knows the subject.
pub const AUTH_HEADER: HeaderName = HeaderName::from_static("x-bowline-auth");

/// The longest subject, in bytes.
pub(crate) const SUBJECT_BYTES_MAX: usize = 256;

/// Tells who calls, by what a request has with it: the first link of a gateway's chain.
///
/// One is shared by all workers, and by all routes that name it.
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Its name in the route table.
    fn provider(&self) -> &str;

    /// How it tells: `jwt`, `api_key`.
    fn kind(&self) -> &'static str;

    /// Tells who calls. The headers are those of the request, without what is meant for one hop.
    ///
    /// `may_wait` is false where the request has waited already: then it is decided by what is known.
    fn authenticate(&self, headers: &HeaderMap, may_wait: bool) -> Outcome;

    /// Takes the credential away, unless it is to be passed on.
    fn forget(&self, headers: &mut HeaderMap);
}

/// What an authenticator finds.
pub enum Outcome {
    /// It is this one.
    Known(Identity),
    /// It is nobody who may come in, or nobody can tell: the answer is this.
    Refused(Box<Refusal>),
    /// What is needed to tell is under way: it is to be asked again when this has ended, in bounded time.
    Later(BoxFuture<'static, ()>),
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    provider: HeaderValue,
    subject: HeaderValue,
}

impl Identity {
    /// A subject as a provider knows it; `None` where that cannot be said in a header: it has 1 to 256
    /// visible ASCII characters, and blanks only between them.
    pub fn new(provider: &str, subject: &str) -> Option<Self> {
        let is_said = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let is_valid = (1..=SUBJECT_BYTES_MAX).contains(&subject.len())
            && subject.bytes().all(is_said)
            && subject.trim_ascii() == subject;
        let value = |text: &str| HeaderValue::from_str(text).ok();
        if is_valid { Some(Self { provider: value(provider)?, subject: value(subject)? }) } else { None }
    }

    /// The provider's name.
    pub fn provider(&self) -> &str {
        self.provider.to_str().unwrap_or_default()
    }

    /// Who it is.
    pub fn subject(&self) -> &str {
        self.subject.to_str().unwrap_or_default()
    }

    /// Says so to whom the request is forwarded.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(SUBJECT_HEADER, self.subject.clone());
        headers.insert(AUTH_HEADER, self.provider.clone());
    }
}

/// A refusal with the challenge that a client has to meet (RFC 9110, 11.6.1).
pub(crate) fn challenge(reason: &'static str, detail: impl Into<String>, challenge: &str) -> Outcome {
    let mut refusal = Refusal::new(Code::Unauthenticated, reason, detail);
    let value = HeaderValue::from_str(challenge).expect("a challenge is made of names and constant texts");
    refusal.headers.insert(WWW_AUTHENTICATE, value);
    Outcome::Refused(Box::new(refusal))
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(identity) => f.debug_tuple("Known").field(identity).finish(),
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}
