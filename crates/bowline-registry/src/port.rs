//! The port: what a registry promises, near or remote.

use std::time::Duration;

use bowline_model::{Health, Instance, InstanceId, ServiceName};
use bowline_runtime::BoxFuture;
use bowline_store::{HistoryId, Revision};

use crate::Error;

/// The most ids of one heartbeat.
pub const HEARTBEATS_MAX: usize = 10_000;

/// The most instances of one registry, and of one answer.
pub const INSTANCES_MAX: usize = 200_000;

/// Who runs where; shared by everybody in the process.
pub trait Registry: Send + Sync + 'static {
    /// Registers an instance, or replaces the one of that id; answers from which revision on it is
    /// seen. With a `ttl` it is gone unless a heartbeat comes in time, without it stays until it
    /// is deregistered. Registering the same again only renews.
    ///
    /// # Errors
    /// [`Error::InvalidInstance`] or [`Error::Invalid`] when the instance or the `ttl` (1 s to
    /// 1 h) breaks a bound.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    fn register(&self, instance: Instance, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision, Error>>;

    /// Renews the leases of up to [`HEARTBEATS_MAX`] instances; an answer for each, in their order.
    fn heartbeat(&self, ids: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>>;

    /// Removes an instance; whether it was there.
    fn deregister(&self, id: &InstanceId) -> BoxFuture<'_, Result<bool, Error>>;

    /// The instances that match, sorted by id, and the revision to watch from.
    fn discover(&self, query: &Query) -> BoxFuture<'_, Result<Discovered, Error>>;

    /// Every service that has an instance, sorted by name.
    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>>;

    /// Every change after the revision `from` to an instance of the query's service (or of any):
    /// in order, none missed, none twice. The query's other filters are refused.
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::OtherHistory`]: discover anew.
    fn watch(&self, query: &Query, from: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>>;
}

/// Changes of instances, one after the other. Dropping it ends the watch.
pub trait InstanceWatch: Send {
    /// Waits for the next change. After an error the watch is over.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call answers the same change.
    fn next(&mut self) -> BoxFuture<'_, Result<InstanceEvent, Error>>;

    /// The revision to resume from: all up to it was told.
    ///
    /// After a change it is at least the revision before that of the change, of which more may
    /// follow. It grows also while `next` waits (which is dropped to ask), so that whoever resumes
    /// is not behind what the history keeps.
    fn revision(&self) -> Option<Revision> {
        None
    }
}

/// Which instances are asked for; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Those of this service.
    pub service: Option<ServiceName>,
    /// Those of this health.
    pub health: Option<Health>,
    /// Those with a greater id.
    pub after: Option<InstanceId>,
    /// So many at most; absent: [`INSTANCES_MAX`].
    pub limit: Option<usize>,
    /// For a watch: the history its revision is of; refused with [`Error::OtherHistory`] by a
    /// registry of another one.
    pub history: Option<HistoryId>,
}

/// Instances at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Watch from here to miss nothing.
    pub revision: Revision,
    /// The history the revision is of; absent when the registry does not tell.
    pub history: Option<HistoryId>,
    /// The instances, sorted by id.
    pub instances: Vec<Instance>,
    /// Whether the query's limit left some off.
    pub more: bool,
}

/// A service with its counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSummary {
    /// Its name.
    pub name: ServiceName,
    /// Instances registered.
    pub instances: usize,
    /// Of these, the healthy ones.
    pub healthy: usize,
}

/// What became of one heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// Whose.
    pub id: InstanceId,
    /// Whether it is registered; if not, register again.
    pub known: bool,
    /// The lease's lifetime from now; absent where there is no lease.
    pub ttl: Option<Duration>,
}

/// A change of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEvent {
    /// Resume from here.
    pub revision: Revision,
    /// What happened.
    pub change: InstanceChange,
}

/// What happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceChange {
    /// It came or changed.
    Put(Instance),
    /// It went: deregistered, expired, or registered anew for another service.
    Delete {
        /// Its id.
        id: InstanceId,
        /// What it was a copy of.
        service: ServiceName,
    },
}

impl Query {
    /// All instances of one service.
    pub fn service(service: ServiceName) -> Self {
        Self { service: Some(service), ..Self::default() }
    }
}
