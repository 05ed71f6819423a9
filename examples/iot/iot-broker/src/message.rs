//! A message as the broker keeps it: what was published, without what belongs to one connection.

use bowline_disk::{Corrupt, Reader, put_count, put_number};
use bytes::{Bytes, BytesMut};
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{LastWill, Packet, Publish, PublishProperties},
};

/// What a message takes in memory beside its texts, about.
const MESSAGE_BYTES: usize = 128;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: Box<str>,
    /// At least once, or at most once.
    pub(crate) qos: QoS,
    pub(crate) payload: Bytes,
    properties: Option<PublishProperties>,
    /// When nobody wants it any more, in milliseconds since 1970.
    expires_ms: Option<u64>,
}

impl Message {
    /// What was published; its topic is UTF-8, which the codec has seen to.
    pub(crate) fn published(publish: Publish, now_ms: u64) -> Self {
        let Publish { qos, topic, payload, properties, dup: _, retain: _, pkid: _ } = publish;
        let properties = properties.map(|properties| PublishProperties {
            topic_alias: None,
            subscription_identifiers: Vec::new(),
            ..properties
        });
        let expiry_s = properties.as_ref().and_then(|properties| properties.message_expiry_interval);
        Self {
            topic: String::from_utf8_lossy(&topic).into(),
            qos: at_most_one(qos),
            // A copy: what was read holds the buffer of a whole connection.
            payload: Bytes::copy_from_slice(&payload),
            properties,
            expires_ms: expiry_s.map(|expiry_s| now_ms + u64::from(expiry_s) * 1000),
        }
    }

    /// What a last will says; it expires so long after it was published.
    pub(crate) fn will(will: LastWill) -> Self {
        let LastWill { topic, message, qos, properties, retain: _ } = will;
        let properties = properties.map(|will| PublishProperties {
            payload_format_indicator: will.payload_format_indicator,
            message_expiry_interval: will.message_expiry_interval,
            response_topic: will.response_topic,
            correlation_data: will.correlation_data,
            user_properties: will.user_properties,
            content_type: will.content_type,
            ..PublishProperties::default()
        });
        let publish = Publish { qos, topic, payload: message, properties, ..Publish::default() };
        Self { expires_ms: None, ..Self::published(publish, 0) }
    }

    /// A will's message, published now.
    pub(crate) fn begun(self, now_ms: u64) -> Self {
        let expiry_s = self.properties.as_ref().and_then(|properties| properties.message_expiry_interval);
        Self { expires_ms: expiry_s.map(|expiry_s| now_ms + u64::from(expiry_s) * 1000), ..self }
    }

    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |properties| {
            let PublishProperties { response_topic, correlation_data, user_properties, content_type, .. } = properties;
            let texts = [response_topic, content_type].into_iter().flatten().map(String::len).sum::<usize>();
            let users = user_properties.iter().map(|(name, value)| name.len() + value.len() + 48).sum::<usize>();
            texts + users + correlation_data.as_ref().map_or(0, Bytes::len)
        });
        MESSAGE_BYTES + self.topic.len() + self.payload.len() + properties
    }

    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }

    /// The packet that delivers it.
    pub(crate) fn publish(&self, qos: QoS, now_ms: u64) -> Publish {
        let left_s = self.expires_ms.map(|expires_ms| {
            // Rounded up: what is still sent has not expired.
            u32::try_from(expires_ms.saturating_sub(now_ms).div_ceil(1000)).unwrap_or(u32::MAX)
        });
        let properties = self
            .properties
            .clone()
            .map(|properties| PublishProperties { message_expiry_interval: left_s, ..properties });
        let topic = Bytes::copy_from_slice(self.topic.as_bytes());
        Publish { qos, topic, payload: self.payload.clone(), properties, ..Publish::default() }
    }

    /// Writes it for the journal: when it expires, and the packet of version 5 that has all of it.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let properties = self.properties.clone();
        let topic = Bytes::copy_from_slice(self.topic.as_bytes());
        let pkid = u16::from(self.qos != QoS::AtMostOnce);
        let publish =
            Publish { qos: self.qos, pkid, topic, payload: self.payload.clone(), properties, ..Publish::default() };
        let mut packet = BytesMut::with_capacity(publish.size());
        Packet::Publish(publish).write(&mut packet, None).expect("what was read can be written");
        put_number(out, self.expires_ms.unwrap_or(0));
        put_count(out, packet.len());
        out.extend_from_slice(&packet);
    }

    /// Reads what [`Message::put`] wrote.
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let expires_ms = Some(reader.number()?).filter(|expires_ms| *expires_ms > 0);
        let length = reader.count(1)?;
        let mut packet = BytesMut::from(reader.slice(length)?);
        match Packet::read(&mut packet, None) {
            Ok(Packet::Publish(publish)) if packet.is_empty() => Ok(Self { expires_ms, ..Self::published(publish, 0) }),
            _ => Err(Corrupt),
        }
    }
}

/// QoS 2 is not offered: it is granted as 1.
pub(crate) fn at_most_one(qos: QoS) -> QoS {
    if qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(properties: Option<PublishProperties>) -> Message {
        let publish = Publish { properties, ..Publish::new("a/b", QoS::AtLeastOnce, "23.5", None) };
        Message::published(publish, 1000)
    }

    #[test]
    fn the_journal_gives_back_what_it_was_given() {
        let properties = PublishProperties {
            message_expiry_interval: Some(60),
            content_type: Some("text/plain".to_owned()),
            user_properties: vec![("unit".to_owned(), "°C".to_owned())],
            ..PublishProperties::default()
        };
        for message in [message(None), message(Some(properties))] {
            let mut bytes = Vec::new();
            message.put(&mut bytes);
            let mut reader = Reader(&bytes);
            assert_eq!(Message::take(&mut reader), Ok(message));
            assert!(reader.0.is_empty());
            for length in 0..bytes.len() {
                Message::take(&mut Reader(&bytes[..length])).unwrap_err();
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_can_be_published_can_be_kept(
            topic in ".{1,20}",
            texts in prop::collection::vec(".{0,10}", 4),
            bytes in prop::collection::vec(any::<u8>(), 0..50),
            is_present in any::<[bool; 4]>(),
            format in prop::option::of(any::<u8>()),
        ) {
            let text = |at: usize| is_present[at].then(|| texts[at].clone());
            let properties = PublishProperties {
                payload_format_indicator: format,
                response_topic: text(0),
                content_type: text(1),
                correlation_data: is_present[2].then(|| bytes.clone().into()),
                user_properties: text(3).map(|text| (text.clone(), text)).into_iter().collect(),
                ..PublishProperties::default()
            };
            let published = Publish {
                pkid: 1,
                ..Publish::new(topic, QoS::AtLeastOnce, bytes, Some(properties))
            };
            let mut packet = BytesMut::new();
            let came = Packet::Publish(published).write(&mut packet, None).ok();
            if let Some(Ok(Packet::Publish(publish))) = came.map(|_| Packet::read(&mut packet, None)) {
                let message = Message::published(publish, 0);
                let mut bytes = Vec::new();
                message.put(&mut bytes);
                let read = Message::take(&mut Reader(&bytes)).unwrap();
                // Nothing that is said, and that nothing is said, is the same.
                prop_assert_eq!(read.publish(QoS::AtLeastOnce, 0).size(), message.publish(QoS::AtLeastOnce, 0).size());
                prop_assert_eq!((read.topic, read.payload), (message.topic, message.payload));
            }
        }
    }

    #[test]
    fn who_gets_it_late_is_told_what_is_left_of_its_time() {
        let message = message(Some(PublishProperties { message_expiry_interval: Some(60), ..Default::default() }));
        let left = |now_ms| message.publish(QoS::AtLeastOnce, now_ms).properties.unwrap().message_expiry_interval;
        assert_eq!((left(1000), left(31_000), left(60_999)), (Some(60), Some(30), Some(1)));
        assert!(!message.is_expired(60_999) && message.is_expired(61_000));
    }
}
