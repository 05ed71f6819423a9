//! A client of either version, the same to the tests.

use std::{net::SocketAddr, time::Duration};

use bowline_runtime::{
    task::{self, Guarded},
    time,
};
use rumqttc_v4 as v4;
use rumqttc_v5 as v5;
use tokio::sync::mpsc;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V5,
}

pub(crate) const VERSIONS: [Version; 2] = [Version::V4, Version::V5];

/// How a client connects.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) version: Version,
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) password: String,
    /// Its session outlives its connection.
    pub(crate) is_lasting: bool,
    /// Topic and payload, retained.
    pub(crate) will: Option<(String, String)>,
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) is_retained: bool,
    pub(crate) is_dup: bool,
}

#[derive(Debug)]
enum Event {
    Connected { is_present: bool },
    Message(Message, Box<Receipt>),
    Ended(String),
}

#[derive(Debug)]
enum Receipt {
    V4(v4::Publish),
    V5(v5::Publish),
}

enum Link {
    V4(v4::AsyncClient),
    V5(v5::AsyncClient),
}

/// It is gone without a word when it is dropped.
pub(crate) struct Client {
    link: Link,
    events: mpsc::Receiver<Event>,
    pub(crate) is_present: bool,
    _polling: Guarded<()>,
}

impl Options {
    /// A client whose user name is its id.
    pub(crate) fn new(version: Version, id: &str) -> Self {
        let (id, user) = (id.to_owned(), id.to_owned());
        Self { version, id, user, password: "token".to_owned(), is_lasting: false, will: None }
    }

    pub(crate) fn lasting(self) -> Self {
        Self { is_lasting: true, ..self }
    }

    pub(crate) fn will(self, topic: &str, payload: &str) -> Self {
        Self { will: Some((topic.to_owned(), payload.to_owned())), ..self }
    }

    pub(crate) fn credentials(self, user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned(), ..self }
    }

    fn v4(&self, addr: SocketAddr) -> v4::MqttOptions {
        let mut options = v4::MqttOptions::new(&self.id, (addr.ip().to_string(), addr.port()));
        options
            .set_keep_alive(30)
            .set_credentials(&self.user, self.password.clone())
            .set_clean_session(!self.is_lasting)
            .set_ack_mode(v4::AckMode::Manual)
            .set_max_packet_size(256 * 1024, 256 * 1024);
        if let Some((topic, payload)) = &self.will {
            options.set_last_will(v4::LastWill::new(topic, payload.as_str(), v4::QoS::AtLeastOnce, true));
        }
        options
    }

    fn v5(&self, addr: SocketAddr) -> v5::MqttOptions {
        let mut options = v5::MqttOptions::new(&self.id, (addr.ip().to_string(), addr.port()));
        let mode = if self.is_lasting { v5::SessionMode::Persistent } else { v5::SessionMode::Clean };
        options
            .set_keep_alive(30)
            .set_credentials(&self.user, self.password.clone())
            .set_session_mode(mode)
            .set_broker_session_resume_policy(v5::BrokerSessionResumePolicy::AllowBrokerOnly)
            .set_ack_mode(v5::AckMode::Manual)
            .set_max_packet_size(Some(256 * 1024));
        if let Some((topic, payload)) = &self.will {
            options.set_last_will(v5::LastWill::new(topic, payload.as_str(), v5::QoS::AtLeastOnce, true, None));
        }
        options
    }

    /// Connects; what the broker says against it is the error.
    pub(crate) async fn try_connect(&self, addr: SocketAddr) -> Result<Client, String> {
        // More than any test has on the way.
        let (tell, events) = mpsc::channel(10_000);
        let (link, polling) = match self.version {
            Version::V4 => {
                let (client, events) = v4::AsyncClient::builder(self.v4(addr)).capacity(100).build();
                (Link::V4(client), task::spawn(poll_v4(events, tell)))
            }
            Version::V5 => {
                let (client, events) = v5::AsyncClient::builder(self.v5(addr)).capacity(100).build();
                (Link::V5(client), task::spawn(poll_v5(events, tell)))
            }
        };
        let mut client = Client { link, events, is_present: false, _polling: Guarded::new(polling) };
        match client.event().await {
            Event::Connected { is_present } => Ok(Client { is_present, ..client }),
            Event::Ended(why) => Err(why),
            Event::Message(message, _) => panic!("{message:?} came first"),
        }
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> Client {
        self.try_connect(addr).await.unwrap()
    }
}

async fn poll_v4(mut events: v4::EventLoop, tell: mpsc::Sender<Event>) {
    loop {
        let event = match events.poll().await {
            Ok(v4::Event::Incoming(v4::Incoming::ConnAck(ack))) => Event::Connected { is_present: ack.session_present },
            Ok(v4::Event::Incoming(v4::Incoming::Publish(it))) => Event::Message(
                message(&it.topic, &it.payload, (it.qos as u8, it.retain, it.dup)),
                Receipt::V4(it).into(),
            ),
            Ok(_) => continue,
            Err(error) => Event::Ended(format!("{error:?}")),
        };
        let is_over = matches!(event, Event::Ended(_));
        if tell.send(event).await.is_err() || is_over {
            return;
        }
    }
}

async fn poll_v5(mut events: v5::EventLoop, tell: mpsc::Sender<Event>) {
    loop {
        let event = match events.poll().await {
            Ok(v5::Event::Incoming(v5::Incoming::ConnAck(ack))) => Event::Connected { is_present: ack.session_present },
            Ok(v5::Event::Incoming(v5::Incoming::Publish(it))) => Event::Message(
                message(&it.topic, &it.payload, (it.qos as u8, it.retain, it.dup)),
                Receipt::V5(it).into(),
            ),
            Ok(_) => continue,
            Err(error) => Event::Ended(format!("{error:?}")),
        };
        let is_over = matches!(event, Event::Ended(_));
        if tell.send(event).await.is_err() || is_over {
            return;
        }
    }
}

fn message(topic: &[u8], payload: &[u8], (qos, is_retained, is_dup): (u8, bool, bool)) -> Message {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Message { topic: text(topic), payload: text(payload), qos, is_retained, is_dup }
}

impl Client {
    async fn event(&mut self) -> Event {
        let event = time::timeout(PATIENCE, self.events.recv()).await.expect("nothing came");
        event.expect("whoever polls says how it ends")
    }

    /// Subscribes; whether it was granted. QoS as a number.
    pub(crate) async fn subscribe(&self, filter: &str, qos: u8) -> bool {
        let answered = async {
            match &self.link {
                Link::V4(client) => {
                    let notice = client.subscribe_tracked(filter, v4::qos(qos).unwrap()).await.unwrap();
                    let ack = notice.wait_async().await.unwrap();
                    ack.return_codes.iter().all(|code| matches!(code, v4::SubscribeReasonCode::Success(_)))
                }
                Link::V5(client) => {
                    let notice = client.subscribe_tracked(filter, v5::qos(qos).unwrap()).await.unwrap();
                    let ack = notice.wait_async().await.unwrap();
                    ack.return_codes.iter().all(|code| matches!(code, v5::SubscribeReasonCode::Success(_)))
                }
            }
        };
        time::timeout(PATIENCE, answered).await.expect("no answer to a subscription")
    }

    pub(crate) async fn unsubscribe(&self, filter: &str) {
        let answered = async {
            match &self.link {
                Link::V4(client) => {
                    client.unsubscribe_tracked(filter).await.unwrap().wait_async().await.map(drop).unwrap();
                }
                Link::V5(client) => {
                    client.unsubscribe_tracked(filter).await.unwrap().wait_async().await.map(drop).unwrap();
                }
            }
        };
        time::timeout(PATIENCE, answered).await.expect("no answer");
    }

    /// Publishes, and waits for the acknowledgement of QoS 1; what was said against it is the error.
    pub(crate) async fn try_publish(
        &self,
        topic: &str,
        payload: &str,
        qos: u8,
        is_retained: bool,
    ) -> Result<(), String> {
        let answered = async {
            match &self.link {
                Link::V4(client) => {
                    let options = v4::PublishOptions::new(v4::qos(qos).unwrap());
                    let options = if is_retained { options.retained() } else { options };
                    let notice = client.publish_tracked(topic, payload.to_owned(), options).await;
                    let notice = notice.map_err(|error| format!("{error:?}"))?;
                    notice.wait_async().await.map(drop).map_err(|error| format!("{error:?}"))
                }
                Link::V5(client) => {
                    let options = v5::PublishOptions::new(v5::qos(qos).unwrap());
                    let options = if is_retained { options.retained() } else { options };
                    let notice = client.publish_tracked(topic, payload.to_owned(), options).await;
                    let notice = notice.map_err(|error| format!("{error:?}"))?;
                    match notice.wait_async().await {
                        Ok(v5::PublishResult::Qos1(ack)) if ack.reason as u8 >= 0x80 => {
                            Err(format!("{:?}", ack.reason))
                        }
                        Ok(_) => Ok(()),
                        Err(error) => Err(format!("{error:?}")),
                    }
                }
            }
        };
        time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }

    pub(crate) async fn publish(&self, topic: &str, payload: &str, qos: u8) {
        self.try_publish(topic, payload, qos, false).await.unwrap();
    }

    pub(crate) async fn retain(&self, topic: &str, payload: &str) {
        self.try_publish(topic, payload, 1, true).await.unwrap();
    }

    /// The next message, which is acknowledged.
    pub(crate) async fn next(&mut self) -> Message {
        let (message, receipt) = self.take().await;
        match (&self.link, &*receipt) {
            (Link::V4(client), Receipt::V4(publish)) => client.ack(publish).await.unwrap(),
            (Link::V5(client), Receipt::V5(publish)) => client.ack(publish).await.unwrap(),
            _ => unreachable!("a client has messages of its version"),
        }
        message
    }

    /// The next message, which is not acknowledged.
    pub(crate) async fn peek(&mut self) -> Message {
        self.take().await.0
    }

    async fn take(&mut self) -> (Message, Box<Receipt>) {
        match self.event().await {
            Event::Message(message, receipt) => (message, receipt),
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// Waits until it is cut off.
    pub(crate) async fn ended(&mut self) -> String {
        loop {
            if let Event::Ended(why) = self.event().await {
                return why;
            }
        }
    }

    /// Says goodbye.
    pub(crate) async fn disconnect(mut self) {
        match &self.link {
            Link::V4(client) => client.disconnect().await.unwrap(),
            Link::V5(client) => client.disconnect().await.unwrap(),
        }
        self.ended().await;
    }
}
