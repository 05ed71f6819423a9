//! Where devices are kept, in SQLite or PostgreSQL: one body for both.
//!
//! What is to be published is written here first, with a version, and noted as published by that version: so what
//! changes meanwhile is published again. What is decided is decided under the lock of the device's row.

mod commands;
mod devices;
mod publishing;

use std::collections::BTreeMap;

use bowline::{
    Code, HandlerError, messages,
    messages::Topic,
    sql::{self, Outbox},
};
use example_sql::{Db, Sql};
use iot_mqtt::{Ack, Presence, Reported};

use crate::{
    broker::Kind,
    device::{Command, Credential, Device, Due, NewCommand, NewDevice, Object, Shadow},
};

/// The most commands of a device that have not ended.
pub(crate) const COMMANDS_OPEN_MAX: i64 = 100;

/// The most rows that are forgotten in one statement, so that nobody waits for long.
pub(crate) const FORGOTTEN_MAX: i64 = 1000;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the database failed")]
    Database(#[from] sql::Error),
    #[error("that a device is removed cannot be told")]
    Message(#[from] messages::Error),
    #[error("what is kept is no JSON")]
    Kept(#[from] serde_json::Error),
    #[error("there is a state that nobody knows")]
    State,
}

impl Error {
    /// Whether the same may be done later.
    pub(crate) fn retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.retryable())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Error> for HandlerError {
    fn from(error: Error) -> Self {
        if error.retryable() {
            return Self::new(Code::Unavailable, "the database cannot take it now, ask again");
        }
        Self::internal(error)
    }
}

/// What became of a device that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adding {
    Added,
    /// There is one of that id.
    Taken,
    /// There was one, until then.
    Removed(i64),
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Desiring {
    Desired(Shadow),
    /// It is of that version, and not of the one that was said.
    OtherVersion(i64),
    NoDevice,
}

/// What became of a command that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commanding {
    Waiting,
    /// The device has [`COMMANDS_OPEN_MAX`] already.
    TooMany,
    NoDevice,
}

/// What the service needs of its store. Whatever is answered is durable.
pub(crate) trait DeviceRepository: Send + Sync + 'static {
    /// Adds a device.
    fn add(&self, new: &NewDevice) -> impl Future<Output = Result<Adding, Error>> + Send;

    /// Gives a device another credential; whether there is one.
    fn renew(&self, device: &str, credential: &Credential) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Removes a device, and has it told so; whether there was one.
    fn remove(&self, device: &str, now_ms: i64) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The device of that id.
    fn find(&self, device: &str) -> impl Future<Output = Result<Option<Device>, Error>> + Send;

    /// Up to so many devices behind an id, by their ids.
    fn list(&self, after: &str, limit: i64) -> impl Future<Output = Result<Vec<Device>, Error>> + Send;

    /// The shadow of a device.
    fn shadow(&self, device: &str) -> impl Future<Output = Result<Option<Shadow>, Error>> + Send;

    /// Changes what is desired of a device, where it is of that version, if one is said.
    fn desire(
        &self,
        device: &str,
        desired: &Object,
        version: Option<i64>,
    ) -> impl Future<Output = Result<Desiring, Error>> + Send;

    /// Keeps what a device says it is in; what it applied before does not take the place of what it applied since, nor what
    /// the broker remembers that of what it said since.
    fn report(
        &self,
        device: &str,
        reported: &Reported,
        is_remembered: bool,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps whether a device is there. Where it comes, its commands are to be published again; so they are where it
    /// says so itself, however short it was away, and it has not been the broker that remembered it.
    fn present(
        &self,
        device: &str,
        presence: Presence,
        is_remembered: bool,
        now_ms: i64,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Adds a command.
    fn command(&self, new: &NewCommand, now_ms: i64) -> impl Future<Output = Result<Commanding, Error>> + Send;

    /// A command of a device.
    fn find_command(&self, device: &str, id: &str) -> impl Future<Output = Result<Option<Command>, Error>> + Send;

    /// Ends a command as its device says; whether it had neither ended nor expired.
    fn acknowledge(&self, device: &str, ack: &Ack, now_ms: i64) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Has everything published again where the broker is of another kind than before, or has forgotten what it had; how
    /// many devices that concerns whose tokens are not there any more.
    fn meet(&self, kind: Kind, has_forgotten: bool) -> impl Future<Output = Result<i64, Error>> + Send;

    /// Up to so much of each kind that is to be published.
    fn due(&self, now_ms: i64, limit: i64) -> impl Future<Output = Result<Vec<Due>, Error>> + Send;

    /// Notes that it was.
    fn published(&self, due: &[Due]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps when the last readings of devices were stored.
    fn heard(&self, last: &BTreeMap<String, i64>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends the commands whose time is over; how many it were.
    fn expire(&self, now_ms: i64) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Forgets up to [`FORGOTTEN_MAX`] commands that ended before a moment; how many it were.
    fn forget(&self, before_ms: i64) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Forgets up to [`FORGOTTEN_MAX`] devices that were removed before a moment, and of which the broker was told; how many
    /// it were.
    fn free(&self, before_ms: i64) -> impl Future<Output = Result<u64, Error>> + Send;
}

/// Devices in a database.
#[derive(Debug)]
pub(crate) struct SqlDevices<DB: Db> {
    pub(crate) sql: Sql<DB>,
    outbox: Outbox<DB>,
    /// Where it is told which devices are removed.
    removed: Topic,
}

impl<DB: Db> SqlDevices<DB> {
    /// The devices of a database, and where it is told which are removed.
    pub(crate) fn new(sql: Sql<DB>, removed: Topic) -> Self {
        Self { outbox: Outbox::new(sql.pool().clone()), sql, removed }
    }

    /// Where messages wait that tell of removed devices.
    pub(crate) fn outbox(&self) -> &Outbox<DB> {
        &self.outbox
    }
}

impl<DB: Db> DeviceRepository for SqlDevices<DB> {
    async fn add(&self, new: &NewDevice) -> Result<Adding, Error> {
        self.insert_device(new).await
    }

    async fn renew(&self, device: &str, credential: &Credential) -> Result<bool, Error> {
        self.update_credential(device, credential).await
    }

    async fn remove(&self, device: &str, now_ms: i64) -> Result<bool, Error> {
        self.mark_removed(device, now_ms).await
    }

    async fn find(&self, device: &str) -> Result<Option<Device>, Error> {
        self.select_device(device).await
    }

    async fn list(&self, after: &str, limit: i64) -> Result<Vec<Device>, Error> {
        self.select_devices(after, limit).await
    }

    async fn shadow(&self, device: &str) -> Result<Option<Shadow>, Error> {
        self.select_shadow(device).await
    }

    async fn desire(&self, device: &str, desired: &Object, version: Option<i64>) -> Result<Desiring, Error> {
        self.update_desired(device, desired, version).await
    }

    async fn report(&self, device: &str, reported: &Reported, is_remembered: bool) -> Result<(), Error> {
        self.update_reported(device, reported, is_remembered).await
    }

    async fn present(&self, device: &str, presence: Presence, is_remembered: bool, now_ms: i64) -> Result<(), Error> {
        self.update_presence(device, presence, is_remembered, now_ms).await
    }

    async fn command(&self, new: &NewCommand, now_ms: i64) -> Result<Commanding, Error> {
        self.insert_command(new, now_ms).await
    }

    async fn find_command(&self, device: &str, id: &str) -> Result<Option<Command>, Error> {
        self.select_command(device, id).await
    }

    async fn acknowledge(&self, device: &str, ack: &Ack, now_ms: i64) -> Result<bool, Error> {
        self.end_command(device, ack, now_ms).await
    }

    async fn meet(&self, kind: Kind, has_forgotten: bool) -> Result<i64, Error> {
        self.note_broker(kind, has_forgotten).await
    }

    async fn due(&self, now_ms: i64, limit: i64) -> Result<Vec<Due>, Error> {
        self.select_due(now_ms, limit).await
    }

    async fn published(&self, due: &[Due]) -> Result<(), Error> {
        self.note_published(due).await
    }

    async fn heard(&self, last: &BTreeMap<String, i64>) -> Result<(), Error> {
        self.update_heard(last).await
    }

    async fn expire(&self, now_ms: i64) -> Result<u64, Error> {
        self.expire_commands(now_ms).await
    }

    async fn forget(&self, before_ms: i64) -> Result<u64, Error> {
        self.delete_commands(before_ms).await
    }

    async fn free(&self, before_ms: i64) -> Result<u64, Error> {
        self.delete_removed(before_ms).await
    }
}
