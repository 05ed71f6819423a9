//! Reading what comes, without a group.

use std::{sync::Arc, time::Duration};

use bowline_runtime::{task, time};

use super::{PATIENCE, QUIET, message, topic};
use crate::{Error, MessageBus, Tail};

/// What is there is told at once, one message after the other, with the id of the one before.
pub async fn what_is_there_is_told_at_once(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "tail").await;
    for number in 1..=5 {
        bus.publish(&topic, message(&number.to_string())).await.expect("publishes");
    }
    let whole = tail(bus, &topic, 1, Duration::ZERO).await;
    assert_eq!((whole.first, whole.next, &whole.before), (1, 6, &None));
    assert_eq!(positions(&whole), [1, 2, 3, 4, 5]);
    let rest = tail(bus, &topic, 3, PATIENCE).await;
    assert_eq!(positions(&rest), [3, 4, 5]);
    assert_eq!(rest.before.as_ref(), Some(&whole.messages[1].id));
    let some = bus.tail(&topic, 2, 2, PATIENCE).await.expect("reads");
    assert_eq!((positions(&some), some.next), (vec![2, 3], 6));
    let refused = bus.tail("no-such-topic", 1, 10, Duration::ZERO).await;
    assert!(matches!(refused, Err(Error::NoTopic { .. })), "{refused:?}");
}

/// Who waits at the end is told what comes, as are all others, and nothing where nothing comes.
pub async fn a_tail_is_told_what_comes(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "tail").await;
    bus.publish(&topic, message("1")).await.expect("publishes");
    let begin = time::now();
    let nothing = tail(bus, &topic, 2, QUIET).await;
    assert!(nothing.messages.is_empty() && nothing.before.is_some() && nothing.next == 2, "{nothing:?}");
    assert!(begin.elapsed() >= QUIET, "it waited {:?}", begin.elapsed());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (bus, topic) = (bus.clone(), topic.clone());
            task::spawn(async move { tail(&bus, &topic, 2, Duration::from_secs(30)).await })
        })
        .collect();
    time::sleep(QUIET).await;
    bus.publish(&topic, message("2")).await.expect("publishes");
    for waiting in waiting {
        let told = time::timeout(PATIENCE, waiting).await.expect("it is told").expect("it does not panic");
        assert_eq!((positions(&told), told.messages[0].payload.as_ref()), (vec![2], b"2".as_ref()));
    }
}

/// Who asks for what cannot be is told at once where the topic begins and ends.
pub async fn a_tail_says_where_the_topic_begins_and_ends(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "tail").await;
    let empty = tail(bus, &topic, 1, Duration::ZERO).await;
    assert_eq!(empty, Tail { first: 1, next: 1, before: None, messages: Vec::new() });
    bus.publish(&topic, message("1")).await.expect("publishes");
    let beyond = time::timeout(Duration::from_secs(20), tail(bus, &topic, 1 << 50, Duration::from_secs(30)));
    let beyond = beyond.await.expect("at once");
    assert_eq!(beyond, Tail { first: 1, next: 2, before: None, messages: Vec::new() });
}

async fn tail(bus: &Arc<dyn MessageBus>, topic: &str, from: u64, wait: Duration) -> Tail {
    bus.tail(topic, from, 100, wait).await.expect("reads")
}

fn positions(tail: &Tail) -> Vec<u64> {
    tail.messages.iter().map(|message| message.position).collect()
}
