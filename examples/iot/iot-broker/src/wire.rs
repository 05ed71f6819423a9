//! The wire: which version a client speaks, and packets of both. Inside the broker all is version 5; version 3.1.1 is
//! translated here.

use std::io;

use bytes::{Bytes, BytesMut};
use rumqttc_v4::mqttbytes::{Error as Error4, v4};
use rumqttc_v5::mqttbytes::{Error as Error5, v5};

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1
    V4,
    /// 5
    V5,
}

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A client of that version.
    Version(Version),
    /// Not enough yet.
    Short,
    /// A client of another version.
    Unknown,
    /// No MQTT.
    Foreign,
}

/// What a client of an unknown version is answered: version 3.1.1 says how.
pub(crate) const UNKNOWN_VERSION: [u8; 4] = [0x20, 2, 0, 1];

/// The type of CONNECT, which comes first.
const CONNECT: u8 = 0x10;

/// Bytes of a packet that say its length, at most.
const LENGTH_BYTES_MAX: usize = 4;

/// Looks at the beginning of a CONNECT: type, length (1 to 4 bytes), the protocol's name, its level.
pub(crate) fn opening(bytes: &[u8]) -> Opening {
    if bytes.first().is_some_and(|first| *first != CONNECT) {
        return Opening::Foreign;
    }
    let ends = |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0x80 == 0);
    let Some(last) = (1..=LENGTH_BYTES_MAX).find(ends) else {
        return if bytes.len() > LENGTH_BYTES_MAX { Opening::Foreign } else { Opening::Short };
    };
    let Some(name) = bytes.get(last + 1..last + 7) else { return Opening::Short };
    match (name, bytes.get(last + 7)) {
        (b"\x00\x04MQTT", Some(4)) => Opening::Version(Version::V4),
        (b"\x00\x04MQTT", Some(5)) => Opening::Version(Version::V5),
        // 3.1, which calls itself so.
        (b"\x00\x04MQTT", Some(_)) | (b"\x00\x06MQIs", _) => Opening::Unknown,
        (b"\x00\x04MQTT", None) => Opening::Short,
        _ => Opening::Foreign,
    }
}

/// Takes a packet off the front, if all of it is there.
///
/// # Errors
/// What is none, or too long.
pub(crate) fn decode(version: Version, bytes: &mut BytesMut, bytes_max: u32) -> io::Result<Option<v5::Packet>> {
    match version {
        Version::V5 => match v5::Packet::read(bytes, Some(bytes_max)) {
            Ok(packet) => Ok(Some(packet)),
            Err(Error5::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(invalid(error)),
        },
        Version::V4 => match v4::Packet::read(bytes, bytes_max as usize) {
            Ok(packet) => newer(packet).map(Some).ok_or_else(|| invalid("no packet of a client")),
            Err(Error4::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(invalid(error)),
        },
    }
}

/// Adds a packet; what version 3.1.1 has no packet for is left out.
///
/// # Errors
/// What cannot be written.
pub(crate) fn encode(version: Version, packet: v5::Packet, bytes: &mut BytesMut) -> io::Result<()> {
    match version {
        Version::V5 => packet.write(bytes, None).map(drop).map_err(invalid),
        Version::V4 => match older(packet) {
            Some(packet) => packet.write(bytes, usize::MAX).map(drop).map_err(invalid),
            None => Ok(()),
        },
    }
}

/// What a client is told of what could not be read.
pub(crate) fn reason_of(error: &io::Error) -> v5::DisconnectReasonCode {
    match error.get_ref().and_then(|error| error.downcast_ref::<Error5>()) {
        Some(Error5::PayloadSizeLimitExceeded { .. }) => v5::DisconnectReasonCode::PacketTooLarge,
        Some(Error5::ProtocolViolation(reason)) => *reason,
        Some(Error5::ProtocolError) => v5::DisconnectReasonCode::ProtocolError,
        _ => v5::DisconnectReasonCode::MalformedPacket,
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A client's packet, as version 5 would have it.
fn newer(packet: v4::Packet) -> Option<v5::Packet> {
    Some(match packet {
        v4::Packet::Connect(connect) => newer_connect(connect),
        v4::Packet::Publish(v4::Publish { dup, qos, retain, topic, pkid, payload }) => {
            v5::Packet::Publish(v5::Publish { dup, qos, retain, topic, pkid, payload, properties: None })
        }
        v4::Packet::PubAck(v4::PubAck { pkid }) => v5::Packet::PubAck(v5::PubAck::new(pkid, None)),
        v4::Packet::Subscribe(v4::Subscribe { pkid, filters }) => {
            let filters = filters.into_iter().map(|filter| v5::SubscribeFilter::new(filter.path, filter.qos));
            v5::Packet::Subscribe(v5::Subscribe { pkid, filters: filters.collect(), properties: None })
        }
        v4::Packet::Unsubscribe(v4::Unsubscribe { pkid, topics }) => {
            v5::Packet::Unsubscribe(v5::Unsubscribe { pkid, filters: topics, properties: None })
        }
        v4::Packet::PingReq => v5::Packet::PingReq,
        v4::Packet::Disconnect => {
            v5::Packet::Disconnect(v5::Disconnect::new(v5::DisconnectReasonCode::NormalDisconnection))
        }
        v4::Packet::ConnAck(_)
        | v4::Packet::PubRec(_)
        | v4::Packet::PubRel(_)
        | v4::Packet::PubComp(_)
        | v4::Packet::SubAck(_)
        | v4::Packet::UnsubAck(_)
        | v4::Packet::PingResp => return None,
    })
}

fn newer_connect(connect: v4::Connect) -> v5::Packet {
    let v4::Connect { keep_alive, client_id, clean_session, last_will, auth } = connect;
    let auth = match auth {
        v4::ConnectAuth::None => v5::ConnectAuth::None,
        v4::ConnectAuth::Username { username } => v5::ConnectAuth::Username { username },
        v4::ConnectAuth::UsernamePassword { username, password } => {
            v5::ConnectAuth::UsernamePassword { username, password }
        }
    };
    let will = last_will.map(|v4::LastWill { topic, message, qos, retain }| v5::LastWill {
        topic: Bytes::from(topic),
        message,
        qos,
        retain,
        properties: None,
    });
    let mut properties = v5::ConnectProperties::new();
    // A clean session ends with its connection, too; any other is kept for as long as it may be.
    properties.session_expiry_interval = Some(if clean_session { 0 } else { u32::MAX });
    let connect = v5::Connect { keep_alive, client_id, clean_start: clean_session, properties: Some(properties) };
    v5::Packet::Connect(connect, will, auth)
}

/// A broker's packet, as version 3.1.1 has it.
fn older(packet: v5::Packet) -> Option<v4::Packet> {
    Some(match packet {
        v5::Packet::ConnAck(v5::ConnAck { session_present, code, properties: _ }) => {
            v4::Packet::ConnAck(v4::ConnAck::new(older_code(code), session_present))
        }
        v5::Packet::Publish(v5::Publish { dup, qos, retain, topic, pkid, payload, properties: _ }) => {
            v4::Packet::Publish(v4::Publish { dup, qos, retain, topic, pkid, payload })
        }
        v5::Packet::PubAck(ack) => v4::Packet::PubAck(v4::PubAck::new(ack.pkid)),
        v5::Packet::SubAck(v5::SubAck { pkid, return_codes, properties: _ }) => {
            let codes = return_codes.into_iter().map(|code| match code {
                v5::SubscribeReasonCode::Success(qos) => v4::SubscribeReasonCode::Success(qos),
                _ => v4::SubscribeReasonCode::Failure,
            });
            v4::Packet::SubAck(v4::SubAck::new(pkid, codes.collect()))
        }
        v5::Packet::UnsubAck(ack) => v4::Packet::UnsubAck(v4::UnsubAck::new(ack.pkid)),
        v5::Packet::PingResp => v4::Packet::PingResp,
        // It says goodbye by closing.
        _ => return None,
    })
}

fn older_code(code: v5::ConnectReturnCode) -> v4::ConnectReturnCode {
    match code {
        v5::ConnectReturnCode::Success => v4::ConnectReturnCode::Success,
        v5::ConnectReturnCode::ClientIdentifierNotValid => v4::ConnectReturnCode::BadClientId,
        v5::ConnectReturnCode::QuotaExceeded | v5::ConnectReturnCode::ServerUnavailable => {
            v4::ConnectReturnCode::ServiceUnavailable
        }
        _ => v4::ConnectReturnCode::NotAuthorized,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connect(version: Version) -> BytesMut {
        let mut bytes = BytesMut::new();
        match version {
            Version::V4 => {
                let packet = v4::Packet::Connect(v4::Connect::new("d-1"));
                packet.write(&mut bytes, usize::MAX).map(drop).unwrap();
            }
            Version::V5 => {
                let connect =
                    v5::Connect { keep_alive: 5, client_id: "d-1".into(), clean_start: true, properties: None };
                let packet = v5::Packet::Connect(connect, None, v5::ConnectAuth::None);
                packet.write(&mut bytes, None).map(drop).unwrap();
            }
        }
        bytes
    }

    #[test]
    fn the_first_bytes_say_the_version() {
        for version in [Version::V4, Version::V5] {
            let mut bytes = connect(version);
            assert_eq!(opening(&bytes), Opening::Version(version));
            assert!((0..9).all(|length| opening(&bytes[..length]) == Opening::Short));
            let packet = decode(version, &mut bytes, 1024).unwrap().unwrap();
            assert!(matches!(packet, v5::Packet::Connect(connect, None, _) if connect.client_id == "d-1"));
        }
        let mut bytes = connect(Version::V4);
        bytes[8] = 3;
        assert_eq!(opening(&bytes), Opening::Unknown);
        assert_eq!(opening(b"\x10\x10\x00\x06MQIsdp\x03"), Opening::Unknown);
        assert_eq!(opening(b"GET / HTTP/1.1\r\n"), Opening::Foreign);
        assert_eq!(opening(b"\x10\xff\xff\xff\xff\xff"), Opening::Foreign);
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_has_come() {
        for version in [Version::V4, Version::V5] {
            let mut bytes = BytesMut::from(&b"\x30\xff\xff\x7f"[..]);
            decode(version, &mut bytes, 1024).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(noise in prop::collection::vec(any::<u8>(), 0..200), kind in any::<u8>()) {
            let length = u8::try_from(noise.len().min(127)).unwrap();
            for version in [Version::V4, Version::V5] {
                let mut bytes = BytesMut::from(&[kind, length][..]);
                bytes.extend_from_slice(&noise);
                while !bytes.is_empty() && matches!(decode(version, &mut bytes, 1024), Ok(Some(_))) {}
            }
            opening(&noise);
        }
    }
}
