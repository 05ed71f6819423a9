//! Hands readings to data: as many as are there at a time, and the broker is told once data has stored them.
//!
//! While data is away, they wait with the broker. What data stored and its answer was lost, or the broker was not told of,
//! comes again; data knows readings by their numbers.

use std::{convert::Infallible, time::Duration};

use axum::http::StatusCode;
use bowline::{ServiceClient, runtime::time};
use iot_mqtt::topic;
use rumqttc_v4::Publish;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use tokio::sync::mpsc;

use crate::{
    control::wait_for_the_database,
    counts::Refusal,
    link::{Connection, Lost},
    repository::DeviceRepository,
    service::{DeviceService, now_ms},
};

/// The most readings that data takes at once.
pub(crate) const BATCH_MAX: usize = 1000;

/// How long is waited after data did not take something: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A reading as data knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Reading {
    pub(crate) device: String,
    #[serde(flatten)]
    pub(crate) read: iot_mqtt::Reading,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Receipt {
    pub(crate) stored: usize,
    pub(crate) duplicates: usize,
    pub(crate) refused: usize,
}

/// Why a batch was not stored.
#[derive(Debug)]
pub(crate) enum Unstored {
    /// It will never be.
    Refused(String),
    /// It may be later.
    Failed(String),
}

/// Who stores readings.
pub(crate) trait Data: Send + Sync + 'static {
    /// Stores them, each once however often it comes.
    fn store(&self, readings: &[Reading]) -> impl Future<Output = Result<Receipt, Unstored>> + Send;
}

#[derive(Debug, Serialize)]
struct Batch<'a> {
    readings: &'a [Reading],
}

#[derive(Debug, Deserialize)]
struct Answer {
    stored: usize,
    duplicates: usize,
    refused: Vec<IgnoredAny>,
}

impl Data for ServiceClient {
    async fn store(&self, readings: &[Reading]) -> Result<Receipt, Unstored> {
        match self.post("/readings").body(&Batch { readings }).json().await {
            Ok(Answer { stored, duplicates, refused }) => Ok(Receipt { stored, duplicates, refused: refused.len() }),
            Err(error) if is_refusal(error.status()) => Err(Unstored::Refused(error.to_string())),
            Err(error) => Err(Unstored::Failed(error.to_string())),
        }
    }
}

/// Whether an answer says that these readings will never be taken.
fn is_refusal(status: Option<StatusCode>) -> bool {
    let refusals = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
    status.is_some_and(|status| refusals.contains(&status))
}

/// What is handed over together.
#[derive(Debug, Default)]
struct Collected {
    readings: Vec<Reading>,
    /// Those that it came in, and those that are done with otherwise.
    messages: Vec<Publish>,
}

/// Hands over what comes until the connection is lost.
pub(crate) async fn run<R: DeviceRepository, D: Data>(
    devices: &DeviceService<R>,
    data: &D,
    connection: Connection,
    mut arrivals: mpsc::Receiver<Publish>,
) -> Result<Infallible, Lost> {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(parsed) => parsed,
            None => parse(devices, arrivals.recv().await.ok_or(Lost::Over)?).await,
        };
        let mut collected = Collected::default();
        collected.add(first);
        while collected.readings.len() < BATCH_MAX
            && let Ok(publish) = arrivals.try_recv()
        {
            let parsed = parse(devices, publish).await;
            if collected.readings.len() + parsed.1.len() > BATCH_MAX {
                next = Some(parsed);
                break;
            }
            collected.add(parsed);
        }
        store(devices, data, &collected.readings).await;
        for message in &collected.messages {
            connection.acknowledge(message).await?;
        }
    }
}

impl Collected {
    fn add(&mut self, (message, readings): (Publish, Vec<Reading>)) {
        self.messages.push(message);
        self.readings.extend(readings);
    }
}

/// The readings of a message; none where it has none that may be taken.
async fn parse<R: DeviceRepository>(devices: &DeviceService<R>, message: Publish) -> (Publish, Vec<Reading>) {
    let topic = String::from_utf8_lossy(&message.topic);
    let mut readings = Vec::new();
    if let Some((device, said)) = topic::parse(&topic) {
        match iot_mqtt::readings(&message.payload) {
            _ if !knows(devices, device).await => devices.counts.refuse(device, said, Refusal::NoDevice),
            Ok(read) => {
                readings.extend(read.into_iter().map(|read| Reading { device: device.to_owned(), read }));
            }
            Err(why) => devices.counts.refuse(device, said, Refusal::Malformed(&why)),
        }
    }
    drop(topic);
    (message, readings)
}

/// Whether there is such a device, however long it takes to find out.
async fn knows<R: DeviceRepository>(devices: &DeviceService<R>, device: &str) -> bool {
    loop {
        match devices.knows(device).await {
            Ok(knows) => return knows,
            Err(error) => wait_for_the_database(&error).await,
        }
    }
}

/// Has readings stored, however long it takes. What data refuses as a whole is asked for in halves, so that one reading
/// that it does not take is no other's fault.
async fn store<R: DeviceRepository, D: Data>(devices: &DeviceService<R>, data: &D, readings: &[Reading]) {
    let (mut parts, (first, most)) = (vec![readings], PAUSES);
    let mut pause = first;
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match data.store(part).await {
            Ok(receipt) => {
                devices.take(part, receipt);
                pause = first;
            }
            Err(Unstored::Refused(error)) if part.len() == 1 => {
                tracing::error!(device = part[0].device, error, "data refused a reading, it is left out");
                devices.take(&[], Receipt { refused: 1, ..Receipt::default() });
            }
            Err(Unstored::Refused(_)) => {
                let (begin, end) = part.split_at(part.len() / 2);
                parts.extend([end, begin]);
            }
            Err(Unstored::Failed(error)) => {
                devices.counts.failures.increment();
                tracing::warn!(error, count = part.len(), "data did not store readings, it is asked again");
                parts.push(part);
                time::sleep(pause).await;
                pause = (2 * pause).min(most);
            }
        }
    }
}

impl<R: DeviceRepository> DeviceService<R> {
    /// Notes what became of readings, and whose are stored.
    fn take(&self, readings: &[Reading], receipt: Receipt) {
        let (Receipt { stored, duplicates, refused }, counts) = (receipt, &self.counts);
        for (counter, count) in [(&counts.stored, stored), (&counts.duplicates, duplicates), (&counts.refused, refused)]
        {
            counter.add(u64::try_from(count).unwrap_or(u64::MAX));
        }
        let now_ms = now_ms();
        for reading in readings {
            self.fleet.heard(&reading.device, now_ms);
        }
    }
}
