//! JSON Web Tokens in `Authorization: Bearer` (RFC 6750, RFC 7519, RFC 8725).
//!
//! A token is believed when its signature is by a key of the provider's, made with an algorithm that the
//! policy lists and that fits the key; when `iss` and `aud` are the policy's; when it has not ended, and has
//! begun; and when it names a subject. What a token says of how it is to be checked decides nothing.

use std::{fmt, sync::Arc, time::UNIX_EPOCH};

use bowline_model::{
    Code,
    gateway::{AuthProvider, JwtAlgorithm, JwtPolicy},
};
use bowline_proxy::Refusal;
use bowline_runtime::time;
use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, RETRY_AFTER},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;

use super::{
    Authenticator, Identity, Outcome, challenge,
    key_set::{Jwks, KeySet, Lookup},
    secret::Secret,
    verified::{Entry, Verified, digest_of},
};

/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What tokens are checked with.
#[derive(Debug)]
pub(crate) enum Keys {
    /// One that is shared with whoever issues them.
    Secret(DecodingKey),
    /// The issuer's public ones.
    Set(Arc<Jwks>),
}

impl Keys {
    pub(crate) fn secret(secret: &Secret) -> Self {
        Self::Secret(DecodingKey::from_secret(&secret.0))
    }
}

/// The tokens of one provider.
pub(crate) struct Jwt {
    provider: String,
    policy: JwtPolicy,
    /// What each algorithm of the policy demands.
    validations: Vec<(JwtAlgorithm, Validation)>,
    keys: Keys,
    verified: Verified,
    is_passed_on: bool,
}

/// What of a token's claims is read here; the rest is `jsonwebtoken`'s to check.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// Why a token is not believed: for the client.
struct Unbelieved(&'static str);

/// What came of checking a token.
enum Checked {
    Believed(Entry),
    Unbelieved(&'static str),
    /// It names a key that the set does not have.
    UnknownKey,
}

impl Jwt {
    pub(crate) fn new(provider: &AuthProvider, policy: &JwtPolicy, keys: Keys) -> Self {
        let validations = policy.algorithms.iter().map(|algorithm| (*algorithm, validation(policy, *algorithm)));
        Self {
            provider: provider.name.as_str().to_owned(),
            validations: validations.collect(),
            policy: policy.clone(),
            keys,
            verified: Verified::new(),
            is_passed_on: provider.pass_credential,
        }
    }

    /// Whose token it is, by the keys as they are known.
    fn identify(&self, token: &[u8], may_wait: bool) -> Outcome {
        let refresh = |jwks: &Jwks, known| if may_wait { jwks.refresh(known, time::now()) } else { None };
        let set = match &self.keys {
            Keys::Secret(_) => None,
            Keys::Set(jwks) => match jwks.current() {
                Some(set) => Some((jwks, set)),
                // It is not the client's fault, and not known whether it would be refused.
                None => return refresh(jwks, None).map_or_else(|| self.no_keys(), Outcome::Later),
            },
        };
        let edition = set.as_ref().map_or(0, |(_, set)| set.edition);
        let (digest, now) = (digest_of(token), unix_now());
        if let Some(identity) = self.verified.get(&digest, now, edition) {
            return Outcome::Known(identity);
        }
        match self.check(token, set.as_ref().map(|(_, set)| &**set), now) {
            Checked::Believed(entry) => {
                let identity = entry.identity.clone();
                self.verified.insert(digest, entry);
                Outcome::Known(identity)
            }
            Checked::Unbelieved(why) => self.refuse(why),
            // The issuer may have a new one.
            Checked::UnknownKey => set.and_then(|(jwks, set)| refresh(jwks, Some(set.edition))).map_or_else(
                || self.refuse("the token is signed with a key that the issuer does not list"),
                Outcome::Later,
            ),
        }
    }

    fn check(&self, token: &[u8], set: Option<&KeySet>, now: f64) -> Checked {
        let checked = self.validation_of(token).and_then(|(algorithm, validation, key_id)| {
            let key = match (&self.keys, set) {
                (Keys::Secret(key), _) => key,
                (Keys::Set(_), None) => return Ok(None),
                (Keys::Set(_), Some(set)) => {
                    let id = key_id.ok_or(Unbelieved("the token does not name the key it is signed with"))?;
                    match set.find(&id, algorithm) {
                        Lookup::Key(key) => key,
                        Lookup::Unfit => return Err(Unbelieved("the token's key is not for its algorithm")),
                        Lookup::Unknown => return Ok(None),
                    }
                }
            };
            let claims =
                decode::<Claims>(token, key, validation).map_err(|error| Unbelieved(describe(error.kind())))?;
            self.entry(&claims.claims, now, set.map_or(0, |set| set.edition)).map(Some)
        });
        match checked {
            Ok(Some(entry)) => Checked::Believed(entry),
            Ok(None) => Checked::UnknownKey,
            Err(Unbelieved(why)) => Checked::Unbelieved(why),
        }
    }

    /// What the policy demands of a token with this one's algorithm; and which key it names.
    fn validation_of(&self, token: &[u8]) -> Result<(JwtAlgorithm, &Validation, Option<String>), Unbelieved> {
        // A name that is no algorithm, as `none`, cannot be read either.
        let header = decode_header(token)
            .map_err(|_| Unbelieved("the token cannot be read, or names an algorithm that is not accepted"))?;
        if header.crit.is_some() {
            return Err(Unbelieved("the token demands an extension that is not known here"));
        }
        let fits = |(algorithm, _): &&(JwtAlgorithm, Validation)| library_name(*algorithm) == header.alg;
        let (algorithm, validation) = self
            .validations
            .iter()
            .find(fits)
            .ok_or(Unbelieved("the token cannot be read, or names an algorithm that is not accepted"))?;
        Ok((*algorithm, validation, header.kid))
    }

    /// What is known of a token whose signature, issuer and audience are good.
    fn entry(&self, claims: &Claims, now: f64, edition: u64) -> Result<Entry, Unbelieved> {
        let leeway = self.policy.leeway.as_secs_f64();
        let ends_at = claims.exp.ok_or(Unbelieved("the token has no end"))? + leeway;
        if now >= ends_at {
            return Err(Unbelieved("the token has expired"));
        }
        if claims.nbf.is_some_and(|begins_at| now < begins_at - leeway) {
            return Err(Unbelieved("the token is not valid yet"));
        }
        let subject = claims.sub.as_deref().unwrap_or_default();
        let identity = Identity::new(&self.provider, subject)
            .ok_or(Unbelieved("the token's subject is not 1 to 256 visible ASCII characters"))?;
        Ok(Entry { identity, ends_at, edition })
    }

    /// Refuses a token, and says why (RFC 6750, 3.1).
    fn refuse(&self, why: &'static str) -> Outcome {
        let realm = &self.provider;
        let header = format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{why}\"");
        challenge("bad_token", why, &header)
    }

    fn no_keys(&self) -> Outcome {
        let detail = format!("the keys that the tokens of `{}` are checked with cannot be had now", self.provider);
        let mut refusal = Refusal::new(Code::Unavailable, "auth_keys_unavailable", detail);
        refusal.headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
        Outcome::Refused(Box::new(refusal))
    }
}

impl Authenticator for Jwt {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn kind(&self) -> &'static str {
        "jwt"
    }

    fn authenticate(&self, headers: &HeaderMap, may_wait: bool) -> Outcome {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (value, other) = (values.next(), values.next());
        if other.is_some() {
            return self.refuse("the request has more than one Authorization header");
        }
        let Some(token) = value.and_then(|value| bearer(value.as_bytes())) else {
            // Who has not tried has not failed (RFC 6750, 3.1).
            let header = format!("Bearer realm=\"{}\"", self.provider);
            return challenge("no_credentials", "this needs a token: Authorization: Bearer …", &header);
        };
        if token.len() > TOKEN_BYTES_MAX {
            return self.refuse("the token is longer than 8 KiB");
        }
        self.identify(token, may_wait)
    }

    fn forget(&self, headers: &mut HeaderMap) {
        if !self.is_passed_on {
            headers.remove(AUTHORIZATION);
        }
    }
}

/// The token of a value with the scheme `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii()).filter(|token| !token.is_empty())
}

/// What is demanded of a token with that algorithm. Times are checked here, by the clock that is ours.
fn validation(policy: &JwtPolicy, algorithm: JwtAlgorithm) -> Validation {
    let mut validation = Validation::new(library_name(algorithm));
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    validation.set_issuer(&[&policy.issuer]);
    validation.set_audience(&[&policy.audience]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

fn library_name(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        JwtAlgorithm::Hs256 => Algorithm::HS256,
    }
}

/// Why the library refused a token, in texts that a header may hold.
fn describe(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::InvalidSignature => "the token's signature is not by the key it names",
        ErrorKind::InvalidIssuer => "the token is by another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidAlgorithm => "the token names an algorithm that is not accepted",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => "the token does not say by whom it is",
            "aud" => "the token does not say for whom it is",
            "exp" => "the token does not say when it ends",
            _ => "the token does not say whose it is",
        },
        _ => "the token cannot be read",
    }
}

/// Seconds since 1970.
fn unix_now() -> f64 {
    time::system().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("provider", &self.provider).field("policy", &self.policy).finish_non_exhaustive()
    }
}
