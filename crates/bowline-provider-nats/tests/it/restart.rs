//! A NATS server that is killed again and again while messages are published and consumed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline_messaging::{GroupSettings, MessageBus, NewMessage, Subscription, TopicSettings};
use bowline_provider_nats::Nats;
use bowline_runtime::{rand, task, time};
use bowline_testkit::{eventually, nats::Server, seed};

use crate::connect;

const KEYS: usize = 8;
const PER_KEY: usize = 200;
const KILLS: usize = 4;
const CONSUMERS: usize = 2;
const PATIENCE: Duration = Duration::from_mins(2);

/// What was delivered, and what of it was acknowledged for certain.
#[derive(Default)]
struct Seen {
    /// Of each key, the numbers as they came.
    numbers: BTreeMap<String, Vec<usize>>,
    acked: BTreeMap<String, Vec<usize>>,
    failed_acks: usize,
    /// Delivered again though it was acknowledged.
    again: usize,
}

#[derive(Default)]
struct Published {
    count: AtomicUsize,
    failures: AtomicUsize,
    duplicates: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_server_that_is_killed() {
    let Some(mut server) = Server::start() else { return };
    seed();
    let bus = connect(&server.url()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let backoff = Duration::from_millis(10);
    let settings = GroupSettings { backoff, backoff_max: backoff, attempts_max: 1000, ..GroupSettings::default() };
    let seen = Arc::new(Mutex::new(Seen::default()));
    for _ in 0..CONSUMERS {
        let group = bus.subscribe("t", "g", settings.clone(), 10).await.unwrap();
        task::spawn(consume(group, seen.clone()));
    }
    let published = Arc::new(Published::default());
    for key in 0..KEYS {
        task::spawn(publish(bus.clone(), format!("k{key}"), published.clone()));
    }
    let began = time::now();
    for kill in 1..=KILLS {
        let at = (kill * KEYS * PER_KEY) / (KILLS + 2) + rand::below(100);
        eventually(PATIENCE, || published.count.load(Ordering::Relaxed) >= at).await;
        server.kill();
        server.begin();
    }
    eventually(PATIENCE, || published.count.load(Ordering::Relaxed) == KEYS * PER_KEY).await;
    let all_done = async { while bus.topics().await.unwrap()[0].groups[0].lag > 0 {} };
    time::timeout(PATIENCE, all_done).await.expect("everything is consumed in the end");
    bus.close().await;
    let seen = seen.lock().unwrap();
    let delivered: usize = seen.numbers.values().map(Vec::len).sum();
    println!(
        "{} published in {:.1?} ({} calls failed, {} were there already), {KILLS} kills, {delivered} deliveries: {} more \
         than once, {} acknowledgements failed",
        KEYS * PER_KEY,
        began.elapsed(),
        published.failures.load(Ordering::Relaxed),
        published.duplicates.load(Ordering::Relaxed),
        delivered - KEYS * PER_KEY,
        seen.failed_acks,
    );
    assert_eq!(seen.again, 0, "what was acknowledged is not delivered again");
    for (key, numbers) in &seen.numbers {
        let (mut next, mut last) = (0, None);
        for number in numbers {
            // What comes again is what consumers had when the server died, and all behind it once more.
            let is_in_order = *number <= last.map_or(0, |last: usize| last + 1);
            assert!(is_in_order && number + CONSUMERS >= next, "{key}: {number} came after {last:?}, before {next}");
            next = next.max(number + 1);
            last = Some(*number);
        }
        assert_eq!(next, PER_KEY, "{key}");
    }
}

/// Publishes numbers under a key, each until it is kept.
async fn publish(bus: Nats, key: String, published: Arc<Published>) {
    for number in 0..PER_KEY {
        let message = NewMessage {
            id: Some(format!("{key}-{number}")),
            key: Some(key.clone()),
            payload: number.to_string().into(),
            ..NewMessage::default()
        };
        loop {
            match bus.publish("t", message.clone()).await {
                Ok(kept) => {
                    published.duplicates.fetch_add(usize::from(kept.is_duplicate), Ordering::Relaxed);
                    break;
                }
                Err(error) => {
                    assert!(error.retryable(), "{error}");
                    published.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        published.count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn consume(mut group: Subscription, seen: Arc<Mutex<Seen>>) {
    while let Ok(delivery) = group.next().await {
        let key = delivery.message.key.clone().unwrap();
        let number: usize = std::str::from_utf8(&delivery.message.payload).unwrap().parse().unwrap();
        {
            let mut seen = seen.lock().unwrap();
            let was_acked = seen.acked.get(&key).is_some_and(|acked| acked.contains(&number));
            seen.again += usize::from(was_acked);
            seen.numbers.entry(key.clone()).or_default().push(number);
        }
        let acked = delivery.ack().await;
        let mut seen = seen.lock().unwrap();
        match acked {
            Ok(()) => seen.acked.entry(key).or_default().push(number),
            Err(_) => seen.failed_acks += 1,
        }
    }
}
