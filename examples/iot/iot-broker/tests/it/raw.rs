//! A client that sends packets of version 5 as it likes, and sees each one that it is sent.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bowline_runtime::{metric::Registry, net::TcpStream, time};
use bowline_testkit::{TempDir, temp_dir};
use bytes::BytesMut;
use iot_broker::{Accounts, Bounds, Broker, Settings};
use rumqttc_v4::mqttbytes::v4;
use rumqttc_v5::{
    QoS,
    mqttbytes::{
        Error,
        v5::{
            ConnAck, Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode,
            LastWill, Packet, PubAck, Publish, Subscribe, SubscribeFilter, SubscribeReasonCode,
        },
    },
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};

use crate::conformance::Rules;

/// How long anything may take, of the time that may be virtual.
const PATIENCE: Duration = Duration::from_hours(1);

/// A broker with bounds of its own, its folder, and what it counts.
pub(crate) struct Fixture {
    pub(crate) broker: Broker,
    pub(crate) metrics: Registry,
    pub(crate) dir: TempDir,
}

impl Fixture {
    pub(crate) async fn start(bounds: Bounds) -> Self {
        Self::start_in(temp_dir(), bounds).await
    }

    pub(crate) async fn start_in(dir: TempDir, bounds: Bounds) -> Self {
        let settings = Settings { bounds, ..Settings::new("127.0.0.1:0".parse().unwrap(), dir.path()) };
        let metrics = Registry::default();
        let broker = Broker::start(settings, Arc::new(Rules), &metrics).await.unwrap();
        Self { broker, metrics, dir }
    }

    /// One with the system's accounts; everybody's password is `token`.
    pub(crate) async fn with_accounts(dir: TempDir, bounds: Bounds) -> Self {
        let settings = Settings { bounds, ..Settings::new("127.0.0.1:0".parse().unwrap(), dir.path()) };
        let metrics = Registry::default();
        let broker = Accounts::start(settings, "token", &metrics).await.unwrap();
        Self { broker, metrics, dir }
    }

    /// Stops it, and starts it again on its folder.
    pub(crate) async fn restart(self, bounds: Bounds) -> Self {
        let Self { broker, dir, .. } = self;
        broker.stop().await;
        Self::start_in(dir, bounds).await
    }

    /// The same for [`Fixture::with_accounts`].
    pub(crate) async fn restart_with_accounts(self, bounds: Bounds) -> Self {
        let Self { broker, dir, .. } = self;
        broker.stop().await;
        Self::with_accounts(dir, bounds).await
    }

    /// A connection within this process, whose time may be virtual.
    pub(crate) fn pipe(&self) -> Raw<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.broker.serve(theirs);
        Raw::new(ours)
    }

    /// A client that was let in.
    pub(crate) async fn client(&self, connect: Connecting<'_>) -> Raw<DuplexStream> {
        let mut client = self.pipe();
        assert_eq!(client.connect(connect).await.code, ConnectReturnCode::Success);
        client
    }

    /// The number of a metric.
    pub(crate) fn count(&self, series: &str) -> i64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
    }
}

/// What is asked for when connecting.
#[derive(Debug, Clone)]
pub(crate) struct Connecting<'a> {
    pub(crate) id: &'a str,
    /// Its id, where it says nothing else.
    pub(crate) user: &'a str,
    pub(crate) is_clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: ConnectProperties,
    pub(crate) will: Option<LastWill>,
}

impl<'a> Connecting<'a> {
    /// A session that ends with its connection.
    pub(crate) fn clean(id: &'a str) -> Self {
        Self { id, user: id, is_clean: true, keep_alive: 60, properties: ConnectProperties::new(), will: None }
    }

    /// A session that is kept for so many seconds.
    pub(crate) fn lasting(id: &'a str, expiry_s: u32) -> Self {
        let mut lasting = Self { is_clean: false, ..Self::clean(id) };
        lasting.properties.session_expiry_interval = Some(expiry_s);
        lasting
    }
}

pub(crate) struct Raw<S> {
    pub(crate) stream: S,
    input: BytesMut,
}

impl Raw<TcpStream> {
    pub(crate) async fn dial(addr: SocketAddr) -> Self {
        Self::new(TcpStream::connect(addr).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next packet; none when it was closed.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.input, None) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            let read = time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await.expect("nothing came");
            if read.is_ok_and(|count| count == 0) {
                return None;
            }
        }
    }

    pub(crate) async fn connect(&mut self, connecting: Connecting<'_>) -> ConnAck {
        let Connecting { id, user, is_clean, keep_alive, properties, will } = connecting;
        let auth = ConnectAuth::UsernamePassword { username: user.to_owned(), password: "token".into() };
        let connect =
            Connect { keep_alive, client_id: id.to_owned(), clean_start: is_clean, properties: Some(properties) };
        self.send(Packet::Connect(connect, will, auth)).await;
        match self.next().await {
            Some(Packet::ConnAck(ack)) => ack,
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// Connects as a client of version 3.1.1. What it sends and gets from then on is the same, but for messages.
    pub(crate) async fn connect_v4(&mut self, id: &str, keep_alive: u16) {
        let mut connect = v4::Connect { keep_alive, ..v4::Connect::new(id) };
        connect.set_credentials(id, "token");
        self.send_v4(&v4::Packet::Connect(connect)).await;
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0]);
    }

    pub(crate) async fn publish_v4(&mut self, pkid: u16, topic: &str, payload: &str) {
        let publish = v4::Publish { pkid, ..v4::Publish::new(topic, QoS::AtLeastOnce, payload) };
        self.send_v4(&v4::Packet::Publish(publish)).await;
    }

    async fn send_v4(&mut self, packet: &v4::Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn subscribe(&mut self, filter: SubscribeFilter) -> SubscribeReasonCode {
        self.send(Packet::Subscribe(Subscribe { pkid: 1, filters: vec![filter], properties: None })).await;
        match self.next().await {
            Some(Packet::SubAck(ack)) => ack.return_codes[0],
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// Sends a message of QoS 1, and does not wait for the answer.
    pub(crate) async fn publish(&mut self, pkid: u16, topic: &str, payload: &str) {
        self.send(publish(pkid, topic, payload)).await;
    }

    /// The next answer to a message.
    pub(crate) async fn acknowledged(&mut self) -> PubAck {
        match self.next().await {
            Some(Packet::PubAck(ack)) => ack,
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// The next message, which is not acknowledged.
    pub(crate) async fn message(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?} instead of a message"),
        }
    }

    pub(crate) async fn acknowledge(&mut self, pkid: u16) {
        self.send(Packet::PubAck(PubAck::new(pkid, None))).await;
    }

    /// Asks whether it is alive, and sees that nothing else comes before the answer.
    pub(crate) async fn ping(&mut self) {
        self.send(Packet::PingReq).await;
        assert_eq!(self.next().await, Some(Packet::PingResp));
    }

    /// Why it was closed.
    pub(crate) async fn refused(&mut self) -> DisconnectReasonCode {
        match self.next().await {
            Some(Packet::Disconnect(Disconnect { reason_code, .. })) => {
                assert_eq!(self.next().await, None);
                reason_code
            }
            other => panic!("{other:?} instead of a goodbye"),
        }
    }
}

pub(crate) fn publish(pkid: u16, topic: &str, payload: &str) -> Packet {
    let qos = if pkid == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    Packet::Publish(Publish { pkid, ..Publish::new(topic, qos, payload.to_owned(), None) })
}

/// The same, retained.
pub(crate) fn retained(pkid: u16, topic: &str, payload: &str) -> Packet {
    Packet::Publish(Publish { retain: true, pkid, ..Publish::new(topic, QoS::AtLeastOnce, payload.to_owned(), None) })
}

pub(crate) fn at_least_once(filter: &str) -> SubscribeFilter {
    SubscribeFilter::new(filter, QoS::AtLeastOnce)
}
