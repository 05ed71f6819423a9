//! What was issued: a record of each certificate until it expires or is replaced.

use std::{collections::BTreeMap, fmt::Write as _, time::SystemTime};

use bowline_identity::Validity;
use bowline_model::mesh::Workload;
use bowline_runtime::time;
use bowline_store::{Entry, Error as StoreError, RANGE_MAX, Store, Txn};
use serde::{Deserialize, Serialize};

use super::leaf::Leaf;

/// The most certificates of one workload that are recorded; beyond that the soonest expiry is forgotten.
pub const CERTIFICATES_MAX: usize = 1000;

/// Under which keys the records are.
pub(super) const PREFIX: &str = "mesh/certificates/";
/// The most records that one transaction removes.
const REMOVED_MAX: usize = 50;

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// When it was issued, in milliseconds since 1970.
    pub issued_unix_ms: u64,
    /// When it expires, in milliseconds since 1970.
    pub expires_unix_ms: u64,
    /// The id of the join token by which its workload came in; none for a renewal, and in this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<String>,
}

/// The records of one workload.
pub(super) struct Certificates<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) workload: &'a Workload,
    pub(super) now: SystemTime,
}

impl Certificates<'_> {
    /// Adds to a transaction what is recorded of a certificate, and what need not be any longer.
    pub(super) async fn record(
        &self,
        mut txn: Txn,
        leaf: &Leaf,
        join: Option<String>,
        replaced: Option<String>,
    ) -> Result<Txn, StoreError> {
        let prefix = prefix(self.workload);
        let page = self.store.range(&prefix, None, CERTIFICATES_MAX + REMOVED_MAX).await?;
        let surplus = (page.entries.len() + 1).saturating_sub(CERTIFICATES_MAX);
        let now = millis(self.now);
        let is_old = |(at, entry): &(usize, &Entry)| {
            *at < surplus || expiry(&prefix, &entry.key).is_none_or(|expires| expires <= now)
        };
        // They are sorted by expiry.
        let old = page.entries.iter().enumerate().take_while(is_old).map(|(_, entry)| entry.key.to_string());
        let mut removed: Vec<_> = old.take(REMOVED_MAX).collect();
        removed.extend(replaced.filter(|key| !removed.contains(key)));
        txn = removed.into_iter().fold(txn, Txn::delete);
        let certificate = Certificate {
            serial: hex(&leaf.serial),
            issued_unix_ms: now,
            expires_unix_ms: millis(leaf.validity.not_after),
            join,
        };
        let value = serde_json::to_vec(&certificate).expect("texts and numbers are JSON");
        Ok(txn.put(key(self.workload, certificate.expires_unix_ms, &certificate.serial), value))
    }
}

/// Every record of a certificate that is good, by workload, soonest expiry first.
pub(super) async fn all(store: &dyn Store, now: u64) -> Result<BTreeMap<Workload, Vec<Certificate>>, StoreError> {
    let (mut all, mut after) = (BTreeMap::<_, Vec<_>>::new(), None::<String>);
    loop {
        let page = store.range(PREFIX, after.as_deref(), RANGE_MAX).await?;
        for entry in &page.entries {
            let Some((workload, certificate)) = decode(entry) else { continue };
            if certificate.expires_unix_ms > now {
                all.entry(workload).or_default().push(certificate);
            }
        }
        after = page.entries.last().map(|entry| entry.key.to_string());
        if !page.more {
            return Ok(all);
        }
    }
}

/// The key of the record of a certificate.
pub(super) fn key_of(workload: &Workload, leaf_der: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf_der).ok()?;
    let expires = Validity::of(leaf_der).ok()?.not_after;
    Some(key(workload, millis(expires), &hex(certificate.raw_serial())))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

fn prefix(workload: &Workload) -> String {
    format!("{PREFIX}{workload}/")
}

fn key(workload: &Workload, expires_unix_ms: u64, serial: &str) -> String {
    format!("{}{expires_unix_ms:016x}-{serial}", prefix(workload))
}

fn expiry(prefix: &str, key: &str) -> Option<u64> {
    let (expires, _) = key.strip_prefix(prefix)?.split_once('-')?;
    u64::from_str_radix(expires, 16).ok()
}

fn decode(entry: &Entry) -> Option<(Workload, Certificate)> {
    let (workload, _) = entry.key.strip_prefix(PREFIX)?.rsplit_once('/')?;
    let certificate = serde_json::from_slice(&entry.value);
    let certificate = certificate.inspect_err(|error| tracing::error!(%error, "a record of a certificate is damaged"));
    Some((workload.parse().ok()?, certificate.ok()?))
}

fn millis(at: SystemTime) -> u64 {
    time::unix_nanos(at) / 1_000_000
}
