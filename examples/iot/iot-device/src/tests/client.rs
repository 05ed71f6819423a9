//! A device, of either version of the protocol.

use std::net::SocketAddr;

use bowline::runtime::{
    task::{self, Guarded},
    time,
};
use iot_mqtt::{
    Presence,
    topic::{self, Said},
};
use rumqttc_v4 as v4;
use rumqttc_v5 as v5;
use serde_json::Value;
use tokio::sync::mpsc;

use super::PATIENCE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V5,
}

enum Link {
    V4(v4::AsyncClient),
    V5(v5::AsyncClient),
}

/// What happens to it.
#[derive(Debug)]
enum Event {
    Connected,
    Told(String, Vec<u8>),
    Ended(String),
}

/// A device that is connected. Dropped, it is gone without a word.
pub(super) struct Client {
    id: String,
    link: Link,
    events: mpsc::Receiver<Event>,
    _polling: Guarded<()>,
}

impl Client {
    /// Connects, subscribes, and says that it is there.
    pub(super) async fn connect(version: Version, addr: SocketAddr, id: &str, token: &str) -> Result<Self, String> {
        // More than any test has on the way.
        let (tell, events) = mpsc::channel(10_000);
        let (host, port, status) = (addr.ip().to_string(), addr.port(), topic::status(id));
        let (link, polling) = match version {
            Version::V4 => {
                let mut options = v4::MqttOptions::new(id, (host, port));
                options.set_keep_alive(30).set_credentials(id, token.to_owned()).set_max_packet_size(1 << 20, 1 << 20);
                options.set_last_will(v4::LastWill::new(status, "offline", v4::QoS::AtLeastOnce, true));
                let (client, events) = v4::AsyncClient::builder(options).capacity(100).build();
                (Link::V4(client), task::spawn(poll_v4(events, tell)))
            }
            Version::V5 => {
                let mut options = v5::MqttOptions::new(id, (host, port));
                options.set_keep_alive(30).set_credentials(id, token.to_owned());
                options.set_last_will(v5::LastWill::new(status, "offline", v5::QoS::AtLeastOnce, true, None));
                let (client, events) = v5::AsyncClient::builder(options).capacity(100).build();
                (Link::V5(client), task::spawn(poll_v5(events, tell)))
            }
        };
        let mut client = Self { id: id.to_owned(), link, events, _polling: Guarded::new(polling) };
        match client.event().await {
            Event::Connected => {}
            Event::Ended(why) => return Err(why),
            Event::Told(topic, _) => panic!("{topic} came first"),
        }
        for filter in [topic::desired(id), topic::commands(id)] {
            client.subscribe(&filter).await?;
        }
        client.say(&topic::status(id), Presence::Online.text(), true).await?;
        Ok(client)
    }

    async fn event(&mut self) -> Event {
        time::timeout(PATIENCE, self.events.recv()).await.expect("nothing came").expect("it says how it ends")
    }

    async fn subscribe(&self, filter: &str) -> Result<(), String> {
        let answered = async {
            match &self.link {
                Link::V4(client) => {
                    let notice = client.subscribe_tracked(filter, v4::QoS::AtLeastOnce).await.map_err(text)?;
                    notice.wait_async().await.map(drop).map_err(text)
                }
                Link::V5(client) => {
                    let notice = client.subscribe_tracked(filter, v5::QoS::AtLeastOnce).await.map_err(text)?;
                    notice.wait_async().await.map(drop).map_err(text)
                }
            }
        };
        time::timeout(PATIENCE, answered).await.expect("no answer")
    }

    /// Publishes, and waits until it is acknowledged; what the broker says against it is the error.
    pub(super) async fn say(&self, topic: &str, payload: &str, is_retained: bool) -> Result<(), String> {
        let (topic, payload) = (topic.to_owned(), payload.to_owned());
        let answered = async {
            match &self.link {
                Link::V4(client) => {
                    let options = v4::PublishOptions::new(v4::QoS::AtLeastOnce).retain(is_retained);
                    let notice = client.publish_tracked(topic, payload, options).await.map_err(text)?;
                    notice.wait_async().await.map(drop).map_err(text)
                }
                Link::V5(client) => {
                    let options = v5::PublishOptions::new(v5::QoS::AtLeastOnce).retain(is_retained);
                    let notice = client.publish_tracked(topic, payload, options).await.map_err(text)?;
                    match notice.wait_async().await {
                        Ok(v5::PublishResult::Qos1(ack)) if ack.reason as u8 >= 0x80 => Err(text(ack.reason)),
                        other => other.map(drop).map_err(text),
                    }
                }
            }
        };
        time::timeout(PATIENCE, answered).await.expect("no answer")
    }

    /// Says something where it says such things; it is acknowledged.
    pub(super) async fn tell(&self, said: Said, payload: &str) {
        self.say(&said.topic(&self.id), payload, false).await.unwrap();
    }

    /// What it is told next: on which of its topics, and what.
    pub(super) async fn next(&mut self) -> (String, Value) {
        match self.event().await {
            Event::Told(topic, payload) => {
                let word = topic.rsplit('/').next().unwrap().to_owned();
                (word, serde_json::from_slice(&payload).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

async fn poll_v4(mut events: v4::EventLoop, tell: mpsc::Sender<Event>) {
    loop {
        let event = match events.poll().await {
            Ok(v4::Event::Incoming(v4::Incoming::ConnAck(_))) => Event::Connected,
            Ok(v4::Event::Incoming(v4::Incoming::Publish(it))) => {
                Event::Told(String::from_utf8(it.topic.to_vec()).unwrap(), it.payload.to_vec())
            }
            Ok(_) => continue,
            Err(error) => Event::Ended(text(error)),
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
            Ok(v5::Event::Incoming(v5::Incoming::ConnAck(_))) => Event::Connected,
            Ok(v5::Event::Incoming(v5::Incoming::Publish(it))) => {
                Event::Told(String::from_utf8(it.topic.to_vec()).unwrap(), it.payload.to_vec())
            }
            Ok(_) => continue,
            Err(error) => Event::Ended(text(error)),
        };
        let is_over = matches!(event, Event::Ended(_));
        if tell.send(event).await.is_err() || is_over {
            return;
        }
    }
}
