//! API keys: a secret of full entropy in a header, known here by its hash alone.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use bowline_model::gateway::{ApiKeyPolicy, AuthProvider, KeyHash};
use http::{HeaderMap, HeaderName};

use super::{Authenticator, Identity, Outcome, challenge};
use crate::error::PolicyError;

/// The longest key that is looked at, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// The API keys of one provider.
pub(crate) struct ApiKeys {
    provider: String,
    header: HeaderName,
    keys: Box<[(KeyHash, Identity)]>,
    challenge: String,
    is_passed_on: bool,
}

impl ApiKeys {
    pub(crate) fn new(provider: &AuthProvider, policy: &ApiKeyPolicy) -> Result<Self, PolicyError> {
        let name = provider.name.as_str();
        let ApiKeyPolicy { header, keys } = policy;
        let invalid = |_| PolicyError::Header { header: header.clone() };
        let known = keys.iter().map(|key| {
            let subject = || PolicyError::Subject { subject: key.subject.clone() };
            Ok((key.hash, Identity::new(name, &key.subject).ok_or_else(subject)?))
        });
        Ok(Self {
            provider: name.to_owned(),
            header: HeaderName::from_bytes(header.as_bytes()).map_err(invalid)?,
            keys: known.collect::<Result<_, PolicyError>>()?,
            challenge: format!("ApiKey realm=\"{name}\", header=\"{header}\""),
            is_passed_on: provider.pass_credential,
        })
    }

    /// Whose key it is. Every key is compared, to its end: the time tells nothing of them.
    fn find(&self, key: &[u8]) -> Option<&Identity> {
        let hash = digest::digest(&digest::SHA256, key);
        let mut found = None;
        for (known, identity) in &self.keys {
            if constant_time::verify_slices_are_equal(&known.0, hash.as_ref()).is_ok() {
                found = Some(identity);
            }
        }
        found
    }
}

impl Authenticator for ApiKeys {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn kind(&self) -> &'static str {
        "api_key"
    }

    fn authenticate(&self, headers: &HeaderMap, _: bool) -> Outcome {
        let header = self.header.as_str();
        let mut values = headers.get_all(&self.header).iter();
        let (key, other) = (values.next(), values.next());
        let Some(key) = key else {
            let detail = format!("this needs an API key in the header `{header}`");
            return challenge("no_credentials", detail, &self.challenge);
        };
        let refused = |detail| challenge("bad_api_key", detail, &self.challenge);
        if other.is_some() {
            return refused(format!("the header `{header}` comes more than once"));
        }
        if key.len() > KEY_BYTES_MAX {
            return refused(format!("the API key is longer than {KEY_BYTES_MAX} bytes"));
        }
        match self.find(key.as_bytes()) {
            Some(identity) => Outcome::Known(identity.clone()),
            None => refused("nobody has this API key".to_owned()),
        }
    }

    fn forget(&self, headers: &mut HeaderMap) {
        if !self.is_passed_on {
            headers.remove(&self.header);
        }
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("provider", &self.provider).field("keys", &self.keys.len()).finish()
    }
}
