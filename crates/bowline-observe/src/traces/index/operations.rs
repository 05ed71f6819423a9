//! Services and span names, each pair kept once and for as long as a trace uses it.

use std::{collections::HashMap, sync::Arc};

/// The most pairs kept; traces with others are found by reading their spans.
const OPERATIONS_MAX: usize = 50_000;

/// A service and the name of a span of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OperationId(u32);

/// The table.
#[derive(Debug, Default)]
pub(super) struct Operations {
    ids: HashMap<Arc<str>, HashMap<Arc<str>, OperationId>>,
    slots: Vec<Slot>,
    free: Vec<OperationId>,
}

#[derive(Debug)]
struct Slot {
    service: Arc<str>,
    name: Arc<str>,
    /// 0 when free.
    uses: usize,
}

impl OperationId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Operations {
    pub(super) fn find(&self, service: &str, name: &str) -> Option<OperationId> {
        self.ids.get(service)?.get(name).copied()
    }

    /// Service and name.
    pub(super) fn get(&self, id: OperationId) -> (&str, &str) {
        let slot = &self.slots[id.index()];
        (&slot.service, &slot.name)
    }

    /// Uses a pair once more; none when the table is full.
    pub(super) fn acquire(&mut self, service: &str, name: &str) -> Option<OperationId> {
        if let Some(id) = self.find(service, name) {
            self.slots[id.index()].uses += 1;
            return Some(id);
        }
        let slot = Slot { service: Arc::from(service), name: Arc::from(name), uses: 1 };
        let key = (Arc::clone(&slot.service), Arc::clone(&slot.name));
        let id = if let Some(id) = self.free.pop() {
            self.slots[id.index()] = slot;
            id
        } else {
            let id = u32::try_from(self.slots.len()).ok().filter(|_| self.slots.len() < OPERATIONS_MAX)?;
            self.slots.push(slot);
            OperationId(id)
        };
        self.ids.entry(key.0).or_default().insert(key.1, id);
        Some(id)
    }

    /// Uses a pair once less, and forgets it after the last use.
    pub(super) fn release(&mut self, id: OperationId) {
        let slot = &mut self.slots[id.index()];
        slot.uses -= 1;
        if slot.uses > 0 {
            return;
        }
        if let Some(names) = self.ids.get_mut(&slot.service) {
            names.remove(&slot.name);
            if names.is_empty() {
                self.ids.remove(&slot.service);
            }
        }
        (slot.service, slot.name) = (Arc::from(""), Arc::from(""));
        self.free.push(id);
    }

    /// By index: whether the pair has the service and the name, where these are given.
    pub(super) fn matching(&self, service: Option<&str>, name: Option<&str>) -> Vec<bool> {
        let is_match = |slot: &Slot| {
            slot.uses > 0
                && service.is_none_or(|service| service == &*slot.service)
                && name.is_none_or(|name| name == &*slot.name)
        };
        self.slots.iter().map(is_match).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
