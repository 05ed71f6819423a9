//! The broker as a service of the system: where it listens, and who may connect.
//!
//! `IOT_SERVICES_PASSWORD` is the password by which services of the system show that they are such. It comes from the
//! environment alone, so that nobody reads it in a list of processes.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use axum::Router;
use bowline::Microservice;
use clap::Parser;
use iot_broker::{Accounts, Settings};

/// Where the services' password comes from.
const PASSWORD: &str = "IOT_SERVICES_PASSWORD";

/// An MQTT broker for 3.1.1 and 5; `IOT_SERVICES_PASSWORD` in its environment is the password of services.
#[derive(Debug, Parser)]
struct Args {
    /// Where it listens for MQTT
    #[arg(long, env = "IOT_MQTT_LISTEN", default_value = "127.0.0.1:1883")]
    listen: SocketAddr,
    /// The folder of its journal
    #[arg(long, env = "IOT_BROKER_DIR", default_value = ".bowline/broker")]
    dir: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { listen, dir } = Args::parse();
    let password = std::env::var(PASSWORD).with_context(|| format!("{PASSWORD} is not set"))?;
    let service = Microservice::from_env("broker")?;
    let settings = Settings::new(listen, dir);
    let broker = Accounts::start(settings, &password, service.metrics()).await?;
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
