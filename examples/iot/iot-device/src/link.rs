//! Sessions with the broker: connected again for ever, each with one piece of work that ends with its connection.
//!
//! A connection is made with a client of its own, so that what was not acknowledged over the last one is not over this
//! one either: it comes again. The work runs beside the polling, and never in it, so that waiting for the one does not
//! keep the other.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline::runtime::{
    metric::Gauge,
    task::{self, Guarded},
    time,
};
use iot_mqtt::topic::Said;
use rumqttc_v4::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, Incoming, Publish, PublishNotice, PublishNoticeError,
    PublishOptions, QoS, SubscribeNoticeError, SubscribeReasonCode,
};
use tokio::sync::{mpsc, watch};

use crate::{
    broker::{Broker, Kind},
    control,
    counts::Counts,
    device::Message,
    forward::{self, Data},
    mosquitto,
    repository::DeviceRepository,
    service::{DeviceService, now_ms},
};

/// The session for everything but readings.
pub(crate) const CONTROL: &str = "device";

/// The session for readings.
pub(crate) const READINGS: &str = "device-readings";

/// Messages of a connection that wait to be looked at. Brokers have fewer of QoS 1 on their way to one client: ours
/// 1,000, Mosquitto 20 if it is not told otherwise.
const ARRIVALS_MAX: usize = 4096;

/// Requests that wait to be sent.
const REQUESTS_MAX: usize = 100;

/// How long is waited before the broker is connected again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a broker has to answer.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// How often is looked at what time brings.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Why a connection, or the work over it, ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the connection to the broker is lost: {0}")]
    Connection(#[from] Box<ConnectionError>),
    #[error("the client of the broker has ended: {0}")]
    Client(#[from] ClientError),
    #[error("the broker did not take a message: {0}")]
    Publish(#[from] PublishNoticeError),
    #[error("the broker did not take a subscription: {0}")]
    Subscribe(#[from] SubscribeNoticeError),
    #[error("the broker refuses a subscription")]
    NotSubscribed,
    #[error("the broker does not answer")]
    Silent,
    #[error("the broker sends more than it is to before anything is acknowledged")]
    TooMuch,
    #[error("the broker cannot be told who may connect: {0}")]
    Refused(String),
    #[error("what is to be published is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("there is nothing more to come")]
    Over,
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(Box::new(error))
    }
}

/// A connection, for whoever works over it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client: AsyncClient,
    /// The broker did not have the session once, and nobody has looked what else it does not have.
    pub(crate) has_forgotten: Arc<AtomicBool>,
}

impl Connection {
    /// Has a message on its way; when what is answered ends well the broker has it.
    pub(crate) async fn publish(&self, message: Message) -> Result<PublishNotice, Lost> {
        let Message { topic, payload, is_retained } = message;
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(is_retained);
        Ok(self.client.publish_tracked(topic, payload, options).await?)
    }

    /// Tells the broker that a message is done with.
    pub(crate) async fn acknowledge(&self, publish: &Publish) -> Result<(), Lost> {
        Ok(self.client.ack(publish).await?)
    }

    async fn subscribe(&self, filters: &[String]) -> Result<(), Lost> {
        for filter in filters {
            let notice = self.client.subscribe_tracked(filter.clone(), QoS::AtLeastOnce).await?;
            let answered = time::timeout(ANSWERED_WITHIN, notice.wait_async()).await.map_err(|_| Lost::Silent)??;
            let is_granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
            if !answered.return_codes.iter().all(is_granted) {
                return Err(Lost::NotSubscribed);
            }
        }
        Ok(())
    }
}

/// A session.
struct Link {
    broker: Broker,
    client: &'static str,
    filters: Vec<String>,
    /// Whether the broker has had the session since this process began.
    begun: watch::Sender<bool>,
    has_forgotten: Arc<AtomicBool>,
}

/// Starts everything that goes on beside requests; it ends with what is answered.
pub(crate) fn start<R: DeviceRepository, D: Data>(
    devices: &Arc<DeviceService<R>>,
    data: &Arc<D>,
    broker: &Broker,
) -> [Guarded<()>; 3] {
    let mut filters: Vec<_> = [Said::Reported, Said::Acks, Said::Status].map(Said::filter).into();
    filters.extend((broker.kind == Kind::Mosquitto).then(|| mosquitto::ANSWERS.to_owned()));
    let link = |client, filters| {
        let (begun, has_forgotten) = (watch::Sender::new(false), Arc::default());
        Link { broker: broker.clone(), client, filters, begun, has_forgotten }
    };
    let (control, readings) = (link(CONTROL, filters), link(READINGS, vec![Said::Readings.filter()]));
    let mut can_take_readings = readings.begun.subscribe();
    let (heard, kind) = (devices.clone(), broker.kind);
    let controlling = async move {
        // Nobody is let in before there is a session that readings wait in: they would be acknowledged, and be nowhere.
        if can_take_readings.wait_for(|has_begun| *has_begun).await.is_err() {
            return;
        }
        let work = |connection, arrivals| control::run(&heard, kind, connection, arrivals);
        control.run(&heard.counts, &heard.counts.links[0], work).await;
    };
    let (heard, data) = (devices.clone(), data.clone());
    let reading = async move {
        let work = |connection, arrivals| forward::run(&heard, &*data, connection, arrivals);
        readings.run(&heard.counts, &heard.counts.links[1], work).await;
    };
    [task::spawn(controlling), task::spawn(reading), task::spawn(sweep(devices.clone()))].map(Guarded::new)
}

/// Looks at what time brings as long as it is polled.
async fn sweep<R: DeviceRepository>(devices: Arc<DeviceService<R>>) {
    let mut ticks = time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = devices.sweep(now_ms()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "commands do not expire, they will");
        }
    }
}

impl Link {
    /// Connects again and again, and works as long as it is connected.
    async fn run<F, W>(&self, counts: &Counts, shown: &Gauge, work: F)
    where
        F: Fn(Connection, mpsc::Receiver<Publish>) -> W,
        W: Future<Output = Result<Infallible, Lost>>,
    {
        let (first, most) = PAUSES;
        let mut pause = first;
        loop {
            let Err(lost) = self.session(counts, shown, &work).await;
            let was_connected = shown.get() == 1;
            shown.set(0);
            if was_connected || pause == first {
                let error = &lost as &dyn std::error::Error;
                tracing::warn!(client = self.client, error, "the broker is away, it is connected again");
            }
            pause = if was_connected { first } else { (2 * pause).min(most) };
            time::sleep(pause).await;
        }
    }

    /// One connection.
    async fn session<F, W>(&self, counts: &Counts, shown: &Gauge, work: &F) -> Result<Infallible, Lost>
    where
        F: Fn(Connection, mpsc::Receiver<Publish>) -> W,
        W: Future<Output = Result<Infallible, Lost>>,
    {
        let options = self.broker.options(self.client);
        let (client, mut events) = AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
        let connected = loop {
            if let Event::Incoming(Incoming::ConnAck(connected)) = events.poll().await? {
                break connected;
            }
        };
        self.has_forgotten.fetch_or(!connected.session_present, Relaxed);
        let (tell, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let connection = Connection { client, has_forgotten: self.has_forgotten.clone() };
        let working = async {
            // Again each time: a broker that has lost the session has lost what it was to have, too.
            connection.subscribe(&self.filters).await?;
            tracing::info!(client = self.client, "the broker is connected");
            shown.set(1);
            self.begun.send_replace(true);
            work(connection.clone(), arrivals).await
        };
        tokio::select! {
            polled = poll(&mut events, tell, counts) => polled,
            worked = working => worked,
        }
    }
}

/// Polls a connection, and hands on what comes, without ever waiting for whoever looks at it.
async fn poll(events: &mut EventLoop, tell: mpsc::Sender<Publish>, counts: &Counts) -> Result<Infallible, Lost> {
    loop {
        let Event::Incoming(Incoming::Publish(publish)) = events.poll().await? else { continue };
        if publish.qos == QoS::AtMostOnce && tell.capacity() < ARRIVALS_MAX / 2 {
            counts.drop_message();
            continue;
        }
        tell.try_send(publish).map_err(|_| Lost::TooMuch)?;
    }
}
