//! The broker as a service of the system: who may connect, and the port.
//!
//! What comes of its environment: `IOT_MQTT_LISTEN` (127.0.0.1:1883), `IOT_BROKER_DIR` (`.bowline/broker`), and
//! `IOT_SERVICES_PASSWORD`, by which services of the system show that they are such.

mod accounts;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::Router;
use bowline::Microservice;
use iot_broker::{Broker, Settings};

use crate::accounts::Accounts;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("broker")?;
    let listen: SocketAddr =
        variable("IOT_MQTT_LISTEN", Some("127.0.0.1:1883"))?.parse().context("IOT_MQTT_LISTEN is no IP:PORT")?;
    let settings = Settings::new(listen, variable("IOT_BROKER_DIR", Some(".bowline/broker"))?);
    let accounts = Arc::new(Accounts::new(&variable("IOT_SERVICES_PASSWORD", None)?));
    let broker = Arc::new(Broker::start(settings, accounts.clone(), service.metrics()).await?);
    accounts.read_from(&broker);
    tracing::info!(addr = %broker.addr(), "the broker listens");
    let watched = Arc::downgrade(&broker);
    let service = service.ready_when(move || {
        let is_writing = watched.upgrade().is_some_and(|broker| broker.is_writing());
        async move { is_writing.then_some(()).ok_or_else(|| "the journal cannot be written".to_owned()) }
    });
    let served = service.serve(Router::new()).await;
    if let Some(broker) = Arc::into_inner(broker) {
        broker.stop().await;
    }
    Ok(served?)
}

/// What the environment says.
fn variable(name: &str, otherwise: Option<&str>) -> anyhow::Result<String> {
    match (std::env::var(name), otherwise) {
        (Ok(value), _) => Ok(value),
        (Err(std::env::VarError::NotPresent), Some(otherwise)) => Ok(otherwise.to_owned()),
        (Err(error), _) => Err(error).with_context(|| format!("{name} is not set")),
    }
}
