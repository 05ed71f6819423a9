//! The service on SQLite and on a real PostgreSQL, with a broker of ours and a real Mosquitto, and devices of both versions.

mod client;
mod http;
mod rules;
mod spoken;
mod world;

use std::time::Duration;

use bowline::{Microservice, Settings, runtime::metric::Registry};
use example_sql::{Db, testing::Fixture};
use serde_json::Value;

use crate::{
    broker::Kind,
    device::Object,
    repository::{DeviceRepository as _, SqlDevices},
    service::{DeviceService, Provisioning, now_ms},
};

/// How long anything may take: a Mosquitto that syncs its files on a disk that others use stands still for half a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// The service on a database of that kind.
type Devices<DB> = DeviceService<SqlDevices<DB>>;

/// The service, as it is after a start.
async fn load<DB: Db>(fixture: &Fixture<DB>, kind: Kind) -> Devices<DB> {
    let sql = fixture.open(&sqlx::migrate!()).await.with_messages().await.unwrap();
    let service = Microservice::new(Settings::from_vars("device", []).unwrap());
    let repository = SqlDevices::new(sql, service.topic("device.removed"));
    DeviceService::load(repository, kind, &Registry::default()).await.unwrap()
}

/// A JSON object.
fn object(value: &Value) -> Object {
    value.as_object().unwrap().clone()
}

/// Adds a device of that id; its token.
async fn add<DB: Db>(devices: &Devices<DB>, id: &str) -> String {
    let asked = Provisioning { id: Some(id.to_owned()), name: None };
    devices.provision(asked, now_ms()).await.unwrap().token.0
}

/// Notes everything as published, as if a broker had it.
async fn publish_all<DB: Db>(devices: &Devices<DB>, now_ms: i64) {
    let due = devices.repository.due(now_ms, 1000).await.unwrap();
    devices.repository.published(&due).await.unwrap();
}
