//! A device's connection to the broker, of 3.1.1 or 5, the same to whoever has it.
//!
//! It is used once: whoever loses it opens another, so that nothing of it is left over. Its session is clean, since a
//! device knows itself what was not acknowledged.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use iot_mqtt::{Presence, topic};
use rumqttc_v4 as v4;
use rumqttc_v5 as v5;

use crate::account::Account;

/// How often a device says that it is there when it has nothing else to say, in seconds.
const KEEP_ALIVE_S: u16 = 60;

/// The largest packet that a device takes.
const PACKET_BYTES_MAX: u32 = 256 * 1024;

/// Requests that wait for the connection.
const REQUESTS_MAX: usize = 64;

/// Messages that are not acknowledged. The libraries have room for so many from the beginning: for the 65,535 that may
/// be, it would be 13 MB for each device.
const INFLIGHT_MAX: u16 = 64;

/// Says what the device has to say.
pub(crate) enum Client {
    V4(v4::AsyncClient),
    V5(v5::AsyncClient),
}

/// What comes from the broker; the first error is the end.
pub(crate) type Events = BoxStream<'static, Result<Heard, String>>;

/// Something that comes from the broker.
#[derive(Debug)]
pub(crate) enum Heard {
    Connected,
    Message { topic: Bytes, payload: Bytes },
    Other,
}

/// Whether a message was acknowledged; why not is the error.
pub(crate) type Acknowledged = BoxFuture<'static, Result<(), String>>;

/// Opens a connection: devices with odd numbers speak 3.1.1, the others 5.
pub(crate) fn open(broker: SocketAddr, account: &Account) -> (Client, Events) {
    let Account { number, id, token } = account;
    let broker = (broker.ip().to_string(), broker.port());
    if number % 2 == 1 {
        let mut options = v4::MqttOptions::new(id, broker);
        let packet_max = PACKET_BYTES_MAX as usize;
        options
            .set_keep_alive(KEEP_ALIVE_S)
            .set_credentials(id, token.clone())
            .set_clean_session(true)
            .set_inflight(INFLIGHT_MAX)
            .set_max_packet_size(packet_max, packet_max)
            .set_last_will(v4::LastWill::new(topic::status(id), Presence::Offline.text(), v4::QoS::AtLeastOnce, true));
        let (client, events) = v4::AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
        (Client::V4(client), hear_v4(events))
    } else {
        let mut options = v5::MqttOptions::new(id, broker);
        options
            .set_keep_alive(KEEP_ALIVE_S)
            .set_credentials(id, token.clone())
            .set_session_mode(v5::SessionMode::Clean)
            .set_outgoing_inflight_upper_limit(INFLIGHT_MAX)
            .set_receive_maximum(Some(INFLIGHT_MAX))
            .set_max_packet_size(Some(PACKET_BYTES_MAX))
            .set_last_will(v5::LastWill::new(
                topic::status(id),
                Presence::Offline.text(),
                v5::QoS::AtLeastOnce,
                true,
                None,
            ));
        let (client, events) = v5::AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
        (Client::V5(client), hear_v5(events))
    }
}

fn hear_v4(events: v4::EventLoop) -> Events {
    let heard = stream::unfold(events, |mut events| async move {
        let heard = match events.poll().await {
            Ok(v4::Event::Incoming(v4::Incoming::ConnAck(_))) => Ok(Heard::Connected),
            Ok(v4::Event::Incoming(v4::Incoming::Publish(it))) => {
                Ok(Heard::Message { topic: it.topic, payload: it.payload })
            }
            Ok(_) => Ok(Heard::Other),
            Err(v4::ConnectionError::RequestsDone) => return None,
            Err(error) => Err(error.to_string()),
        };
        Some((heard, events))
    });
    heard.boxed()
}

fn hear_v5(events: v5::EventLoop) -> Events {
    let heard = stream::unfold(events, |mut events| async move {
        let heard = match events.poll().await {
            Ok(v5::Event::Incoming(v5::Incoming::ConnAck(_))) => Ok(Heard::Connected),
            Ok(v5::Event::Incoming(v5::Incoming::Publish(it))) => {
                Ok(Heard::Message { topic: it.topic, payload: it.payload })
            }
            Ok(_) => Ok(Heard::Other),
            Err(v5::ConnectionError::RequestsDone) => return None,
            Err(error) => Err(error.to_string()),
        };
        Some((heard, events))
    });
    heard.boxed()
}

impl Client {
    /// Asks for what a topic has.
    pub(crate) fn subscribe(&self, topic: String) -> Result<(), String> {
        match self {
            Self::V4(client) => client.try_subscribe(topic, v4::QoS::AtLeastOnce).map_err(|error| error.to_string()),
            Self::V5(client) => client.try_subscribe(topic, v5::QoS::AtLeastOnce).map_err(|error| error.to_string()),
        }
    }

    /// Says something with QoS 1.
    pub(crate) fn publish(&self, topic: String, payload: Vec<u8>, is_retained: bool) -> Result<Acknowledged, String> {
        match self {
            Self::V4(client) => {
                let options = v4::PublishOptions::new(v4::QoS::AtLeastOnce);
                let options = if is_retained { options.retained() } else { options };
                let notice = client.try_publish_tracked(topic, payload, options).map_err(|error| error.to_string())?;
                Ok(notice.wait_async().map(|answer| answer.map(drop).map_err(|error| error.to_string())).boxed())
            }
            Self::V5(client) => {
                let options = v5::PublishOptions::new(v5::QoS::AtLeastOnce);
                let options = if is_retained { options.retained() } else { options };
                let notice = client.try_publish_tracked(topic, payload, options).map_err(|error| error.to_string())?;
                // What the broker says against a message is an error, too.
                Ok(notice.wait_async().map(|answer| answer.map(drop).map_err(|error| error.to_string())).boxed())
            }
        }
    }

    /// Says goodbye, once all is acknowledged: whoever does has no last will.
    pub(crate) fn disconnect(&self) -> Result<(), String> {
        match self {
            Self::V4(client) => client.try_disconnect().map_err(|error| error.to_string()),
            Self::V5(client) => client.try_disconnect().map_err(|error| error.to_string()),
        }
    }
}
