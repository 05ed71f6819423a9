//! The device service: who may connect, what state devices are in, what they are told, and what they say.
//!
//! It alone speaks MQTT inside the system, over two sessions with the broker that outlive its connections: one takes
//! readings and hands them to `data`, the other everything else, so that devices are heard and told while `data` is away.
//! It is one instance: a second would take its sessions over.
//!
//! `IOT_SERVICES_PASSWORD`, or the file `IOT_SERVICES_PASSWORD_FILE`, has the password by which it shows the broker that it
//! is a service; whoever of them starts first makes that file.

mod api;
mod broker;
mod control;
mod counts;
mod device;
mod fleet;
mod forward;
mod link;
mod mosquitto;
mod publish;
mod repository;
mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bowline::{Microservice, sql::RelaySettings};
use clap::Parser;
use example_sql::{Db, Opened, Sql};

use crate::{
    broker::{Broker, Kind},
    repository::SqlDevices,
    service::DeviceService,
};

/// Keeps devices, and speaks MQTT with them; `IOT_SERVICES_PASSWORD` in its environment is the password of services, or
/// `IOT_SERVICES_PASSWORD_FILE` names the file that has it.
#[derive(Debug, Parser)]
struct Args {
    /// Where the MQTT broker is, HOST:PORT
    #[arg(long, env = "IOT_MQTT", default_value = "127.0.0.1:1883")]
    mqtt: String,
    /// What kind of broker it is, by which it is told who may connect
    #[arg(long, env = "IOT_MQTT_KIND", value_enum, default_value_t = Kind::Embedded)]
    kind: Kind,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { mqtt, kind } = Args::parse();
    let broker = Broker::new(&mqtt, kind, iot_mqtt::services_password()?)?;
    let service = Microservice::from_env("device")?;
    match example_sql::open(service.own_database()?, &sqlx::migrate!()).await?.with_messages().await? {
        Opened::Sqlite(sql) => serve(service, sql, broker).await,
        Opened::Postgres(sql) => serve(service, sql, broker).await,
    }
}

async fn serve<DB: Db>(mut service: Microservice, sql: Sql<DB>, broker: Broker) -> anyhow::Result<()> {
    let repository = SqlDevices::new(sql, service.topic("device.removed"));
    service.relay(repository.outbox(), RelaySettings::default());
    let devices = DeviceService::load(repository, broker.kind, service.metrics()).await?;
    let (devices, data) = (Arc::new(devices), Arc::new(service.client("data")));
    let _running = link::start(&devices, &data, &broker);
    Ok(service.serve(api::app(devices)).await?)
}
