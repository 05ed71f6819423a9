//! What devices say that is no reading, and what they are told: the work of one connection.

use std::{convert::Infallible, time::Duration};

use bowline::runtime::time;
use bytes::Bytes;
use iot_mqtt::topic::{self, Said};
use rumqttc_v4::Publish;
use tokio::sync::mpsc;

use crate::{
    broker::Kind,
    counts::Refusal,
    device::Message,
    link::{Connection, Lost},
    mosquitto, publish,
    repository::{DeviceRepository, Error},
    service::{DeviceService, now_ms},
};

/// Answers of Mosquitto that wait to be looked at; it has one question at a time.
const ANSWERS_MAX: usize = 16;

/// How long is waited after the database did not take something.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a message is tried that the database refuses, and not because of how it is now: no message stops a session.
const TRIES_MAX: usize = 3;

/// Hears and tells devices until the connection is lost.
pub(crate) async fn run<R: DeviceRepository>(
    devices: &DeviceService<R>,
    kind: Kind,
    connection: Connection,
    arrivals: mpsc::Receiver<Publish>,
) -> Result<Infallible, Lost> {
    let (answer, answers) = mpsc::channel(ANSWERS_MAX);
    tokio::select! {
        heard = hear(devices, &connection, arrivals, &answer) => heard,
        told = publish::run(devices, kind, &connection, answers) => told,
    }
}

/// Hears one message after the other: what was said last counts.
async fn hear<R: DeviceRepository>(
    devices: &DeviceService<R>,
    connection: &Connection,
    mut arrivals: mpsc::Receiver<Publish>,
    answer: &mpsc::Sender<Bytes>,
) -> Result<Infallible, Lost> {
    loop {
        let publish = arrivals.recv().await.ok_or(Lost::Over)?;
        let topic = String::from_utf8_lossy(&publish.topic);
        if topic == mosquitto::ANSWERS {
            // Whoever asked and waits no longer does not want it.
            answer.try_send(publish.payload.clone()).ok();
        } else if let Some(said) = topic::parse(&topic) {
            take(devices, said, &publish).await;
            forget_status(devices, connection, said, &publish).await?;
        }
        connection.acknowledge(&publish).await?;
    }
}

/// Takes what a device said, however long it takes, unless it is the message that the database does not take.
async fn take<R: DeviceRepository>(devices: &DeviceService<R>, said: (&str, Said), publish: &Publish) {
    let mut tries = 0;
    while let Err(error) = devices.hear(said, &publish.payload, publish.retain, now_ms()).await {
        tries += 1;
        if tries >= TRIES_MAX && !error.retryable() {
            let cause = &error as &dyn std::error::Error;
            tracing::error!(device = said.0, error = cause, "what a device said is left out");
            devices.counts.refuse(said.0, said.1, Refusal::Unkept);
            return;
        }
        wait_for_the_database(&error).await;
    }
}

/// What the broker remembers of a device that is gone, as its last will, is remembered no longer.
async fn forget_status<R: DeviceRepository>(
    devices: &DeviceService<R>,
    connection: &Connection,
    (device, said): (&str, Said),
    publish: &Publish,
) -> Result<(), Lost> {
    if said == Said::Status && !publish.payload.is_empty() && !devices.fleet.knows(device) {
        connection.publish(Message::retained(topic::status(device), Vec::new())).await?;
    }
    Ok(())
}

/// The database fails: that is said, and it has a moment.
pub(crate) async fn wait_for_the_database(error: &Error) {
    tracing::error!(error = error as &dyn std::error::Error, "the database fails, it is tried again");
    time::sleep(PAUSE).await;
}
