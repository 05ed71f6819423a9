//! What tokens are signed with, and how verifiers learn it: a set of keys that is renewed.
//!
//! A new key is published for a while before tokens are signed with it, so that verifiers who
//! remember the set know it in time; an old one is published until the last token it signed is over.

use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use bowline::{HandlerError, sql};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};

use crate::{
    login::TOKEN_LIFETIME,
    repository::{KeyRepository, SigningKey},
};

/// How old a key becomes before another follows it.
const FOLLOWED_AFTER: Duration = Duration::from_hours(30 * 24);

/// How long a key is published before it signs.
const PUBLISHED_FIRST: Duration = Duration::from_mins(10);

/// How much longer a key is published than its last token lasts: for verifiers' leeway.
const PUBLISHED_LONGER: Duration = Duration::from_mins(10);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the signing keys cannot be read or written")]
    Store(#[from] sql::Error),
    #[error("there is no signing key")]
    Missing,
    #[error("a signing key cannot be made")]
    Make(#[from] aws_lc_rs::error::Unspecified),
    #[error("a signing key cannot be used")]
    Use(#[from] jsonwebtoken::errors::Error),
}

impl From<Error> for HandlerError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

/// The service's keys, in a store.
#[derive(Debug)]
pub(crate) struct Keys<'a, R>(pub(crate) &'a R);

/// A key that signs now.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) key_id: String,
    pub(crate) key: EncodingKey,
}

impl<R: KeyRepository> Keys<'_, R> {
    /// Makes a key where there is none or the newest is a month old, and forgets those whose last token
    /// is over. Replicas may do so at once.
    pub(crate) async fn rotate(&self, now_ms: u64) -> Result<(), Error> {
        let newest_before_ms = before(now_ms, FOLLOWED_AFTER);
        let keys = self.0.keys().await?;
        if keys.last().is_none_or(|newest| newest.created_at_ms <= newest_before_ms) {
            let key = make(now_ms)?;
            if self.0.add_key(&key, newest_before_ms).await? {
                tracing::info!(key_id = key.key_id, "new signing key");
            }
        }
        let signed_last = PUBLISHED_FIRST + TOKEN_LIFETIME + PUBLISHED_LONGER;
        Ok(self.0.forget_keys(before(now_ms, signed_last)).await?)
    }

    /// The key to sign with.
    pub(crate) async fn signer(&self, now_ms: u64) -> Result<Signer, Error> {
        let keys = self.0.keys().await?;
        let SigningKey { key_id, pkcs8, .. } = signing(&keys, now_ms).ok_or(Error::Missing)?;
        Ok(Signer { key_id: key_id.clone(), key: EncodingKey::from_ed_der(pkcs8) })
    }

    /// The public halves of all keys.
    pub(crate) async fn key_set(&self) -> Result<JwkSet, Error> {
        let keys = self.0.keys().await?;
        let public = |key: &SigningKey| {
            let mut public = public(&key.pkcs8)?;
            public.common.key_id = Some(key.key_id.clone());
            public.common.public_key_use = Some(PublicKeyUse::Signature);
            Ok(public)
        };
        Ok(JwkSet { keys: keys.iter().map(public).collect::<Result<_, Error>>()? })
    }
}

/// Of keys, oldest first, the newest that was published long enough; the very first signs at once.
fn signing(keys: &[SigningKey], now_ms: u64) -> Option<&SigningKey> {
    let published_by_ms = before(now_ms, PUBLISHED_FIRST);
    keys.iter().rfind(|key| key.created_at_ms <= published_by_ms).or(keys.first())
}

fn make(now_ms: u64) -> Result<SigningKey, Error> {
    let pkcs8 = Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec();
    let key_id = public(&pkcs8)?.thumbprint(ThumbprintHash::SHA256)?;
    Ok(SigningKey { key_id, pkcs8, created_at_ms: before(now_ms, Duration::ZERO) })
}

fn public(pkcs8: &[u8]) -> Result<Jwk, Error> {
    Ok(Jwk::from_encoding_key(&EncodingKey::from_ed_der(pkcs8), Algorithm::EdDSA)?)
}

/// Milliseconds since 1970 so long before another instant.
fn before(now_ms: u64, duration: Duration) -> i64 {
    let signed = |number: u128| i64::try_from(number).unwrap_or(i64::MAX);
    signed(now_ms.into()) - signed(duration.as_millis())
}

#[cfg(test)]
mod tests {
    use bowline::runtime::task;
    use example_sql::{Db, on_both, testing::Fixture};

    use super::*;
    use crate::repository::{MIGRATIONS, SqlUsers};

    on_both!(
        the_first_key_signs_at_once_and_outlives_a_restart,
        replicas_that_start_at_once_share_one_key,
        a_key_is_published_before_it_signs_and_after,
        what_is_published_is_public_and_what_is_shown_of_a_key_too,
    );

    const START_MS: u64 = 1_700_000_000_000;

    async fn open<DB: Db>(fixture: &Fixture<DB>) -> SqlUsers<DB> {
        SqlUsers::new(fixture.open(MIGRATIONS.of::<DB>()).await.with_messages().await.unwrap())
    }

    fn at(duration: Duration) -> u64 {
        START_MS + u64::try_from(duration.as_millis()).unwrap()
    }

    /// Who signs at that time, and which keys are published.
    async fn state(users: &impl KeyRepository, now_ms: u64) -> (String, Vec<String>) {
        let set = Keys(users).key_set().await.unwrap();
        let published = set.keys.into_iter().map(|key| key.common.key_id.unwrap()).collect();
        (Keys(users).signer(now_ms).await.unwrap().key_id, published)
    }

    async fn the_first_key_signs_at_once_and_outlives_a_restart<DB: Db>(fixture: Fixture<DB>) {
        let users = open(&fixture).await;
        assert!(matches!(Keys(&users).signer(START_MS).await, Err(Error::Missing)));
        Keys(&users).rotate(START_MS).await.unwrap();
        let (signer, published) = state(&users, START_MS).await;
        assert_eq!(published, std::slice::from_ref(&signer));
        drop(users);
        let users = open(&fixture).await;
        Keys(&users).rotate(at(Duration::from_hours(24))).await.unwrap();
        assert_eq!(state(&users, at(Duration::from_hours(24))).await, (signer, published));
    }

    async fn replicas_that_start_at_once_share_one_key<DB: Db>(fixture: Fixture<DB>) {
        open(&fixture).await;
        let mut starting = Vec::new();
        for _ in 0..8 {
            let users = open(&fixture).await;
            starting.push(task::spawn(async move { Keys(&users).rotate(START_MS).await.map(|()| users) }));
        }
        let mut seen = Vec::new();
        for started in starting {
            seen.push(state(&started.await.unwrap().unwrap(), START_MS).await);
        }
        seen.dedup();
        assert_eq!((seen.len(), seen[0].1.len()), (1, 1), "{seen:?}");
    }

    async fn a_key_is_published_before_it_signs_and_after<DB: Db>(fixture: Fixture<DB>) {
        let users = open(&fixture).await;
        Keys(&users).rotate(START_MS).await.unwrap();
        let (old, _) = state(&users, START_MS).await;
        let followed = at(FOLLOWED_AFTER);
        Keys(&users).rotate(followed - 1).await.unwrap();
        assert_eq!(state(&users, followed).await.1.len(), 1);
        for _ in 0..2 {
            Keys(&users).rotate(followed).await.unwrap();
        }
        let (signer, published) = state(&users, followed).await;
        assert_eq!((&signer, published.len(), &published[0]), (&old, 2, &old));
        let new = published[1].clone();
        let signs_from = at(FOLLOWED_AFTER + PUBLISHED_FIRST);
        assert_eq!(state(&users, signs_from - 1).await.0, old);
        assert_eq!(state(&users, signs_from).await.0, new);
        // The last token of the old key lasts until then, and a little longer for those whose clock is behind.
        let over = at(FOLLOWED_AFTER + PUBLISHED_FIRST + TOKEN_LIFETIME + PUBLISHED_LONGER);
        Keys(&users).rotate(over - 1).await.unwrap();
        assert_eq!(state(&users, over).await.1, [old, new.clone()]);
        Keys(&users).rotate(over).await.unwrap();
        assert_eq!(state(&users, over).await, (new.clone(), vec![new]));
    }

    async fn what_is_published_is_public_and_what_is_shown_of_a_key_too<DB: Db>(fixture: Fixture<DB>) {
        let users = open(&fixture).await;
        Keys(&users).rotate(START_MS).await.unwrap();
        let set = serde_json::to_value(Keys(&users).key_set().await.unwrap()).unwrap();
        let key = set["keys"][0].as_object().unwrap();
        let mut names: Vec<_> = key.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"], "{key:?}");
        for (name, value) in [("alg", "EdDSA"), ("crv", "Ed25519"), ("kty", "OKP"), ("use", "sig")] {
            assert_eq!(key[name], value);
        }
        let (kept, signer) = (users.keys().await.unwrap(), Keys(&users).signer(START_MS).await.unwrap());
        let key_id = key["kid"].as_str().unwrap();
        assert_eq!(format!("{:?}", kept[0]), format!("SigningKey {{ key_id: {key_id:?}, .. }}"));
        assert!(format!("{signer:?}").contains("[redacted]"), "{signer:?}");
    }
}
