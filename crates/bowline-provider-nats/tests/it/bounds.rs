//! What is kept, for how long, how much of it, and for whom.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::Engine as _;
use bowline_messaging::{Error, GroupSettings, MessageBus, NewMessage, Then, TopicSettings, Which};
use bowline_model::error::chain;
use bowline_provider_nats::{Credentials, Nats, Settings};
use bowline_runtime::{metric, time};
use bowline_testkit::nats::Server;
use futures_util::StreamExt as _;

use crate::connect;

const PATIENCE: Duration = Duration::from_secs(30);

fn large() -> NewMessage {
    NewMessage { payload: vec![7; 100_000].into(), ..NewMessage::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_at_its_bound_forgets_only_what_is_done() {
    let Some(server) = Server::start() else { return };
    let bus = connect(&server.url()).await;
    let topic = TopicSettings { bytes_max: 4 << 20, ..TopicSettings::default() };
    bus.declare("t", topic.clone()).await.unwrap();
    for _ in 0..100 {
        bus.publish("t", large()).await.expect("nobody needs the old ones");
    }
    let mut group = bus.subscribe("t", "behind", GroupSettings::default(), 1).await.unwrap();
    let full = loop {
        if let Err(error) = bus.publish("t", large()).await {
            break error;
        }
    };
    assert!(matches!(&full, Error::Full { by: Some(by), .. } if by == "behind"), "{full}");
    let count = bus.read("t", 0, 100).await.unwrap().len();
    for _ in 0..count {
        group.next().await.unwrap().ack().await.unwrap();
    }
    bus.publish("t", large()).await.expect("there is room again");
    let info = &bus.topics().await.unwrap()[0];
    assert!(info.bytes <= topic.bytes_max, "{info:?}");
    assert_eq!((info.settings.clone(), info.groups[0].lag, info.groups[0].consumers), (topic, 1, 1));
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_by_their_age_once_every_group_is_done() {
    let Some(server) = Server::start() else { return };
    let tidy_every = Duration::from_millis(50);
    let settings = Settings { tidy_every, ..Settings::new(server.url(), metric::Registry::default()) };
    let bus = Nats::connect(settings).await.unwrap();
    let topic = TopicSettings { keep: Duration::ZERO, dedup: Duration::ZERO, ..TopicSettings::default() };
    bus.declare("t", topic).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    for text in ["1", "2", "3"] {
        bus.publish("t", NewMessage { payload: text.into(), ..NewMessage::default() }).await.unwrap();
    }
    group.next().await.unwrap().ack().await.unwrap();
    let second = group.next().await.unwrap();
    let first = time::timeout(PATIENCE, async {
        loop {
            let first = bus.topics().await.unwrap()[0].first;
            if first > 1 {
                return first;
            }
        }
    });
    assert_eq!(first.await.unwrap(), 2, "what a group is not done with stays");
    second.ack().await.unwrap();
    assert_eq!(group.next().await.unwrap().message.payload.as_ref(), b"3");
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_wait_for_a_topic_ask_no_more_than_a_few() {
    let Some(server) = Server::start() else { return };
    let bus = connect(&server.url()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    bus.publish("t", NewMessage::default()).await.unwrap();
    let watching = async_nats::connect(server.url()).await.unwrap();
    let mut asked = watching.subscribe("$JS.API.STREAM.>").await.unwrap();
    watching.flush().await.unwrap();
    let wait = Duration::from_secs(2);
    let tails = (0..50).map(|_| bus.tail("t", 2, 1, wait));
    for tail in futures_util::future::join_all(tails).await {
        assert_eq!(tail.unwrap().messages.len(), 0);
    }
    watching.flush().await.unwrap();
    let mut count = 0;
    while let Ok(Some(_)) = time::timeout(Duration::from_millis(200), asked.next()).await {
        count += 1;
    }
    assert!((100..=400).contains(&count), "{count} questions: each asks at the beginning and at the end");
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_what_comes_often_asks_no_more_than_a_few() {
    let Some(server) = Server::start() else { return };
    let bus = connect(&server.url()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let watching = async_nats::connect(server.url()).await.unwrap();
    let mut asked = watching.subscribe("$JS.API.STREAM.INFO.>").await.unwrap();
    watching.flush().await.unwrap();
    let published = AtomicU64::new(0);
    let publishing = async {
        for _ in 0..100 {
            bus.publish("t", NewMessage::default()).await.unwrap();
            published.fetch_add(1, Ordering::SeqCst);
            time::sleep(Duration::from_millis(20)).await; // tidy: sleep: the load has a rate
        }
    };
    let reading = (0..10).map(async |_| {
        let mut from = 1;
        while from <= 100 {
            let before = published.load(Ordering::SeqCst);
            let tail = bus.tail("t", from, 100, PATIENCE).await.unwrap();
            from = tail.messages.last().unwrap().position + 1;
            assert!(from > before, "what was there when it was asked for is told");
        }
    });
    time::timeout(PATIENCE, futures_util::future::join(publishing, futures_util::future::join_all(reading)))
        .await
        .expect("whatever comes is noticed soon");
    watching.flush().await.unwrap();
    let mut count = 0;
    while let Ok(Some(_)) = time::timeout(Duration::from_millis(200), asked.next()).await {
        count += 1;
    }
    // Each time that is looked, of which there are about ten: a reader reads what is there, perhaps what came
    // meanwhile, and that there is no more.
    assert!(count <= 500, "{count} questions");
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_told_although_another_who_looked_was_ended() {
    let Some(server) = Server::start() else { return };
    let bus = connect(&server.url()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let ended = bus.clone();
    let elsewhere = std::thread::spawn(move || {
        // Whatever looks for this one ends with the runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ended.tail("t", 1, 1, Duration::from_millis(100))).unwrap()
    });
    assert_eq!(elsewhere.join().unwrap().messages.len(), 0);
    let publishing = async {
        assert_eq!(bus.tail("t", 1, 1, Duration::from_millis(100)).await.unwrap().messages.len(), 0);
        bus.publish("t", NewMessage::default()).await.unwrap();
    };
    let waiting = time::timeout(Duration::from_secs(10), bus.tail("t", 1, 1, PATIENCE));
    let (told, ()) = futures_util::future::join(waiting, publishing).await;
    assert_eq!(told.expect("it is looked anew").unwrap().messages.len(), 1);
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_delayed_ones_are_refused_and_hold_nobody_up() {
    let Some(server) = Server::start() else { return };
    let settings = Settings { delayed_max: 3, ..Settings::new(server.url(), metric::Registry::default()) };
    let bus = Nats::connect(settings).await.unwrap();
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    let late = NewMessage { delay: Duration::from_hours(1), ..NewMessage::default() };
    let refused = time::timeout(PATIENCE, async {
        loop {
            if let Err(error) = bus.publish("t", late.clone()).await {
                return error;
            }
        }
    });
    let refused = refused.await.unwrap();
    assert!(matches!(refused, Error::TooMany { max: 3, .. }) && refused.retryable(), "{refused}");
    bus.publish("t", NewMessage { payload: "soon".into(), ..NewMessage::default() }).await.unwrap();
    let soon = time::timeout(PATIENCE, group.next()).await.unwrap().unwrap();
    assert_eq!(soon.message.payload.as_ref(), b"soon");
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_bounded_by_their_bytes() {
    let Some(server) = Server::start() else { return };
    let bus = connect(&server.url()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    for _ in 0..24 {
        let payload = vec![7; 500_000].into();
        bus.publish("t", NewMessage { payload, ..NewMessage::default() }).await.unwrap();
        group.next().await.unwrap().nack("no use", Then::Dead).await.unwrap();
    }
    let messages = bus.read("t", 0, 100).await.unwrap();
    let letters = bus.dead("t", 0, 100).await.unwrap();
    assert_eq!((messages.len(), letters.len()), (16, 16));
    assert_eq!(bus.read("t", messages[15].position + 1, 100).await.unwrap().len(), 8);
    assert_eq!(bus.dead("t", letters[15].position, 100).await.unwrap().len(), 8);
    assert_eq!(bus.redrive("t", Which::All).await.unwrap(), 24);
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_buries_what_there_is_no_room_for_is_told() {
    let Some(server) = Server::start() else { return };
    let bus = connect(&server.url()).await;
    bus.declare("t", TopicSettings { bytes_max: 4 << 20, ..TopicSettings::default() }).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    let refused = time::timeout(PATIENCE, async {
        loop {
            bus.publish("t", large()).await.unwrap();
            if let Err(error) = group.next().await.unwrap().nack("no use", Then::Dead).await {
                return error;
            }
        }
    });
    let refused = refused.await.expect("every nack is answered");
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_counted_of_a_topic_that_is_not_there() {
    let Some(server) = Server::start() else { return };
    let metrics = metric::Registry::default();
    let bus = Nats::connect(Settings::new(server.url(), metrics.clone())).await.unwrap();
    bus.declare("there", TopicSettings::default()).await.unwrap();
    for topic in ["there", "missing"] {
        let kept = bus.publish(topic, NewMessage::default()).await;
        assert!(kept.is_ok() || matches!(kept, Err(Error::NoTopic { .. })), "{kept:?}");
    }
    let shown = metrics.render();
    assert!(shown.contains("\"there\"") && !shown.contains("missing"), "{shown}");
    bus.close().await;
    let closed = bus.publish("there", NewMessage::default()).await;
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
    assert!(matches!(bus.topics().await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_ask_is_told() {
    let Some(server) = Server::start_with("authorization { token: \"t0ken\" }") else { return };
    let with = |credentials| Settings { credentials, ..Settings::new(server.url(), metric::Registry::default()) };
    let find = |value: &'static str| {
        Credentials::find(move |name| (name == "BOWLINE_NATS_TOKEN").then(|| value.to_owned())).unwrap()
    };
    let bus = Nats::connect(with(find("t0ken"))).await.unwrap();
    bus.declare("t", TopicSettings::default()).await.unwrap();
    bus.close().await;
    let refused = Nats::connect(with(find("wrong"))).await.unwrap_err();
    let text = chain(&refused);
    assert!(text.contains("authorization") && text.contains(&server.url()) && !text.contains("wrong"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_proves_who_it_is() {
    let dir = bowline_testkit::temp_dir();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    std::fs::write(&cert_file, pem("CERTIFICATE", certificate.der())).unwrap();
    std::fs::write(&key_file, pem("PRIVATE KEY", &key.serialize_der())).unwrap();
    let tls = format!("tls {{ cert_file: {cert_file:?}, key_file: {key_file:?} }}");
    let Some(server) = Server::start_with(&tls) else { return };
    let settings = Settings::new(format!("tls://{}", server.addr()), metric::Registry::default());
    let bus = Nats::connect(Settings { ca: Some(cert_file), ..settings.clone() }).await.unwrap();
    bus.declare("t", TopicSettings::default()).await.unwrap();
    bus.close().await;
    let text = chain(&Nats::connect(settings).await.unwrap_err());
    assert!(text.contains("certificate"), "{text}");
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let url = format!("nats://{}", bowline_testkit::free_addr());
    let failed = Nats::connect(Settings::new(&url, metric::Registry::default())).await.unwrap_err();
    let text = chain(&failed);
    assert!(text.contains(&url) && text.contains("cannot connect to NATS"), "{text}");
    let credentials = Credentials::File("no-such-file.creds".into());
    let settings = Settings { credentials, ..Settings::new(&url, metric::Registry::default()) };
    let text = chain(&Nats::connect(settings).await.unwrap_err());
    assert!(text.contains("no-such-file.creds"), "{text}");
}
