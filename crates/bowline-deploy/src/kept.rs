//! What of rollouts survives: small JSON values in the store, each with the version of its format.

use std::sync::Arc;

use bowline_model::{ServiceName, deploy::Release};
use bowline_store::{Entry, Expect, Revision, Store, Txn};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{error::Error, rollout::Rollout};

/// The format that this release writes and reads.
const FORMAT: u32 = 1;

/// The most rollouts that are remembered of a service.
pub const HISTORY_MAX: usize = 20;

/// The release of a service that was promoted last. The kept form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Current {
    pub(crate) release: Release,
    /// How many instances, where that was asked for; else as many as the file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u32>,
    /// What the file said of the service; another text, and it does not count any more.
    pub(crate) declared: String,
}

/// All that is kept of one service.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) live: Option<(Rollout, Revision)>,
    pub(crate) current: Option<Current>,
    /// The last rollout that ended.
    pub(crate) last: Option<Rollout>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<T> {
    format: u32,
    value: T,
}

/// Reads what is kept of a service.
pub(crate) async fn load(store: &dyn Store, service: &ServiceName) -> Result<Kept, Error> {
    let current = store.get(&current_key(service)).await.map_err(Error::Store)?;
    Ok(Kept {
        live: live(store, service).await?,
        current: current.as_ref().map(decode).transpose()?,
        last: ended_entries(store, service).await?.last().map(decode).transpose()?,
    })
}

/// The rollout of a service that is under way, for those who have no [`Deployer`](crate::Deployer).
///
/// # Errors
/// [`Error::Unreadable`] and [`Error::Store`].
///
/// # Cancel safety
/// Nothing is changed.
pub async fn under_way(store: &dyn Store, service: &ServiceName) -> Result<Option<Rollout>, Error> {
    Ok(live(store, service).await?.map(|(rollout, _)| rollout))
}

/// Reads the rollout that is under way, and the revision that it was last changed by.
pub(crate) async fn live(store: &dyn Store, service: &ServiceName) -> Result<Option<(Rollout, Revision)>, Error> {
    let entry = store.get(&live_key(service)).await.map_err(Error::Store)?;
    entry.map(|entry| Ok((decode(&entry)?, entry.modified))).transpose()
}

/// Reads those that ended, the newest first.
pub(crate) async fn history(store: &dyn Store, service: &ServiceName) -> Result<Vec<Rollout>, Error> {
    ended_entries(store, service).await?.iter().rev().map(decode).collect()
}

/// Keeps how far a rollout is; one that is over goes to those that ended, where the oldest ones make room.
///
/// # Errors
/// [`Error::Conflict`] when it is not as `before` says.
pub(crate) async fn put(
    store: &dyn Store,
    before: Option<Revision>,
    rollout: &Rollout,
    current: Option<Change<'_>>,
) -> Result<Revision, Error> {
    let service = &rollout.service;
    let key = live_key(service);
    let mut txn = Txn::default().when(key.as_str(), before.map_or(Expect::Missing, Expect::Modified));
    if rollout.is_live() {
        txn = txn.put(key, encode(rollout));
    } else {
        let ended = ended_entries(store, service).await?;
        let surplus = (ended.len() + 1).saturating_sub(HISTORY_MAX);
        txn = txn.delete(key).put(ended_key(service, rollout.id), encode(rollout));
        txn = ended.iter().take(surplus).fold(txn, |txn, entry| txn.delete(entry.key.as_ref()));
    }
    txn = match current {
        None => txn,
        Some(Change::Put(current)) => txn.put(current_key(service), encode(current)),
        Some(Change::Forget) => txn.delete(current_key(service)),
    };
    store.commit(txn).await.map_err(|error| match error {
        bowline_store::Error::Conflict { .. } => Error::Conflict { service: service.clone() },
        error => Error::Store(error),
    })
}

/// What becomes of the release that was promoted last.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    Put(&'a Current),
    Forget,
}

/// Forgets which release was promoted last.
pub(crate) async fn forget_current(store: &dyn Store, service: &ServiceName) -> Result<(), Error> {
    store.commit(Txn::default().delete(current_key(service))).await.map(drop).map_err(Error::Store)
}

/// Those that ended, the oldest first.
async fn ended_entries(store: &dyn Store, service: &ServiceName) -> Result<Vec<Entry>, Error> {
    let page = store.range(&format!("deploy/ended/{service}/"), None, HISTORY_MAX).await;
    page.map(|page| page.entries).map_err(Error::Store)
}

fn live_key(service: &ServiceName) -> String {
    format!("deploy/live/{service}")
}

fn current_key(service: &ServiceName) -> String {
    format!("deploy/current/{service}")
}

/// Sorted by age.
fn ended_key(service: &ServiceName, id: u64) -> String {
    format!("deploy/ended/{service}/{id:020}")
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let envelope = Envelope { format: FORMAT, value };
    serde_json::to_vec(&envelope).expect("what is kept is plain data with text keys")
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, Error> {
    let unreadable = || Error::Unreadable { key: Arc::clone(&entry.key) };
    let envelope: Envelope<&serde_json::value::RawValue> =
        serde_json::from_slice(&entry.value).map_err(|_| unreadable())?;
    if envelope.format != FORMAT {
        return Err(unreadable());
    }
    serde_json::from_str(envelope.value.get()).map_err(|_| unreadable())
}
