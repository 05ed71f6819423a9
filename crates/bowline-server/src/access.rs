//! Who may what: tokens, the root token, and the rules that demand them.
//!
//! A token is the key `access/tokens/ID` of the store; of its secret there is a hash alone. Each request
//! looks its token up, so that a revoked one ends at once, and with it the sessions of the console that were opened
//! with it.

mod credential;
mod demand;
mod forgery;
mod root;
mod rules;
pub(crate) mod session;
mod sessions;
pub(crate) mod tokens;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_model::{Code, Secret, gateway::KeyHash};
use bowline_provider_remote::wire::{self, Role};
use bowline_runtime::{
    metric::{Counter, Registry},
    time::{self, Duration, Instant},
};
use bowline_store::{Error as StoreError, Expect, RANGE_MAX, Store, Txn};
use serde::{Deserialize, Serialize};

use crate::{
    actor::{self, Acting, Holder},
    audit::Audited,
    error::ApiError,
    secret,
};

pub(crate) use demand::{From, demand, demand_spans};
pub(crate) use root::ROOT_ID;
pub use root::{RootTokenError, read_root_token};

/// Under which keys the tokens are.
const PREFIX: &str = "access/tokens/";
/// The most tokens at once.
const TOKENS_MAX: usize = 1000;
/// Refusals are logged and recorded this seldom at most, whoever causes them.
const REFUSAL_EVERY: Duration = Duration::from_secs(1);
/// How often a new token is given another id, since somebody has the one it was to have.
const ATTEMPTS_MAX: usize = 4;

/// Who may what on this node.
#[derive(Debug)]
pub(crate) struct Access {
    store: Arc<Audited>,
    /// Tokens that are as long as this process, in memory only.
    lent: Mutex<Vec<Record>>,
    /// So that two who make a token at once do not exceed the bound.
    creating: tokio::sync::Mutex<()>,
    /// The same of sessions.
    opening: tokio::sync::Mutex<()>,
    listens: Option<SocketAddr>,
    last_refusal: Mutex<Option<Instant>>,
    refused: Counter,
}

/// A token as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    id: String,
    name: String,
    role: Role,
    #[serde(with = "hash_text")]
    hash: KeyHash,
    created_unix_ms: u64,
    created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_unix_ms: Option<u64>,
}

impl Access {
    /// The access to a node whose API listens there.
    pub(crate) fn new(store: Arc<Audited>, listens: Option<SocketAddr>, metrics: &Registry) -> Self {
        let help = "Requests to the API refused for want of a credential or a role.";
        Self {
            store,
            lent: Mutex::default(),
            creating: tokio::sync::Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            listens,
            last_refusal: Mutex::default(),
            refused: metrics.counter("bowline_api_refused_total", help, &[]),
        }
    }

    /// Whether only this machine can reach the API.
    pub(crate) fn is_loopback(&self) -> bool {
        self.listens.is_none_or(|addr| addr.ip().to_canonical().is_loopback())
    }

    /// The port where the API listens; none has 0.
    fn port(&self) -> u16 {
        self.listens.map_or(0, |addr| addr.port())
    }

    /// Makes the file of the root token and what is kept of it agree; a new token where they do not.
    ///
    /// # Errors
    /// When the file cannot be written, or the store.
    pub(crate) async fn make_root(&self, data_dir: &Path) -> Result<(), MakeRootError> {
        let kept = self.record(ROOT_ID).await.map_err(MakeRootError::Store)?;
        let file = root::read_root_token(data_dir);
        if let (Some(kept), Ok(file)) = (&kept, &file)
            && secret::matches(file.expose(), &kept.hash)
        {
            return Ok(());
        }
        if kept.is_some() {
            // Neither of them may be told.
            let why = file.map_or_else(|error| error.to_string(), |_| "the file holds another one".to_owned());
            tracing::warn!(why, "the root token is replaced by a new one");
        }
        let token = secret::new_token(ROOT_ID).map_err(MakeRootError::NoRandomness)?;
        let record = Record::new(ROOT_ID, "root", Role::Admin, &token, "bowline", None);
        self.store.commit(Txn::default().put(key(ROOT_ID), record.encode())).await.map_err(MakeRootError::Store)?;
        root::write(data_dir, &token).map_err(MakeRootError::File)
    }

    /// A token for as long as this process runs.
    pub(crate) fn lend(&self, name: &str, role: Role) -> Result<Secret, secret::NoRandomness> {
        let id = secret::new_token_id()?;
        let token = secret::new_token(&id)?;
        let record = Record::new(&id, name, role, &token, "bowline", None);
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(token)
    }

    /// What this process answers to a nonce, to show that it knows the root token.
    pub(crate) async fn prove(&self, nonce: &str) -> Result<Option<String>, ApiError> {
        let root = self.record(ROOT_ID).await.map_err(|error| ApiError::of(error.code(), &error))?;
        Ok(root.zip(self.listens).map(|(root, listens)| secret::proof(&root.hash, nonce, listens)))
    }

    /// What is kept of a token that has not ended.
    async fn valid(&self, token: &str) -> Result<Record, ApiError> {
        let refuse = |detail: &str| Err(credential::invalid(detail));
        let Some(id) = secret::token_id(token) else { return refuse("this is no token of Bowline") };
        let record = self.kept_token(id).await.map_err(|error| ApiError::of(error.code(), &error))?;
        let Some(record) = record.filter(|record| secret::matches(token, &record.hash)) else {
            return refuse("this token is unknown here, or was revoked");
        };
        if record.has_ended(time::unix_millis_now()) {
            return refuse("this token has expired");
        }
        Ok(record)
    }

    /// Whether a token is still one, for who answers its holder without end. A store that cannot be read says nothing.
    pub(crate) async fn lives(&self, id: &str) -> bool {
        let kept = self.kept_token(id).await;
        kept.map_or(true, |record| record.is_some_and(|record| !record.has_ended(time::unix_millis_now())))
    }

    /// What is kept of the token of that id, in memory or in the store.
    async fn kept_token(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|lent| lent.id == id).cloned();
        match lent {
            Some(record) => Ok(Some(record)),
            None => self.record(id).await,
        }
    }

    /// Tells that a request was refused: each is counted, one a second is logged and recorded.
    async fn refused(&self, acting: &Acting, error: &ApiError) {
        self.refused.increment();
        {
            let mut last = self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner);
            let now = time::now();
            if last.is_some_and(|last| now < last + REFUSAL_EVERY) {
                return;
            }
            *last = Some(now);
        }
        let operation = acting.operation.as_deref().unwrap_or_default();
        tracing::warn!(actor = actor::name(&acting.actor), operation, why = error.detail(), "request refused");
        if let Err(error) = self.store.record_refusal(acting).await {
            tracing::warn!(%error, "a refusal is not in the audit");
        }
    }

    async fn record(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let entry = self.store.get(&key(id)).await?;
        Ok(entry.and_then(|entry| Record::decode(&entry.value)))
    }

    async fn records(&self) -> Result<Vec<Record>, StoreError> {
        let page = self.store.range(PREFIX, None, RANGE_MAX).await?;
        Ok(page.entries.iter().filter_map(|entry| Record::decode(&entry.value)).collect())
    }

    /// Makes and keeps a token.
    async fn create(&self, new: wire::NewToken) -> Result<(Record, Secret), ApiError> {
        let wire::NewToken { name, role, expires_in } = new;
        let _one_at_a_time = self.creating.lock().await;
        let store_error = |error: StoreError| ApiError::of(error.code(), &error);
        if self.records().await.map_err(store_error)?.len() >= TOKENS_MAX {
            let detail = format!("there are {TOKENS_MAX} tokens already: revoke those that nobody needs");
            return Err(ApiError::new(Code::FailedPrecondition, detail));
        }
        let created_by = actor::current().actor;
        for _ in 0..ATTEMPTS_MAX {
            let made = secret::new_token_id().and_then(|id| secret::new_token(&id).map(|token| (id, token)));
            let (id, token) = made.map_err(|error| ApiError::of(error.code(), &error))?;
            let record = Record::new(&id, &name, role, &token, actor::name(&created_by), expires_in);
            let txn = Txn::default().when(key(&id), Expect::Missing).put(key(&id), record.encode());
            match self.store.commit(txn).await {
                Ok(_) => return Ok((record, token)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(ApiError::new(Code::Unavailable, "no free id was found: try again"))
    }

    /// Ends a token; whether there was one.
    async fn revoke(&self, id: &str) -> Result<bool, StoreError> {
        match self.store.commit(Txn::default().when(key(id), Expect::Exists).delete(key(id))).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Why the root token cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeRootError {
    /// The store cannot be read, or does not take it.
    #[error("the store does not take the root token")]
    Store(#[source] StoreError),
    /// The file cannot be written.
    #[error("the root token cannot be written")]
    File(#[source] RootTokenError),
    /// The system has no randomness to give.
    #[error("the root token cannot be made")]
    NoRandomness(#[source] secret::NoRandomness),
}

impl MakeRootError {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Store(error) => error.code(),
            Self::File(error) => error.code(),
            Self::NoRandomness(error) => error.code(),
        }
    }

    /// Whether the same may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable(),
            Self::File(error) => error.retryable(),
            Self::NoRandomness(error) => error.retryable(),
        }
    }
}

impl Record {
    fn new(id: &str, name: &str, role: Role, token: &Secret, by: &str, expires_in: Option<Duration>) -> Self {
        let now = time::unix_millis_now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            role,
            hash: secret::hash(token.expose()),
            created_unix_ms: now,
            created_by: by.to_owned(),
            expires_unix_ms: expires_in.map(|time| now.saturating_add(millis(time))),
        }
    }

    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let record = serde_json::from_slice(value);
        record.inspect_err(|error| tracing::error!(%error, "a token in the store cannot be read")).ok()
    }

    fn has_ended(&self, now_unix_ms: u64) -> bool {
        self.expires_unix_ms.is_some_and(|end| end <= now_unix_ms)
    }

    fn into_holder(self) -> Holder {
        let Self { id, name, role, .. } = self;
        Holder { id, name, role }
    }

    fn into_wire(self) -> wire::Token {
        let Self { id, name, role, hash: _, created_unix_ms, created_by, expires_unix_ms } = self;
        wire::Token { id, name, role, created_unix_ms, created_by, expires_unix_ms }
    }
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// A hash as text.
mod hash_text {
    use bowline_model::gateway::KeyHash;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(hash: &KeyHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyHash, D::Error> {
        KeyHash::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
