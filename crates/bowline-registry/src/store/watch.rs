//! The store's events as instances.

use bowline_model::{InstanceId, ServiceName};
use bowline_runtime::BoxFuture;
use bowline_store::{Change, Error as StoreError, Revision, Update, Watch};

use super::{PREFIX, view};
use crate::{Error, InstanceChange, InstanceEvent, InstanceWatch};

/// A watch of instances.
#[derive(Debug)]
pub(super) struct Instances {
    watch: Watch,
    service: Option<ServiceName>,
    revision: Revision,
}

impl Instances {
    pub(super) fn new(watch: Watch, service: Option<ServiceName>, from: Revision) -> Self {
        Self { watch, service, revision: from }
    }

    fn convert(&self, change: &Change) -> Option<InstanceChange> {
        let (change, service) = match change {
            Change::Put(entry) => {
                let instance = view::parse(entry)?;
                let service = instance.service.clone();
                (InstanceChange::Put(instance), service)
            }
            Change::Delete { key, previous } => {
                let id = InstanceId::new(key.strip_prefix(PREFIX)?).ok()?;
                let service = view::parse(previous)?.service;
                (InstanceChange::Delete { id, service: service.clone() }, service)
            }
        };
        self.service.as_ref().is_none_or(|wanted| *wanted == service).then_some(change)
    }
}

impl InstanceWatch for Instances {
    fn next(&mut self) -> BoxFuture<'_, Result<InstanceEvent, Error>> {
        Box::pin(async {
            loop {
                match self.watch.next_update().await.map_err(error)? {
                    Update::UpTo(revision) => self.revision = revision,
                    Update::Event(event) => {
                        self.revision = self.revision.max(event.revision.saturating_sub(1));
                        if let Some(change) = self.convert(&event.change) {
                            return Ok(InstanceEvent { revision: event.revision, change });
                        }
                    }
                }
            }
        })
    }

    fn revision(&self) -> Option<Revision> {
        Some(self.revision)
    }
}

/// A store's refusal to watch, in the registry's words.
pub(super) fn error(error: StoreError) -> Error {
    match error {
        StoreError::Compacted { oldest } => Error::Compacted { oldest },
        StoreError::Future { .. } => Error::OtherHistory,
        StoreError::Lagged { .. } => Error::Lagged,
        error => Error::Store(error),
    }
}
