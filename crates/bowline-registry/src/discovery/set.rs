//! The set of a service's instances and the rule by which it shrinks. Pure.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_model::{Instance, InstanceId};
use bowline_runtime::time::Instant;
use bowline_store::{HistoryId, Revision};

use crate::{Discovered, InstanceChange, InstanceEvent};

/// How long instances have to register with a registry that lost them, once it lists others: a few
/// heartbeats, after the first of which an instance learns that it is unknown.
pub(crate) const RETURN_WITHIN: Duration = Duration::from_mins(1);

/// A place in a registry's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) history: Option<HistoryId>,
    pub(crate) revision: Revision,
}

/// The instances of one service.
#[derive(Debug, Default)]
pub(crate) struct Set {
    /// What the registry says, and where in its history it said so.
    listed: BTreeMap<InstanceId, Instance>,
    seen: Option<Position>,
    /// What was known before a list that proves nothing.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    instances: BTreeMap<InstanceId, Instance>,
    seen: Position,
    /// When they are dropped; absent while the registry lists nothing.
    until: Option<Instant>,
}

impl Position {
    /// Whether what was said here knows all that was known there.
    fn covers(self, earlier: Self) -> bool {
        let is_same_history = match (self.history, earlier.history) {
            (Some(own), Some(earlier)) => own == earlier,
            _ => true,
        };
        is_same_history && self.revision >= earlier.revision
    }
}

impl Set {
    /// A set that was known at that place.
    pub(crate) fn restored(instances: Vec<Instance>, seen: Position) -> Self {
        Self { listed: by_id(instances), seen: Some(seen), kept: None }
    }

    /// Everything known, sorted by id.
    pub(crate) fn instances(&self) -> Arc<[Instance]> {
        let kept = self.kept.iter().flat_map(|kept| &kept.instances);
        let all = kept.chain(&self.listed).collect::<BTreeMap<_, _>>();
        all.into_values().cloned().collect()
    }

    /// Where the registry was last heard.
    pub(crate) fn seen(&self) -> Option<Position> {
        self.seen
    }

    /// When [`Set::tick`] has something to do.
    pub(crate) fn timer(&self) -> Option<Instant> {
        self.kept.as_ref().and_then(|kept| kept.until)
    }

    /// A list: replaces what it covers, joins what it does not.
    pub(crate) fn list(&mut self, discovered: Discovered, now: Instant) {
        let Discovered { revision, history, instances, more: _ } = discovered;
        let position = Position { history, revision };
        if self.kept.as_ref().is_some_and(|kept| position.covers(kept.seen)) {
            self.kept = None;
        }
        let listed = std::mem::replace(&mut self.listed, by_id(instances));
        if let Some(seen) = self.seen.replace(position)
            && !position.covers(seen)
        {
            let mut instances = self.kept.take().map(|kept| kept.instances).unwrap_or_default();
            instances.extend(listed);
            self.kept = Some(Kept { instances, seen, until: None });
        }
        if let Some(kept) = &mut self.kept {
            kept.instances.retain(|id, _| !self.listed.contains_key(id));
        }
        self.set_timer(now);
    }

    /// An event of a watch from where the registry was last heard: proof of what it says.
    pub(crate) fn apply(&mut self, event: InstanceEvent, now: Instant) {
        let InstanceEvent { revision, change } = event;
        match change {
            InstanceChange::Put(instance) => {
                self.forget(&instance.id);
                self.listed.insert(instance.id.clone(), instance);
            }
            InstanceChange::Delete { id, service: _ } => {
                self.forget(&id);
                self.listed.remove(&id);
            }
        }
        self.advance(revision);
        self.set_timer(now);
    }

    /// The registry was heard up to that revision.
    pub(crate) fn advance(&mut self, revision: Revision) {
        if let Some(seen) = &mut self.seen {
            seen.revision = seen.revision.max(revision);
        }
    }

    /// Drops what was kept long enough, if there is anything else.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.timer().is_some_and(|until| until <= now) {
            self.kept = None;
        }
    }

    fn forget(&mut self, id: &InstanceId) {
        if let Some(kept) = &mut self.kept {
            kept.instances.remove(id);
        }
    }

    fn set_timer(&mut self, now: Instant) {
        match &mut self.kept {
            Some(kept) if kept.instances.is_empty() => self.kept = None,
            Some(kept) if self.listed.is_empty() => kept.until = None,
            Some(kept) => {
                kept.until.get_or_insert(now + RETURN_WITHIN);
            }
            None => {}
        }
    }
}

fn by_id(instances: Vec<Instance>) -> BTreeMap<InstanceId, Instance> {
    instances.into_iter().map(|instance| (instance.id.clone(), instance)).collect()
}
