//! The bytes of an entry and of a transaction in the file, format 1. All numbers little-endian.
//!
//! ```text
//! entry  = created:u64 modified:u64 lease:u64 (0: none) value
//! step   = change*
//! change = kind:u8 (1 put, 2 delete) key_len:u32 key entry_len:u32 entry
//! ```

use std::sync::Arc;

use bytes::Bytes;

use crate::{Change, Entry, LeaseId};

const ENTRY_HEAD: usize = 24;
const PUT: u8 = 1;
const DELETE: u8 = 2;

pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_HEAD + entry.value.len());
    write_entry(&mut bytes, entry);
    bytes
}

fn write_entry(bytes: &mut Vec<u8>, entry: &Entry) {
    bytes.extend_from_slice(&entry.created.to_le_bytes());
    bytes.extend_from_slice(&entry.modified.to_le_bytes());
    bytes.extend_from_slice(&entry.lease.map_or(0, |lease| lease.0).to_le_bytes());
    bytes.extend_from_slice(&entry.value);
}

/// The entry, or none if the bytes are not one.
pub(super) fn decode_entry(key: Arc<str>, bytes: &[u8]) -> Option<Entry> {
    let (created, rest) = split_u64(bytes)?;
    let (modified, rest) = split_u64(rest)?;
    let (lease, value) = split_u64(rest)?;
    let lease = (lease != 0).then_some(LeaseId(lease));
    Some(Entry { key, value: Bytes::copy_from_slice(value), created, modified, lease })
}

pub(super) fn encode_changes(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        let (kind, entry) = match change {
            Change::Put(entry) => (PUT, entry),
            Change::Delete { previous, .. } => (DELETE, previous),
        };
        bytes.push(kind);
        write_len(&mut bytes, entry.key.len());
        bytes.extend_from_slice(entry.key.as_bytes());
        write_len(&mut bytes, ENTRY_HEAD + entry.value.len());
        write_entry(&mut bytes, entry);
    }
    bytes
}

/// The changes, or none if the bytes are not a whole transaction.
pub(super) fn decode_changes(mut bytes: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (key, rest) = split_block(rest)?;
        let (entry, rest) = split_block(rest)?;
        let key = Arc::<str>::from(std::str::from_utf8(key).ok()?);
        let entry = decode_entry(Arc::clone(&key), entry)?;
        changes.push(match *kind {
            PUT => Change::Put(entry),
            DELETE => Change::Delete { key, previous: entry },
            _ => return None,
        });
        bytes = rest;
    }
    Some(changes)
}

fn write_len(bytes: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("keys and values are bounded far below 4 GiB");
    bytes.extend_from_slice(&len.to_le_bytes());
}

fn split_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*head), rest))
}

fn split_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Entry> {
        let value = proptest::collection::vec(any::<u8>(), 0..50);
        ("[^\0]{1,20}", value, any::<u64>(), any::<u64>(), any::<Option<u64>>()).prop_map(
            |(key, value, created, modified, lease)| {
                let lease = lease.filter(|lease| *lease != 0).map(LeaseId);
                Entry { key: key.into(), value: value.into(), created, modified, lease }
            },
        )
    }

    fn changes() -> impl Strategy<Value = Change> {
        (entries(), any::<bool>()).prop_map(|(entry, is_put)| {
            if is_put { Change::Put(entry) } else { Change::Delete { key: entry.key.clone(), previous: entry } }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(changes in proptest::collection::vec(changes(), 0..5)) {
            prop_assert_eq!(decode_changes(&encode_changes(&changes)), Some(changes.clone()));
            for change in changes {
                if let Change::Put(entry) = change {
                    prop_assert_eq!(decode_entry(entry.key.clone(), &encode_entry(&entry)), Some(entry));
                }
            }
        }

        #[test]
        fn a_cut_transaction_is_refused(change in changes(), cut in any::<proptest::sample::Index>()) {
            let bytes = encode_changes(&[change]);
            let cut = 1 + cut.index(bytes.len() - 1);
            prop_assert_eq!(decode_changes(&bytes[..cut]).filter(|_| cut < bytes.len()), None);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decode_changes(&bytes), decode_entry("k".into(), &bytes));
        }
    }
}
