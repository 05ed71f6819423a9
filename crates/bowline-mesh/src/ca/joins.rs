//! Join tokens as they are kept: by their hash, for one workload, until they expire.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bowline_identity::JoinToken;
use bowline_model::{Code, Secret, mesh::Workload};
use bowline_store::{Expect, RANGE_MAX, Store, Txn};
use serde::{Deserialize, Serialize};

use super::{Error, record::hex};

/// How long a join token is good where nobody says otherwise.
pub const JOIN_TTL: Duration = Duration::from_mins(15);
/// The shortest and the longest life of a join token.
pub const JOIN_TTL_RANGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(1));
/// The most join tokens at once that were not used.
pub const JOINS_MAX: usize = 1000;

/// Under which keys they are.
const PREFIX: &str = "mesh/joins/";
/// The most expired ones that one transaction removes.
const REMOVED_MAX: usize = 100;
/// Hexadecimal digits of a token's hash that its id has.
const ID_DIGITS: usize = 12;

/// A join token as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    expires_unix_ms: u64,
    /// The hash of the public key that came in by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_by: Option<String>,
}

/// A token that is used, unless another was faster.
pub(super) struct Used {
    /// By what it is recognised in records.
    pub(super) id: String,
    /// Marks it.
    pub(super) txn: Txn,
}

/// Makes one, and removes those that expired.
pub(super) async fn create(
    store: &dyn Store,
    workload: &Workload,
    ttl: Duration,
    root_der: &[u8],
    now_unix_ms: u64,
) -> Result<Secret, Error> {
    let (min, max) = JOIN_TTL_RANGE;
    if !(min..=max).contains(&ttl) {
        return Err(Error::refused(Code::Unprocessable, "ttl: a join token lives 10s to 1h"));
    }
    if *workload == Workload::Platform {
        let detail = "workload: `bowline` is this process itself, which joins without a token";
        return Err(Error::refused(Code::Unprocessable, detail));
    }
    let page = store.range(PREFIX, None, RANGE_MAX).await.map_err(Error::Store)?;
    let (mut txn, mut unused, mut removed) = (Txn::default(), 0, 0);
    for entry in &page.entries {
        match decode(&entry.value) {
            Some(record) if record.expires_unix_ms > now_unix_ms => unused += usize::from(record.used_by.is_none()),
            _ if removed < REMOVED_MAX => {
                removed += 1;
                txn = txn.delete(&*entry.key);
            }
            _ => {}
        }
    }
    if unused >= JOINS_MAX || page.more {
        let detail = format!("there are {JOINS_MAX} join tokens that nobody used: wait until some expire");
        return Err(Error::refused(Code::FailedPrecondition, detail));
    }
    let token = JoinToken::generate(root_der).map_err(|_| Error::Cryptography)?.text().clone();
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let record = Record { expires_unix_ms: now_unix_ms.saturating_add(ttl_ms), used_by: None };
    store.commit(txn.put(key(workload, &hash(&token)), encode(&record))).await.map_err(Error::Store)?;
    Ok(token)
}

/// Marks a token as used by a public key; again, if it was by the same one.
pub(super) async fn take(
    store: &dyn Store,
    workload: &Workload,
    token: &Secret,
    public_key: &[u8],
    now_unix_ms: u64,
) -> Result<Used, Error> {
    let refuse = |detail: &str| Err(Error::refused(Code::Unauthenticated, detail));
    // No key of the store is made of what is no token.
    if JoinToken::parse(token).is_err() {
        return refuse("this is no join token, or not all of one");
    }
    let hash = hash(token);
    let key = key(workload, &hash);
    let entry = store.get(&key).await.map_err(Error::Store)?;
    let record = entry.as_ref().and_then(|entry| decode(&entry.value));
    let (Some(entry), Some(record)) = (entry, record) else {
        return refuse("the join token is unknown here, expired long ago, or was made for another workload");
    };
    if record.expires_unix_ms <= now_unix_ms {
        return refuse("the join token has expired: make a new one");
    }
    let user = hex(digest(&SHA256, public_key).as_ref());
    if record.used_by.as_ref().is_some_and(|used_by| *used_by != user) {
        return refuse("the join token was used already, and is good once: make a new one");
    }
    let marked = Record { used_by: Some(user), ..record };
    let txn = Txn::default().when(&*key, Expect::Modified(entry.modified)).put(key, encode(&marked));
    Ok(Used { id: hash[..ID_DIGITS].to_owned(), txn })
}

fn hash(token: &Secret) -> String {
    hex(digest(&SHA256, token.expose().as_bytes()).as_ref())
}

fn key(workload: &Workload, hash: &str) -> String {
    format!("{PREFIX}{workload}/{hash}")
}

fn encode(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).expect("texts and numbers are JSON")
}

fn decode(value: &[u8]) -> Option<Record> {
    serde_json::from_slice(value).inspect_err(|error| tracing::error!(%error, "a join token is damaged")).ok()
}
