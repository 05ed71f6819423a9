//! A broker whose disk fails.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bowline_disk::Operation;
use bowline_testkit::temp_dir;
use bytes::BytesMut;
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{Connect, ConnectAuth, ConnectProperties, Packet, Publish, Subscribe, SubscribeFilter},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::admission::Identity;

struct Everybody;

impl Admission for Everybody {
    fn authenticate(&self, client: &str, _: Option<&str>, _: Option<&[u8]>) -> Option<Identity> {
        Some(Identity::new(client))
    }

    fn may_publish(&self, _: &Identity, _: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _: &Identity, _: &str) -> bool {
        true
    }
}

struct Client(DuplexStream, BytesMut);

impl Client {
    /// A client whose session lasts.
    async fn connect(broker: &Broker, id: &str) -> Self {
        let (ours, theirs) = tokio::io::duplex(4096);
        broker.serve(theirs);
        let mut client = Self(ours, BytesMut::new());
        let mut properties = ConnectProperties::new();
        properties.session_expiry_interval = Some(600);
        let (client_id, properties) = (id.to_owned(), Some(properties));
        let connect = Connect { keep_alive: 0, client_id, clean_start: false, properties };
        client.send(Packet::Connect(connect, None, ConnectAuth::None)).await;
        assert!(matches!(client.next().await, Packet::ConnAck(_)));
        client
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.0.write_all(&bytes).await.unwrap();
    }

    async fn next(&mut self) -> Packet {
        loop {
            if let Ok(packet) = Packet::read(&mut self.1, None) {
                return packet;
            }
            assert!(self.0.read_buf(&mut self.1).await.unwrap() > 0, "it was closed");
        }
    }

    /// Nothing comes before the answer.
    async fn ping(&mut self) {
        self.send(Packet::PingReq).await;
        assert_eq!(self.next().await, Packet::PingResp);
    }
}

#[tokio::test(start_paused = true)]
async fn while_nothing_can_be_written_nobody_is_acknowledged_and_nothing_is_lost() {
    let (dir, fails) = (temp_dir(), Arc::new(AtomicBool::new(false)));
    let disk = Disk::faulty({
        let fails = Arc::clone(&fails);
        move |operation| match operation {
            Operation::Sync { .. } | Operation::Replace { .. } if fails.load(Relaxed) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    });
    let settings = Settings::new(([127, 0, 0, 1], 0).into(), dir.path());
    let metrics = Registry::default();
    let broker = Broker::start_on(disk, settings.clone(), Arc::new(Everybody), &metrics).await.unwrap();
    let mut data = Client::connect(&broker, "data").await;
    let filters = vec![SubscribeFilter::new("a", QoS::AtLeastOnce)];
    data.send(Packet::Subscribe(Subscribe { pkid: 1, filters, properties: None })).await;
    assert!(matches!(data.next().await, Packet::SubAck(_)));
    let mut device = Client::connect(&broker, "device").await;
    fails.store(true, Relaxed);
    let message = Publish { pkid: 7, ..Publish::new("a", QoS::AtLeastOnce, "x", None) };
    device.send(Packet::Publish(message)).await;
    for _ in 0..3 {
        time::sleep(Duration::from_secs(5)).await;
        device.ping().await;
        assert!(!broker.handle().is_writing());
    }
    fails.store(false, Relaxed);
    assert!(matches!(device.next().await, Packet::PubAck(ack) if ack.pkid == 7));
    assert!(broker.handle().is_writing());
    // As `kill -9` would: nobody says goodbye.
    drop((broker, data, device));
    let mut again = Broker::start(settings.clone(), Arc::new(Everybody), &metrics).await;
    for _ in 0..1000 {
        if again.is_ok() {
            break;
        }
        // Until the task that writes has given the folder back.
        task::yield_now().await;
        again = Broker::start(settings.clone(), Arc::new(Everybody), &metrics).await;
    }
    let broker = again.unwrap();
    let mut data = Client::connect(&broker, "data").await;
    assert!(matches!(data.next().await, Packet::Publish(message) if message.payload == "x"));
}
