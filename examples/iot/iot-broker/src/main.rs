//! The broker as a service of the system: who may connect, and the port.
//!
//! What comes of its environment: `IOT_MQTT_LISTEN` (127.0.0.1:1883), `IOT_BROKER_DIR` (`.bowline/broker`), and
//! `IOT_SERVICES_PASSWORD`, by which services of the system show that they are such.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use bowline::Microservice;
use iot_broker::{Accounts, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("broker")?;
    let listen: SocketAddr =
        variable("IOT_MQTT_LISTEN", Some("127.0.0.1:1883"))?.parse().context("IOT_MQTT_LISTEN is no IP:PORT")?;
    let settings = Settings::new(listen, variable("IOT_BROKER_DIR", Some(".bowline/broker"))?);
    let broker = Accounts::start(settings, &variable("IOT_SERVICES_PASSWORD", None)?, service.metrics()).await?;
    tracing::info!(addr = %broker.addr(), "the broker listens");
    let handle = broker.handle();
    let service = service.ready_when(move || {
        let is_writing = handle.is_writing();
        async move { is_writing.then_some(()).ok_or_else(|| "the journal cannot be written".to_owned()) }
    });
    let served = service.serve(Router::new()).await;
    broker.stop().await;
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
