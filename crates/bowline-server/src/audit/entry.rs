//! An entry as it is kept: the key `audit/CLASS/ID`, the value a record in JSON.

use std::collections::BTreeSet;

use bowline_provider_remote::wire::{AuditActor, AuditChange, AuditClass, AuditEntry, ChangeKind};
use bowline_store::{Entry, Error, Op, RANGE_MAX, Store};
use serde::{Deserialize, Serialize};

use super::PREFIX;
use crate::actor::Acting;

/// The most keys that an entry names, those that are put first; further ones are counted.
const CHANGES_MAX: usize = 16;

/// Who did what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    at_unix_ms: u64,
    actor: AuditActor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(default)]
    changes: Vec<AuditChange>,
    #[serde(default)]
    changes_omitted: usize,
}

impl Record {
    pub(super) fn new(acting: &Acting, at_unix_ms: u64, ops: &[Op]) -> Self {
        let change = |op: &Op| {
            let change = if op.value().is_some() { ChangeKind::Put } else { ChangeKind::Delete };
            AuditChange { change, key: op.key().to_owned() }
        };
        // What is put is what it was for: deletes beside it make room, and may be many.
        let (puts, deletes): (Vec<_>, Vec<_>) = ops.iter().partition(|op| op.value().is_some());
        let changes: Vec<_> = puts.into_iter().chain(deletes).take(CHANGES_MAX).map(change).collect();
        Self { changes_omitted: ops.len() - changes.len(), ..Self::of(acting, at_unix_ms, changes) }
    }

    /// An entry of those changes.
    pub(super) fn of(acting: &Acting, at_unix_ms: u64, changes: Vec<AuditChange>) -> Self {
        let Acting { actor, operation } = acting.clone();
        Self { at_unix_ms, actor, operation, changes, changes_omitted: 0 }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    /// As it is told.
    pub(crate) fn into_wire(self, id: u64, class: AuditClass) -> AuditEntry {
        let Self { at_unix_ms, actor, operation, changes, changes_omitted } = self;
        AuditEntry { id: format!("{id:016x}"), class, at_unix_ms, actor, operation, changes, changes_omitted }
    }
}

/// The beginning of the keys of a class.
pub(super) fn prefix(class: AuditClass) -> String {
    format!("{PREFIX}{}/", class.as_str())
}

/// The key of an entry.
pub(super) fn key(class: AuditClass, id: u64) -> String {
    key_in(class.as_str(), id)
}

/// The key of an entry in a class of that name: the newest is the first.
pub(super) fn key_in(class: &str, id: u64) -> String {
    format!("{PREFIX}{class}/{:016x}", !id)
}

fn id(class: AuditClass, key: &str) -> Option<u64> {
    let digits = key.strip_prefix(&prefix(class))?;
    u64::from_str_radix(digits, 16).ok().map(|complement| !complement)
}

/// An entry that was read; what cannot be read is left out.
pub(super) fn decode(class: AuditClass, entry: &Entry) -> Option<(u64, AuditClass, Record)> {
    let record = serde_json::from_slice(&entry.value);
    let record = record.inspect_err(|error| tracing::error!(%error, key = &*entry.key, "an entry cannot be read"));
    Some((id(class, &entry.key)?, class, record.ok()?))
}

/// The ids of a class that are there.
pub(super) async fn ids(store: &dyn Store, class: AuditClass) -> Result<BTreeSet<u64>, Error> {
    let (prefix, mut ids, mut after) = (prefix(class), BTreeSet::new(), None);
    loop {
        let page = store.range(&prefix, after.as_deref(), RANGE_MAX).await?;
        ids.extend(page.entries.iter().filter_map(|entry| id(class, &entry.key)));
        after = page.entries.last().map(|entry| entry.key.as_ref().to_owned());
        if !page.more {
            return Ok(ids);
        }
    }
}
