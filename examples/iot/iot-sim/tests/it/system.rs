//! A broker, and behind it a system that stores readings and shows them, as the audit asks for them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_runtime::{
    metric::Registry,
    task::{self, Guarded},
    time,
};
use bowline_testkit::{Answer, HttpServer, Request, TempDir, eventually, temp_dir};
use iot_broker::{Admission, Broker, Identity};
use iot_mqtt::{Reading, topic};
use iot_sim::Settings;
use rumqttc_v4::{AckMode, AsyncClient, Event, EventLoop, Incoming, MqttOptions, PublishOptions, QoS, SubscribeFilter};
use serde_json::{Value, json};
use tokio::sync::watch;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// By device and number, as often as they are there.
pub(crate) type Stored = BTreeMap<(String, i64), Vec<Reading>>;

/// What a device said besides readings: the topic, and what.
pub(crate) type Said = Vec<(String, String)>;

/// The system.
pub(crate) struct System {
    broker: Option<Broker>,
    mqtt: SocketAddr,
    dir: TempDir,
    service: AsyncClient,
    pub(crate) stored: Arc<Mutex<Stored>>,
    pub(crate) said: Arc<Mutex<Said>>,
    pub(crate) http: HttpServer,
    _serving: Guarded<()>,
}

/// Devices have tokens that are known by their ids, and the service has everything.
struct Known;

impl Admission for Known {
    fn authenticate(&self, client: &str, user: Option<&str>, password: Option<&[u8]>) -> Option<Identity> {
        (user == Some(client) && password == Some(token(client).as_bytes())).then(|| Identity::new(client))
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        who.name() == "service" || topic.starts_with(&format!("devices/{}/", who.name()))
    }

    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool {
        self.may_publish(who, filter)
    }
}

fn token(id: &str) -> String {
    format!("token of {id}")
}

impl System {
    pub(crate) async fn start() -> Self {
        let dir = temp_dir();
        let broker = start(([127, 0, 0, 1], 0).into(), &dir).await;
        let mqtt = broker.addr();
        let (stored, said) = (Arc::default(), Arc::default());
        let mut options = MqttOptions::new("service", ("127.0.0.1", mqtt.port()));
        options.set_credentials("service", token("service")).set_clean_session(false).set_ack_mode(AckMode::Manual);
        let (service, events) = AsyncClient::builder(options).capacity(100).build();
        let (tell, mut subscribed) = watch::channel(false);
        let serving = task::spawn(serve((service.clone(), events), tell, Arc::clone(&stored), Arc::clone(&said)));
        // What is published before is for nobody.
        time::timeout(PATIENCE, subscribed.wait_for(|is_subscribed| *is_subscribed)).await.unwrap().unwrap();
        let shown = Arc::clone(&stored);
        let http = HttpServer::start(move |request| answer(request, &shown.lock().unwrap()));
        Self { broker: Some(broker), mqtt, dir, service, stored, said, http, _serving: Guarded::new(serving) }
    }

    pub(crate) fn settings(&self, devices: u32) -> Settings {
        let settings = Settings::new(self.http.addr(), self.mqtt, "operator").unwrap();
        Settings { devices, ..settings.days(1) }
    }

    pub(crate) async fn stop_broker(&mut self) {
        self.broker.take().unwrap().stop().await;
    }

    pub(crate) async fn start_broker(&mut self) {
        self.broker = Some(start(self.mqtt, &self.dir).await);
    }

    pub(crate) fn retained(&self, topic: &str) -> Option<bytes::Bytes> {
        self.broker.as_ref().unwrap().handle().retained(topic)
    }

    pub(crate) async fn tell(&self, topic: String, payload: &Value, is_retained: bool) {
        let options = PublishOptions::new(QoS::AtLeastOnce);
        let options = if is_retained { options.retained() } else { options };
        self.service.publish(topic, payload.to_string(), options).await.unwrap();
    }

    /// What was said on a topic, once it is so many times.
    pub(crate) async fn hear(&self, topic: &str, count: usize) -> Vec<Value> {
        eventually(PATIENCE, || self.heard(topic).len() >= count).await;
        self.heard(topic)
    }

    /// Waits until that was said on a topic.
    pub(crate) async fn hear_that(&self, topic: &str, said: &Value) {
        eventually(PATIENCE, || self.heard(topic).contains(said)).await;
    }

    fn heard(&self, topic: &str) -> Vec<Value> {
        let said = self.said.lock().unwrap();
        let payloads = said.iter().filter(|(said, _)| said == topic).map(|(_, payload)| payload);
        payloads.map(|payload| serde_json::from_str(payload).unwrap()).collect()
    }
}

async fn start(listen: SocketAddr, dir: &TempDir) -> Broker {
    let settings = iot_broker::Settings::new(listen, dir.path());
    Broker::start(settings, Arc::new(Known), &Registry::default()).await.unwrap()
}

/// Stores what comes, then acknowledges it.
async fn serve(
    (client, mut events): (AsyncClient, EventLoop),
    subscribed: watch::Sender<bool>,
    stored: Arc<Mutex<Stored>>,
    said: Arc<Mutex<Said>>,
) {
    let mut tries = time::interval(Duration::from_millis(20));
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                let all = ["readings", "reported", "acks"].map(|what| format!("devices/+/{what}"));
                let filters = all.map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
                client.try_subscribe_many(filters).unwrap();
            }
            Ok(Event::Incoming(Incoming::SubAck(_))) => drop(subscribed.send_replace(true)),
            Ok(Event::Incoming(Incoming::Publish(publish))) => {
                let name = String::from_utf8(publish.topic.to_vec()).unwrap();
                let (device, _) = topic::parse(&name).unwrap();
                if name == topic::readings(device) {
                    for reading in iot_mqtt::readings(&publish.payload).unwrap() {
                        let name = (device.to_owned(), reading.sequence);
                        stored.lock().unwrap().entry(name).or_insert_with(|| vec![reading]);
                    }
                } else {
                    said.lock().unwrap().push((name, String::from_utf8(publish.payload.to_vec()).unwrap()));
                }
                client.try_ack(&publish).unwrap();
            }
            Ok(_) => {}
            Err(_) => drop(tries.tick().await),
        }
    }
}

fn answer(request: &Request, stored: &Stored) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if path == "/devices" {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        return Answer::Status(201, json!({"token": token(body["id"].as_str().unwrap())}).to_string());
    }
    let Some(device) = path.strip_prefix("/series/") else { return Answer::status(404) };
    let query: Vec<&str> = query.split('&').map(|part| part.split_once('=').unwrap().1).collect();
    let bounds: Vec<i64> = query[..2].iter().map(|bound| bound.parse().unwrap()).collect();
    let of_device = stored.range((device.to_owned(), i64::MIN)..=(device.to_owned(), i64::MAX));
    let asked = of_device.flat_map(|(_, readings)| readings).filter(|it| (bounds[0]..bounds[1]).contains(&it.at_ms));
    if query.len() > 2 {
        return Answer::Status(200, json!({"device": device, "points": [{"count": asked.count()}]}).to_string());
    }
    Answer::Status(200, json!({"device": device, "points": asked.collect::<Vec<_>>()}).to_string())
}
