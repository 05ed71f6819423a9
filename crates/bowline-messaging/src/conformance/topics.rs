//! Topics: what is published stands in order, once, and can be read again.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bowline_runtime::BoxFuture;

use super::{message, next, nothing, quick, text, topic};
use crate::{
    Error, GroupSettings, HEADERS_MAX, ID_BYTES_MAX, MessageBus, NewMessage, PAYLOAD_BYTES_MAX, Published, Start,
    TopicSettings,
};

/// What exceeds a limit is refused before anything happens.
pub async fn limits_are_refused(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "limits").await;
    let long = "x".repeat(ID_BYTES_MAX + 1);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let bad = [
        NewMessage { id: Some(String::new()), ..NewMessage::default() },
        NewMessage { id: Some(long.clone()), ..NewMessage::default() },
        NewMessage { id: Some("redrive/1".to_owned()), ..NewMessage::default() },
        NewMessage { key: Some(long), ..NewMessage::default() },
        NewMessage { headers: vec![header("a", "b"); HEADERS_MAX + 1], ..NewMessage::default() },
        NewMessage { headers: vec![header("a", "b\r\nc: d")], ..NewMessage::default() },
        NewMessage { headers: vec![header("", "b")], ..NewMessage::default() },
        NewMessage { payload: vec![0; PAYLOAD_BYTES_MAX + 1].into(), ..NewMessage::default() },
        NewMessage { delay: Duration::from_hours(24 * 366), ..NewMessage::default() },
    ];
    for message in bad {
        let refused = bus.publish(&topic, message).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    for name in ["", "a/b", "..", "ä"] {
        let refused = bus.declare(name, TopicSettings::default()).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
        let refused = bus.subscribe(&topic, name, GroupSettings::default(), 1).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    for (settings, credit) in [
        (GroupSettings { lease: Duration::ZERO, ..quick() }, 1),
        (GroupSettings { attempts_max: 0, ..quick() }, 1),
        (GroupSettings { backoff: Duration::from_secs(9), ..quick() }, 1),
        (quick(), 0),
    ] {
        let refused = bus.subscribe(&topic, "g", settings, credit).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    assert!(matches!(bus.publish("no-such-topic", message("x")).await, Err(Error::NoTopic { .. })));
    assert!(matches!(bus.seek(&topic, "no-such", Start::First).await, Err(Error::NoGroup { .. })));
    let largest = NewMessage { payload: vec![7; PAYLOAD_BYTES_MAX].into(), ..NewMessage::default() };
    let position = bus.publish(&topic, largest).await.expect("the largest message is published").position;
    assert_eq!(bus.read(&topic, position, 1).await.expect("reads")[0].payload.len(), PAYLOAD_BYTES_MAX);
}

/// A message whose id was published before is kept once, also when both are published at once.
pub async fn an_id_is_published_once(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "dedup").await;
    let message = NewMessage { id: Some("one".to_owned()), ..message("x") };
    let first = bus.publish(&topic, message.clone()).await.expect("publishes");
    assert_eq!(first, Published { position: 1, is_duplicate: false });
    let again = bus.publish(&topic, message.clone()).await.expect("publishes");
    assert_eq!(again, Published { position: 1, is_duplicate: true });
    let other = NewMessage { id: Some("two".to_owned()), ..message };
    let both = both(bus.publish(&topic, other.clone()), bus.publish(&topic, other)).await;
    let both = both.map(|published| published.expect("publishes"));
    assert_eq!(both.map(|published| published.position), [2, 2]);
    assert_ne!(both[0].is_duplicate, both[1].is_duplicate);
    assert_eq!(bus.read(&topic, 1, 10).await.expect("reads").len(), 2);
}

/// Both at once.
async fn both<T>(mut left: BoxFuture<'_, T>, mut right: BoxFuture<'_, T>) -> [T; 2] {
    let (mut first, mut second) = (None, None);
    poll_fn(move |context| {
        for (future, output) in [(&mut left, &mut first), (&mut right, &mut second)] {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        match (first.take(), second.take()) {
            (Some(left), Some(right)) => Poll::Ready([left, right]),
            (left, right) => {
                (first, second) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}

/// Messages are read by their position, with all that was published, whoever processed them.
pub async fn messages_are_read_by_position(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "read").await;
    for number in 1..=30 {
        bus.publish(&topic, message(&number.to_string())).await.expect("publishes");
    }
    let page = bus.read(&topic, 11, 5).await.expect("reads");
    let texts: Vec<_> = page.iter().map(|message| (message.position, message.payload.as_ref())).collect();
    let expected: Vec<(u64, &[u8])> = vec![(11, b"11"), (12, b"12"), (13, b"13"), (14, b"14"), (15, b"15")];
    assert_eq!(texts, expected);
    assert_eq!(bus.read(&topic, 29, 5).await.expect("reads").len(), 2);
    assert!(bus.read(&topic, 31, 5).await.expect("reads").is_empty());
    let infos = bus.topics().await.expect("lists");
    let info = infos.iter().find(|info| info.name == topic).expect("it is listed");
    assert_eq!((info.first, info.next, info.dead), (1, 31, 0));
}

/// A group that is set back gets everything from there on again; what its consumers had is lost to them.
pub async fn a_group_is_set_back(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "seek").await;
    let mut group = bus.subscribe(&topic, "g", quick(), 1).await.expect("joins");
    for text in ["1", "2", "3"] {
        bus.publish(&topic, message(text)).await.expect("publishes");
    }
    for expected in ["1", "2"] {
        let delivery = next(&mut group).await;
        assert_eq!(text(&delivery), expected);
        delivery.ack().await.expect("acks");
    }
    let held = next(&mut group).await;
    bus.seek(&topic, "g", Start::At(2)).await.expect("seeks");
    assert!(held.ack().await.is_err(), "it was set back meanwhile");
    for expected in ["2", "3"] {
        let delivery = next(&mut group).await;
        assert_eq!((text(&delivery).as_str(), delivery.attempt), (expected, 1));
        delivery.ack().await.expect("acks");
    }
    nothing(&mut group).await;
    bus.publish(&topic, message("4")).await.expect("publishes");
    let held = next(&mut group).await;
    bus.remove_group(&topic, "g").await.expect("removes");
    // The same try of the same message, in another life of the group.
    let settings = GroupSettings { start: Start::At(4), ..quick() };
    let mut anew = bus.subscribe(&topic, "g", settings, 1).await.expect("joins");
    let again = next(&mut anew).await;
    assert_eq!((again.message.position, again.attempt), (held.message.position, held.attempt));
    assert!(held.ack().await.is_err(), "the group it was of is gone");
    again.ack().await.expect("acks");
    bus.remove_group(&topic, "g").await.expect("removes");
    assert!(matches!(bus.remove_group(&topic, "g").await, Err(Error::NoGroup { .. })));
}
