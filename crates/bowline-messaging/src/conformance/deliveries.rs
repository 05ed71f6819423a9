//! Deliveries: once to each group, again where they fail, in order within a key.

use std::{sync::Arc, time::Duration};

use bowline_runtime::time;

use super::{is_lost, keyed, message, next, nothing, quick, text, topic};
use crate::{Delivery, Error, GroupSettings, MessageBus, NewMessage, Start, Subscription, Then};

/// Each group gets each message, one of its consumers once; what was acknowledged is not delivered again.
pub async fn every_group_gets_a_message_once(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "groups").await;
    for number in 0..20 {
        bus.publish(&topic, message(&number.to_string())).await.expect("publishes");
    }
    for group in ["a", "b"] {
        let mut first = bus.subscribe(&topic, group, quick(), 5).await.expect("joins");
        let mut second = bus.subscribe(&topic, group, quick(), 5).await.expect("joins");
        let mut found = Vec::new();
        while found.len() < 20 {
            let delivery = next_of(&mut first, &mut second).await;
            assert_eq!(delivery.attempt, 1);
            delivery.ack().await.expect("acks");
            assert!(is_lost(&delivery.ack().await), "it is acknowledged once");
            found.push(text(&delivery).parse::<u32>().expect("it was a number"));
        }
        found.sort_unstable();
        assert_eq!(found, (0..20).collect::<Vec<_>>());
        nothing(&mut first).await;
        drop((first, second));
        let mut again = bus.subscribe(&topic, group, quick(), 5).await.expect("joins");
        nothing(&mut again).await;
    }
}

/// The next message of either.
async fn next_of(first: &mut Subscription, second: &mut Subscription) -> Delivery {
    loop {
        for group in [&mut *first, &mut *second] {
            if let Ok(delivery) = time::timeout(Duration::from_millis(20), group.next()).await {
                return delivery.expect("the subscription goes on");
            }
        }
    }
}

/// What was not processed comes again, with the number of the try: after the back-off, which doubles and half of which
/// is up to chance, or after the time that was asked for.
pub async fn what_fails_is_tried_again_later(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "retry").await;
    let (backoff, backoff_max) = (Duration::from_secs(2), Duration::from_secs(3));
    let settings = GroupSettings { backoff, backoff_max, ..quick() };
    let mut group = bus.subscribe(&topic, "g", settings, 1).await.expect("joins");
    bus.publish(&topic, message("x")).await.expect("publishes");
    let mut delivery = next(&mut group).await;
    let never = delivery.nack("not now", Then::After(Duration::from_hours(24 * 366))).await;
    assert!(matches!(never, Err(Error::Invalid { .. })), "{never:?}");
    for (then, at_least, below) in [
        (Then::Retry, 990, 3_000),
        (Then::Retry, 1_490, 4_000),
        (Then::After(Duration::from_millis(700)), 690, 1_700),
        (Then::After(Duration::ZERO), 0, 1_000),
    ] {
        let (begin, attempt) = (time::now(), delivery.attempt);
        delivery.nack("not now", then).await.expect("nacks");
        assert!(is_lost(&delivery.ack().await), "it is not this consumer's any more");
        delivery = next(&mut group).await;
        let waited = begin.elapsed();
        let range = Duration::from_millis(at_least)..Duration::from_millis(below);
        assert!(range.contains(&waited), "after {then:?} it came after {waited:?}");
        assert_eq!(delivery.attempt, attempt + 1);
    }
    delivery.ack().await.expect("acks");
    nothing(&mut group).await;
}

/// A message that is not answered in time comes again; whoever asks for more time has it.
pub async fn a_lease_ends_unless_it_is_extended(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "lease").await;
    let settings = GroupSettings { lease: Duration::from_secs(2), ..quick() };
    let mut group = bus.subscribe(&topic, "g", settings, 2).await.expect("joins");
    bus.publish(&topic, message("x")).await.expect("publishes");
    let first = next(&mut group).await;
    time::sleep(Duration::from_millis(1500)).await;
    first.extend(Duration::from_secs(4)).await.expect("extends");
    let early = time::timeout(Duration::from_secs(3), group.next()).await;
    assert!(early.is_err(), "it was extended");
    let second = next(&mut group).await;
    assert_eq!(second.attempt, 2);
    assert!(is_lost(&first.ack().await) && is_lost(&first.extend(Duration::from_secs(1)).await));
    second.ack().await.expect("acks");
    nothing(&mut group).await;
}

/// Who joined before others did hears how long its leases are now.
pub async fn a_lease_is_as_long_as_its_group_has_it(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "leases").await;
    let with = |lease| GroupSettings { lease, ..quick() };
    let mut old = bus.subscribe(&topic, "g", with(Duration::from_secs(30)), 1).await.expect("joins");
    let mut new = bus.subscribe(&topic, "g", with(Duration::from_mins(10)), 1).await.expect("joins");
    for text in ["x", "y"] {
        bus.publish(&topic, message(text)).await.expect("publishes");
    }
    for group in [&mut old, &mut new] {
        let delivery = next(group).await;
        let left = delivery.until - time::now();
        assert!(left > Duration::from_mins(9) && left <= Duration::from_mins(10), "{left:?} are left");
        delivery.ack().await.expect("acks");
    }
}

/// Messages with one key come one after the other, also when one fails; other keys do not wait.
pub async fn keys_are_kept_in_order(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "keys").await;
    let mut group = bus.subscribe(&topic, "g", quick(), 10).await.expect("joins");
    for text in ["a1", "a2", "b1", "a3"] {
        bus.publish(&topic, keyed(&text[..1], text)).await.expect("publishes");
    }
    let (first, other) = (next(&mut group).await, next(&mut group).await);
    assert_eq!((text(&first).as_str(), text(&other).as_str()), ("a1", "b1"));
    nothing(&mut group).await;
    first.nack("again", Then::After(Duration::from_secs(1))).await.expect("nacks");
    nothing(&mut group).await;
    for expected in ["a1", "a2", "a3"] {
        let delivery = next(&mut group).await;
        assert_eq!(text(&delivery), expected);
        nothing(&mut group).await;
        delivery.ack().await.expect("acks");
    }
    other.ack().await.expect("acks");
    nothing(&mut group).await;
}

/// A delayed message comes when its time has come; those after it do not wait for it, though they have its key.
pub async fn a_delayed_message_holds_nobody_up(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "delay").await;
    let mut group = bus.subscribe(&topic, "g", quick(), 10).await.expect("joins");
    let begin = time::now();
    let late = NewMessage { delay: Duration::from_secs(3), ..keyed("k", "late") };
    bus.publish(&topic, late).await.expect("publishes");
    bus.publish(&topic, keyed("k", "soon")).await.expect("publishes");
    let soon = next(&mut group).await;
    assert_eq!(text(&soon), "soon");
    soon.ack().await.expect("acks");
    let late = next(&mut group).await;
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_millis(2990) && waited < Duration::from_secs(5), "it came after {waited:?}");
    late.ack().await.expect("acks");
}

/// What expired before somebody could take it is not delivered.
pub async fn an_expired_message_is_not_delivered(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "expiry").await;
    let brief = NewMessage { expires_in: Some(Duration::from_secs(1)), ..message("brief") };
    bus.publish(&topic, brief).await.expect("publishes");
    bus.publish(&topic, message("lasting")).await.expect("publishes");
    time::sleep(Duration::from_millis(1100)).await;
    let mut group = bus.subscribe(&topic, "g", quick(), 10).await.expect("joins");
    let delivery = next(&mut group).await;
    assert_eq!(text(&delivery), "lasting");
    delivery.ack().await.expect("acks");
    nothing(&mut group).await;
}

/// A consumer has as many messages as it asked for, until it answers one.
pub async fn a_consumer_has_no_more_than_its_credit(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "credit").await;
    let mut group = bus.subscribe(&topic, "g", quick(), 3).await.expect("joins");
    for number in 0..6 {
        bus.publish(&topic, message(&number.to_string())).await.expect("publishes");
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut group).await);
    }
    nothing(&mut group).await;
    held.remove(0).ack().await.expect("acks");
    held.push(next(&mut group).await);
    nothing(&mut group).await;
}

/// What a consumer had when it left is given to another one, as a try that failed.
pub async fn what_a_consumer_left_goes_to_others(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "leave").await;
    let settings = GroupSettings { start: Start::Next, ..quick() };
    bus.publish(&topic, message("before")).await.expect("publishes");
    let mut first = bus.subscribe(&topic, "g", settings.clone(), 2).await.expect("joins");
    bus.publish(&topic, message("x")).await.expect("publishes");
    let delivery = next(&mut first).await;
    drop(first);
    let mut second = bus.subscribe(&topic, "g", settings, 2).await.expect("joins");
    let again = next(&mut second).await;
    assert_eq!((text(&again).as_str(), again.attempt), ("x", 2));
    assert!(is_lost(&delivery.ack().await), "its lease ended when it left");
    again.ack().await.expect("acks");
}

/// What its consumer dropped comes again when its lease has ended, also where that was all that it may have.
pub async fn what_is_not_answered_comes_again(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "dropped").await;
    let settings = GroupSettings { lease: Duration::from_millis(500), attempts_max: 100, ..quick() };
    let mut group = bus.subscribe(&topic, "g", settings, 1).await.expect("joins");
    bus.publish(&topic, message("x")).await.expect("publishes");
    let mut last = 0;
    for _ in 0..3 {
        let attempt = next(&mut group).await.attempt;
        assert!(attempt > last, "the try {attempt} came after {last}");
        last = attempt;
    }
    // A slow machine may come too late.
    while next(&mut group).await.ack().await.is_err() {}
    nothing(&mut group).await;
}

/// A consumer that does not come to its messages for longer than their tries would last finds them there.
pub async fn who_takes_nothing_spends_few_tries(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "busy").await;
    let settings = GroupSettings { lease: Duration::from_millis(500), attempts_max: 8, ..quick() };
    let mut group = bus.subscribe(&topic, "g", settings, 2).await.expect("joins");
    for text in ["a", "b"] {
        bus.publish(&topic, message(text)).await.expect("publishes");
    }
    time::sleep(Duration::from_secs(5)).await;
    let (mut first, mut acked) = (true, 0);
    while acked < 2 {
        let delivery = next(&mut group).await;
        assert!(!first || delivery.attempt <= 4, "{} tries were spent", delivery.attempt);
        first = false;
        // On a slow machine the lease of the second one may end during the first.
        acked += usize::from(delivery.ack().await.is_ok());
    }
    assert!(bus.dead(&topic, 0, 10).await.expect("lists").is_empty());
    nothing(&mut group).await;
}
