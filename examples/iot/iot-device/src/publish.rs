//! Tells the broker what is to be told, until it has it.

use std::{convert::Infallible, sync::atomic::Ordering::Relaxed, time::Duration};

use bowline::runtime::time;
use bytes::Bytes;
use iot_mqtt::topic;
use tokio::sync::mpsc;

use crate::{
    broker::Kind,
    control::wait_for_the_database,
    device::{Due, Message},
    link::{ANSWERED_WITHIN, Connection, Lost},
    mosquitto::Plugin,
    repository::DeviceRepository,
    service::{DeviceService, now_ms},
};

/// The most of each kind that is told at once.
const TOLD_MAX: i64 = 100;

/// How often is looked whether there is something, where nobody says so.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Publishes until the connection is lost; what was not acknowledged by then is published over the next one.
pub(crate) async fn run<R: DeviceRepository>(
    devices: &DeviceService<R>,
    kind: Kind,
    connection: &Connection,
    answers: mpsc::Receiver<Bytes>,
) -> Result<Infallible, Lost> {
    meet(devices, kind, connection).await;
    let mut plugin = Plugin::new(connection, answers);
    if kind == Kind::Mosquitto {
        plugin.let_services_in().await?;
    }
    loop {
        let due = match devices.repository.due(now_ms(), TOLD_MAX).await {
            Ok(due) => due,
            Err(error) => {
                wait_for_the_database(&error).await;
                continue;
            }
        };
        if due.is_empty() {
            // Nobody may have said so where the answer of the database was lost.
            let _is_told_of = time::timeout(LOOK_EVERY, devices.due.notified()).await;
            continue;
        }
        if kind == Kind::Mosquitto {
            for due in &due {
                plugin.tell(due).await?;
            }
        }
        publish_all(connection, messages(kind, &due)?).await?;
        // The broker has it: it would only be told again.
        while let Err(error) = devices.repository.published(&due).await {
            wait_for_the_database(&error).await;
        }
    }
}

/// Has all told again to a broker that is another than before, or that has lost what it had.
async fn meet<R: DeviceRepository>(devices: &DeviceService<R>, kind: Kind, connection: &Connection) {
    loop {
        match devices.repository.meet(kind, connection.has_forgotten.load(Relaxed)).await {
            Ok(unknown) => {
                connection.has_forgotten.store(false, Relaxed);
                if kind == Kind::Mosquitto && unknown > 0 {
                    tracing::warn!(devices = unknown, "those of the devices that it does not know need a new token");
                }
                return;
            }
            Err(error) => wait_for_the_database(&error).await,
        }
    }
}

/// All messages of what is to be told, in its order.
fn messages(kind: Kind, due: &[Due]) -> Result<Vec<Message>, Lost> {
    let mut messages = Vec::new();
    for due in due {
        match due {
            Due::Account { device, credential, .. } if kind == Kind::Embedded => {
                messages.push(Message::retained(topic::account(device), credential.hash.as_str()));
            }
            Due::Removal { device } if kind == Kind::Embedded => {
                messages.push(Message::retained(topic::account(device), Vec::new()));
            }
            _ => {}
        }
        messages.extend(due.messages()?);
    }
    Ok(messages)
}

/// Publishes messages; when this returns the broker has them.
pub(crate) async fn publish_all(connection: &Connection, messages: Vec<Message>) -> Result<(), Lost> {
    let publishing = async {
        let mut notices = Vec::new();
        for message in messages {
            notices.push(connection.publish(message).await?);
        }
        for notice in notices {
            notice.wait_completion_async().await?;
        }
        Ok(())
    };
    time::timeout(ANSWERED_WITHIN, publishing).await.unwrap_or(Err(Lost::Silent))
}
