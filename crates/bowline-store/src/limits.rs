//! The limits of the port: every provider refuses what exceeds them, before it does anything.

use std::{collections::BTreeSet, time::Duration};

use crate::{Error, port::Txn};

/// The longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;

/// The largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The most operations, and the most comparisons, of one transaction.
pub const TXN_OPS_MAX: usize = 128;

/// The most bytes of keys and values in one transaction.
pub const TXN_BYTES_MAX: usize = 8 << 20;

/// The most entries of one page.
pub const RANGE_MAX: usize = 10_000;

/// The most keys bound to one lease.
pub const LEASE_KEYS_MAX: usize = 1024;

/// The shortest and the longest lifetime of a lease.
pub const LEASE_TTL_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_hours(24));

/// Checks that a key has 1 to [`KEY_BYTES_MAX`] bytes and no NUL.
pub fn check_key(key: &str) -> Result<(), Error> {
    let rule = match key.len() {
        0 => "it is not empty",
        1..=KEY_BYTES_MAX if !key.contains('\0') => return Ok(()),
        1..=KEY_BYTES_MAX => "it has no NUL character",
        _ => "it has at most 1024 bytes",
    };
    Err(Error::Invalid { what: "key", rule })
}

/// Checks that a lease's lifetime is within [`LEASE_TTL_RANGE`].
pub fn check_ttl(ttl: Duration) -> Result<(), Error> {
    let (min, max) = LEASE_TTL_RANGE;
    if (min..=max).contains(&ttl) {
        return Ok(());
    }
    Err(Error::Invalid { what: "ttl", rule: "it is 100 ms to 24 h" })
}

/// Checks a transaction against every limit; a key occurs in at most one of its operations.
pub fn check_txn(txn: &Txn) -> Result<(), Error> {
    let invalid = |what, rule| Err(Error::Invalid { what, rule });
    if txn.compares.len() > TXN_OPS_MAX || txn.ops.len() > TXN_OPS_MAX {
        return invalid("transaction", "it has at most 128 comparisons and 128 operations");
    }
    for compare in &txn.compares {
        check_key(&compare.key)?;
    }
    let mut keys = BTreeSet::new();
    let mut bytes = 0;
    for op in &txn.ops {
        check_key(op.key())?;
        if !keys.insert(op.key()) {
            return invalid("transaction", "it changes each key at most once");
        }
        bytes += op.key().len();
        if let Some(value) = op.value() {
            if value.len() > VALUE_BYTES_MAX {
                return invalid("value", "it has at most 1 MiB");
            }
            bytes += value.len();
        }
    }
    if bytes > TXN_BYTES_MAX {
        return invalid("transaction", "it has at most 8 MiB of keys and values");
    }
    Ok(())
}
