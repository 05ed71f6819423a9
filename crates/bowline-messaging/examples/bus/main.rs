//! Publishes to and consumes from the embedded bus, or NATS JetStream, as fast as it goes, and prints JSON: how many
//! messages, in which time.
//!
//! `bus publish ours DIR PUBLISHERS BYTES SECONDS`: each publisher awaits the answer to a message before the next.
//! `bus consume ours DIR BYTES COUNT`: a new group gets the first messages of a topic, each acknowledged by itself.
//! `nats ADDR` in place of `ours DIR` does the same there; `bus fill nats ADDR BYTES COUNT` makes what is consumed.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement fails loudly and prints what it found")]

mod nats;

use std::{env, sync::Arc, time::Duration};

use bowline_messaging::{Embedded, GroupSettings, MessageBus, NewMessage, Settings, TopicSettings};
use bowline_runtime::{metric, rand, task, time};

/// How many messages are with a consumer at a time, on either side.
const CREDIT: usize = 1000;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().unwrap();
    let (count, took) = match words[..] {
        ["publish", whose, place, publishers, bytes, seconds] => {
            let (publishers, bytes) = (number(publishers), number(bytes));
            let time = Duration::from_secs_f64(seconds.parse().unwrap());
            if whose == "nats" {
                nats::publish(place, publishers, bytes, time)
            } else {
                run(publish(place.to_owned(), publishers, bytes, time))
            }
        }
        ["consume", "nats", place, bytes, count] => nats::consume(place, number(bytes), number(count)),
        ["consume", "ours", place, bytes, count] => run(consume(place.to_owned(), number(bytes), number(count))),
        ["fill", "nats", place, bytes, count] => nats::fill(place, number(bytes), number(count)),
        _ => panic!("publish, consume or fill; see the source"),
    };
    println!("{{\"count\":{count},\"seconds\":{:.6}}}", took.as_secs_f64());
}

fn run<T>(work: impl Future<Output = T>) -> T {
    task::shared_runtime(2).unwrap().block_on(work)
}

async fn open(dir: String, topic: &str) -> Arc<dyn MessageBus> {
    let bus = Embedded::open(Settings::new(dir, metric::Registry::default())).await.unwrap();
    bus.declare(topic, TopicSettings::default()).await.unwrap();
    Arc::new(bus)
}

fn message(bytes: usize) -> NewMessage {
    NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() }
}

async fn publish(dir: String, publishers: usize, bytes: usize, time: Duration) -> (usize, Duration) {
    let bus = open(dir, "publish").await;
    let begin = time::now();
    let mut tasks = task::JoinSet::new();
    for _ in 0..publishers {
        let bus = bus.clone();
        tasks.spawn(async move {
            let mut count = 0;
            while begin.elapsed() < time {
                bus.publish("publish", message(bytes)).await.unwrap();
                count += 1;
            }
            count
        });
    }
    let mut count = 0;
    while let Some(of_one) = tasks.join_next().await {
        count += of_one.unwrap();
    }
    (count, begin.elapsed())
}

async fn consume(dir: String, bytes: usize, count: usize) -> (usize, Duration) {
    let topic = format!("consume-{bytes}");
    let bus = open(dir, &topic).await;
    let is_filled = bus.topics().await.unwrap().iter().any(|info| info.name == topic && info.next > count as u64);
    if !is_filled {
        let mut tasks = task::JoinSet::new();
        for _ in 0..CREDIT {
            let (bus, topic) = (bus.clone(), topic.clone());
            tasks.spawn(async move {
                for _ in 0..count.div_ceil(CREDIT) {
                    bus.publish(&topic, message(bytes)).await.unwrap();
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
    let group = format!("g{:016x}", rand::u64());
    let begin = time::now();
    let mut group = bus.subscribe(&topic, &group, GroupSettings::default(), CREDIT).await.unwrap();
    let mut acks = task::JoinSet::new();
    for _ in 0..count {
        let delivery = group.next().await.unwrap();
        assert_eq!(delivery.message.payload.len(), bytes);
        acks.spawn(async move { delivery.ack().await.unwrap() });
        while acks.try_join_next().is_some() {}
    }
    while acks.join_next().await.is_some() {}
    (count, begin.elapsed())
}
