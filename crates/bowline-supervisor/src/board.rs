//! Where each instance stands, for those who wait for all of them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bowline_model::{Health, InstanceId, ServiceName};
use tokio::sync::watch;

use crate::lines::Tail;

/// Where each instance stands.
#[derive(Debug)]
pub(crate) struct Board {
    rows: Mutex<BTreeMap<InstanceId, Row>>,
    changed: watch::Sender<()>,
}

/// Where one instance stands.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Its service.
    pub(crate) service: ServiceName,
    /// How far it came.
    pub(crate) phase: Phase,
    /// As what the registry has it now; absent: it has not.
    pub(crate) registered: Option<Health>,
    /// Crashes in a row.
    pub(crate) crashes: u32,
    /// The URL that is checked.
    pub(crate) check: String,
    /// What the last check or process failed of.
    pub(crate) failure: String,
    /// How the last process ended.
    pub(crate) ended: Option<String>,
    /// Its last lines.
    pub(crate) tail: Tail,
}

/// How far an instance came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It was not registered yet.
    Starting,
    /// It was registered, at least once.
    Ready,
    /// It was not, and trying again will not help.
    Hopeless,
    /// It was drained.
    Stopped {
        /// By SIGKILL.
        was_killed: bool,
    },
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { rows: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Adds an instance, or replaces it.
    pub(crate) fn put(&self, id: InstanceId, row: Row) {
        self.lock().insert(id, row);
        self.changed.send_replace(());
    }

    /// Changes an instance's row.
    pub(crate) fn change(&self, id: &InstanceId, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.lock().get_mut(id) {
            change(row);
        }
        self.changed.send_replace(());
    }

    /// Forgets an instance.
    pub(crate) fn remove(&self, id: &InstanceId) {
        self.lock().remove(id);
        self.changed.send_replace(());
    }

    /// Waits until `find` finds something, looking again after each change.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn wait_for<T>(&self, mut find: impl FnMut(&BTreeMap<InstanceId, Row>) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(found) = find(&self.lock()) {
                return found;
            }
            changed.changed().await.expect("the sender is ours");
        }
    }

    /// What is found now.
    pub(crate) fn look<T>(&self, find: impl FnOnce(&BTreeMap<InstanceId, Row>) -> T) -> T {
        find(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
