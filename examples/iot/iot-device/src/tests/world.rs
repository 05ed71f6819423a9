//! The service with a broker, a data service that does as it is told, and devices.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bowline::runtime::{
    metric::Registry,
    task::{self, Guarded},
    time,
};
use bowline_testkit::{TempDir, eventually, mosquitto, temp_dir};
use example_sql::{Db, testing::Fixture};
use iot_broker::{Accounts, Settings};

use super::{
    Devices, PATIENCE,
    client::{Client, Version},
    load,
};
use crate::{
    broker::{Broker, Kind},
    forward::{BATCH_MAX, Data, Reading, Receipt, Unstored},
    link,
    repository::DeviceRepository as _,
    service::now_ms,
};

const PASSWORD: &str = "secret";

/// A broker that can be ended and started again.
pub(super) enum Place {
    Ours { broker: Option<iot_broker::Broker>, addr: SocketAddr, dir: TempDir },
    Theirs(mosquitto::Server),
}

impl Place {
    pub(super) async fn ours() -> Self {
        let dir = temp_dir();
        let broker = start(([127, 0, 0, 1], 0).into(), &dir).await.unwrap();
        Self::Ours { addr: broker.addr(), broker: Some(broker), dir }
    }

    /// None where it is not installed, which is said.
    pub(super) fn theirs() -> Option<Self> {
        mosquitto::Server::start_with_plugin("service", PASSWORD).map(Self::Theirs)
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Ours { .. } => Kind::Embedded,
            Self::Theirs(_) => Kind::Mosquitto,
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        match self {
            Self::Ours { addr, .. } => *addr,
            Self::Theirs(server) => server.addr(),
        }
    }

    pub(super) async fn end(&mut self) {
        match self {
            Self::Ours { broker, .. } => broker.take().unwrap().stop().await,
            Self::Theirs(server) => server.end(),
        }
    }

    pub(super) async fn begin(&mut self) {
        match self {
            Self::Ours { broker, addr, dir } => {
                let until = time::now() + PATIENCE;
                while broker.is_none() {
                    // Until whoever wrote the journal has given it back.
                    assert!(time::now() < until, "the broker does not start again");
                    *broker = start(*addr, dir).await.ok();
                    task::yield_now().await;
                }
            }
            Self::Theirs(server) => server.begin(),
        }
    }
}

async fn start(listen: SocketAddr, dir: &TempDir) -> Result<iot_broker::Broker, iot_broker::Error> {
    Accounts::start(Settings::new(listen, dir.path()), PASSWORD, &Registry::default()).await
}

/// What the data service does about a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Does {
    /// It answers 503.
    Fails,
    /// It stores, and its answer is lost.
    Loses,
}

/// A value that makes it refuse a whole batch.
pub(super) const REFUSED: f64 = -1.0;

/// A data service: keeps readings by their names, and does first as it is told.
#[derive(Debug, Default)]
pub(super) struct Stored {
    readings: Mutex<BTreeMap<(String, i64), f64>>,
    plan: Mutex<VecDeque<Does>>,
    pub(super) duplicates: AtomicUsize,
    pub(super) calls: AtomicUsize,
}

impl Stored {
    pub(super) fn plan(&self, plan: impl IntoIterator<Item = Does>) {
        self.plan.lock().unwrap().extend(plan);
    }

    /// The numbers of a device's readings.
    pub(super) fn of(&self, device: &str) -> BTreeSet<i64> {
        let readings = self.readings.lock().unwrap();
        readings.keys().filter(|(of, _)| of == device).map(|(_, sequence)| *sequence).collect()
    }

    fn keep(&self, readings: &[Reading]) -> Receipt {
        let mut receipt = Receipt::default();
        let mut kept = self.readings.lock().unwrap();
        for Reading { device, read } in readings {
            if kept.insert((device.clone(), read.sequence), read.value).is_some() {
                receipt.duplicates += 1;
            } else {
                receipt.stored += 1;
            }
        }
        self.duplicates.fetch_add(receipt.duplicates, Relaxed);
        receipt
    }
}

impl Data for Stored {
    async fn store(&self, readings: &[Reading]) -> Result<Receipt, Unstored> {
        assert!((1..=BATCH_MAX).contains(&readings.len()));
        self.calls.fetch_add(1, Relaxed);
        let does = self.plan.lock().unwrap().pop_front();
        match does {
            Some(Does::Fails) => Err(Unstored::Failed("data is away".to_owned())),
            Some(Does::Loses) => {
                self.keep(readings);
                Err(Unstored::Failed("the answer is lost".to_owned()))
            }
            None if readings.iter().any(|reading| reading.read.value.total_cmp(&REFUSED).is_eq()) => {
                Err(Unstored::Refused("one makes no sense".to_owned()))
            }
            None => Ok(self.keep(readings)),
        }
    }
}

/// All of it.
pub(super) struct World<DB: Db> {
    pub(super) broker: Place,
    pub(super) version: Version,
    pub(super) data: Arc<Stored>,
    pub(super) devices: Arc<Devices<DB>>,
    running: Option<[Guarded<()>; 3]>,
    fixture: Fixture<DB>,
}

impl<DB: Db> World<DB> {
    /// With a service that does not know the broker yet.
    pub(super) async fn new(fixture: Fixture<DB>, broker: Place, version: Version) -> Self {
        let devices = Arc::new(load(&fixture, broker.kind()).await);
        Self { broker, version, data: Arc::default(), devices, running: None, fixture }
    }

    /// The service connects.
    pub(super) async fn link(&mut self) {
        let broker = Broker::new(&self.broker.addr().to_string(), self.broker.kind(), PASSWORD.to_owned()).unwrap();
        self.running = Some(link::start(&self.devices, &self.data, &broker));
        let links = self.devices.counts.links.clone();
        eventually(PATIENCE, || links.iter().all(|link| link.get() == 1)).await;
    }

    /// The service is killed, and starts again without knowing the broker.
    pub(super) async fn restart(&mut self) {
        self.running = None;
        self.devices = Arc::new(load(&self.fixture, self.broker.kind()).await);
    }

    /// Waits until the broker has been told everything.
    pub(super) async fn settled(&self) {
        let until = time::now() + PATIENCE;
        while !self.devices.repository.due(now_ms(), 1).await.unwrap().is_empty() {
            assert!(time::now() < until, "the broker is not told");
            task::yield_now().await;
        }
    }

    /// Adds a device, which may connect when this returns; its token.
    pub(super) async fn add(&self, id: &str) -> String {
        let token = super::add(&self.devices, id).await;
        self.settled().await;
        token
    }

    pub(super) async fn try_connect(&self, id: &str, token: &str) -> Result<Client, String> {
        Client::connect(self.version, self.broker.addr(), id, token).await
    }

    /// A device that is added and connects.
    pub(super) async fn device(&self, id: &str) -> Client {
        let token = self.add(id).await;
        let client = self.try_connect(id, &token).await.unwrap();
        self.connected(id, true).await;
        client
    }

    /// Waits until the service knows of a device that it is there, or not.
    pub(super) async fn connected(&self, id: &str, is_connected: bool) {
        let until = time::now() + PATIENCE;
        while self.devices.show(id).await.unwrap().connected != is_connected {
            assert!(time::now() < until, "the service does not hear of it");
            task::yield_now().await;
        }
    }

    /// Waits until data has these readings of a device, and no others.
    pub(super) async fn stored(&self, device: &str, sequences: impl IntoIterator<Item = i64>) {
        let expected: BTreeSet<i64> = sequences.into_iter().collect();
        eventually(PATIENCE, || self.data.of(device).len() >= expected.len()).await;
        assert_eq!(self.data.of(device), expected);
    }
}

/// Readings with these numbers, as one message.
pub(super) fn readings(sequences: impl IntoIterator<Item = i64>) -> String {
    let reading = |sequence| iot_mqtt::Reading { sequence, at_ms: now_ms(), value: 20.0 };
    serde_json::to_string(&sequences.into_iter().map(reading).collect::<Vec<_>>()).unwrap()
}
