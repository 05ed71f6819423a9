//! What is kept of sessions of the console, and who they are.
//!
//! A session is the key `access/sessions/HASH` of the store, of the hash of its id. It has two halves, of which
//! there are hashes alone: the id is in a cookie, which a browser also sends to whatever else listens on this host;
//! the proof is known to the console's page, and sent here alone. One without the other identifies nobody.

use std::collections::BTreeSet;

use bowline_model::{Secret, gateway::KeyHash};
use bowline_runtime::time::{self, Duration};
use bowline_store::{Error as StoreError, RANGE_MAX, Store as _, Txn};
use serde::{Deserialize, Serialize};

use super::{Access, Record, credential::ShownSession, hash_text};
use crate::{error::ApiError, secret};

/// Under which keys the sessions are.
const PREFIX: &str = "access/sessions/";
/// How long a session lasts, unless its token ends sooner.
const LIFE: Duration = Duration::from_hours(12);
/// The most sessions at once, of all tokens and of one: the oldest end when there are more.
const SESSIONS_MAX: usize = 1000;
const OF_TOKEN_MAX: usize = 100;
/// The most sessions that are forgotten when one is opened.
const FORGOTTEN_MAX: usize = 100;

/// A session as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(with = "hash_text")]
    proof: KeyHash,
    /// The id of its token, and what was kept of it: another token may come to have the same id, as root's does.
    token: String,
    #[serde(with = "hash_text")]
    token_hash: KeyHash,
    begun_unix_ms: u64,
    ends_unix_ms: u64,
}

/// A new session: its halves are told this once.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) id: Secret,
    pub(super) proof: Secret,
    pub(super) ends_unix_ms: u64,
    pub(super) life: Duration,
}

/// What became of what a browser showed.
#[derive(Debug)]
pub(super) enum Found {
    Valid { key: String, token: Record },
    Refused(Refused),
}

/// Why a cookie identifies nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    NoProof,
    OtherProof,
    Unknown,
    Ended,
    TokenRevoked,
    TokenExpired,
}

impl Refused {
    /// What the reader of the page is told.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::NoProof => "the page does not show the proof of the session that its cookie is of: sign in again",
            Self::OtherProof => "the page shows the proof of another session than its cookie is of: sign in again",
            Self::Unknown => "the session is unknown here, or was ended: sign in again",
            Self::Ended => "the session has ended: sign in again",
            Self::TokenRevoked => "the token of the session was revoked: sign in with another one",
            Self::TokenExpired => "the token of the session has expired: sign in with another one",
        }
    }

    /// Whether both halves were shown, of a session that has ended: its reader relies on it.
    pub(super) fn is_of_holder(self) -> bool {
        matches!(self, Self::Ended | Self::TokenRevoked | Self::TokenExpired)
    }

    /// Whether its cookie will never be good again.
    pub(super) fn is_over(self) -> bool {
        !matches!(self, Self::NoProof | Self::OtherProof)
    }
}

impl Access {
    /// Begins a session for whoever holds the token; another one, of that key, ends by it.
    pub(super) async fn begin_session(&self, token: &Record, instead_of: Option<String>) -> Result<Opened, ApiError> {
        let half = || secret::new_half().map_err(|error| ApiError::of(error.code(), &error));
        let (id, proof) = (half()?, half()?);
        let now = time::unix_millis_now();
        let whole = now.saturating_add(millis(LIFE));
        let ends_unix_ms = token.expires_unix_ms.map_or(whole, |end| end.min(whole));
        let kept = Kept {
            proof: secret::hash(proof.expose()),
            token: token.id.clone(),
            token_hash: token.hash,
            begun_unix_ms: now,
            ends_unix_ms,
        };
        let _one_at_a_time = self.opening.lock().await;
        let mut gone = self.surplus(&token.id, now).await.map_err(of_store)?;
        gone.extend(instead_of);
        let gone: BTreeSet<String> = gone.into_iter().collect();
        let value = serde_json::to_vec(&kept).expect("texts and numbers are JSON");
        let txn = gone.into_iter().fold(Txn::default(), Txn::delete).put(key(id.expose()), value);
        self.store.commit(txn).await.map_err(of_store)?;
        Ok(Opened { id, proof, ends_unix_ms, life: Duration::from_millis(ends_unix_ms.saturating_sub(now)) })
    }

    /// Whose session it is. Of several cookies the one that the proof is of counts: others may have set the rest.
    pub(super) async fn session(&self, shown: &ShownSession<'_>) -> Result<Found, ApiError> {
        let Some(proof) = shown.proof else { return Ok(Found::Refused(Refused::NoProof)) };
        let mut refused = Refused::Unknown;
        for id in shown.ids.iter().filter(|id| secret::is_half(id)) {
            match self.session_of(id, proof).await.map_err(of_store)? {
                Found::Refused(Refused::Unknown) => {}
                Found::Refused(why) => refused = why,
                valid @ Found::Valid { .. } => return Ok(valid),
            }
        }
        Ok(Found::Refused(refused))
    }

    async fn session_of(&self, id: &str, proof: &str) -> Result<Found, StoreError> {
        let refused = |why| Ok(Found::Refused(why));
        let key = key(id);
        let kept = self.store.get(&key).await?.and_then(|entry| decode(&entry.value));
        let Some(kept) = kept else { return refused(Refused::Unknown) };
        if !secret::matches(proof, &kept.proof) {
            return refused(Refused::OtherProof);
        }
        let token = self.kept_token(&kept.token).await?.filter(|token| token.hash == kept.token_hash);
        let Some(token) = token else { return refused(Refused::TokenRevoked) };
        let now = time::unix_millis_now();
        if token.has_ended(now) {
            return refused(Refused::TokenExpired);
        }
        if kept.ends_unix_ms <= now {
            return refused(Refused::Ended);
        }
        Ok(Found::Valid { key, token })
    }

    /// Ends the session of that key.
    pub(super) async fn end_session(&self, key: String) -> Result<(), ApiError> {
        self.store.commit(Txn::default().delete(key)).await.map(|_| ()).map_err(of_store)
    }

    /// The keys of sessions that have to end for one more of that token, and of some that have ended.
    async fn surplus(&self, token: &str, now: u64) -> Result<Vec<String>, StoreError> {
        let page = self.store.range(PREFIX, None, RANGE_MAX).await?;
        let (mut ended, mut living) = (Vec::new(), BTreeSet::new());
        for entry in page.entries {
            match decode(&entry.value).filter(|kept| kept.ends_unix_ms > now) {
                Some(kept) => _ = living.insert((kept.begun_unix_ms, entry.key.to_string(), kept.token)),
                None => ended.push(entry.key.to_string()),
            }
        }
        let mut gone = Vec::new();
        let of_it: Vec<_> = living.iter().filter(|(.., of)| of == token).cloned().collect();
        for oldest in of_it.iter().take((of_it.len() + 1).saturating_sub(OF_TOKEN_MAX)) {
            living.remove(oldest);
            gone.push(oldest.1.clone());
        }
        let too_many = (living.len() + 1).saturating_sub(SESSIONS_MAX);
        gone.extend(living.into_iter().take(too_many).map(|(_, key, _)| key));
        gone.extend(ended);
        gone.truncate(FORGOTTEN_MAX);
        Ok(gone)
    }
}

fn decode(value: &[u8]) -> Option<Kept> {
    let kept = serde_json::from_slice(value);
    kept.inspect_err(|error| tracing::error!(%error, "a session in the store cannot be read")).ok()
}

fn key(id: &str) -> String {
    format!("{PREFIX}{}", secret::hash(id).to_string().trim_start_matches("sha256:"))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn of_store(error: StoreError) -> ApiError {
    ApiError::of(error.code(), &error)
}
