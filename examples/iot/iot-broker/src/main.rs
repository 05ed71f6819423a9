//! The broker as a service of the system: where it listens, and who may connect.
//!
//! `IOT_SERVICES_PASSWORD`, or the file `IOT_SERVICES_PASSWORD_FILE`, has the password by which services of the system show
//! that they are such; whoever of them starts first makes that file.

use std::{net::SocketAddr, path::PathBuf};

use axum::Router;
use bowline::Microservice;
use clap::Parser;
use iot_broker::{Accounts, Settings};

/// An MQTT broker for 3.1.1 and 5; `IOT_SERVICES_PASSWORD` in its environment is the password of services, or
/// `IOT_SERVICES_PASSWORD_FILE` names the file that has it.
#[derive(Debug, Parser)]
struct Args {
    /// Where it listens for MQTT
    #[arg(long, env = "BOWLINE_LISTEN_MQTT", default_value = "127.0.0.1:1883")]
    listen: SocketAddr,
    /// The folder of its journal
    #[arg(long, env = "IOT_BROKER_DIR", default_value = ".bowline/broker")]
    dir: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { listen, dir } = Args::parse();
    let password = iot_mqtt::services_password()?;
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
