//! Dead letters: what could not be processed, kept until somebody decides.

use std::sync::Arc;

use super::{message, next, nothing, quick, text, topic};
use crate::{Error, GroupSettings, MessageBus, NewMessage, Then, Which};

/// After its last try, or when it is said that none will help, a message is a dead letter, with all that is known of
/// it; those behind it go on.
pub async fn what_cannot_be_processed_is_a_dead_letter(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "dead").await;
    let settings = GroupSettings { attempts_max: 2, ..quick() };
    let mut group = bus.subscribe(&topic, "g", settings, 1).await.expect("joins");
    let headers = vec![("traceparent".to_owned(), "00-1-2-01".to_owned())];
    let poison = NewMessage { key: Some("k".to_owned()), headers: headers.clone(), ..message("poison") };
    bus.publish(&topic, NewMessage { id: Some("id-1".to_owned()), ..poison.clone() }).await.expect("publishes");
    bus.publish(&topic, NewMessage { payload: "fatal".into(), ..poison.clone() }).await.expect("publishes");
    bus.publish(&topic, NewMessage { payload: "good".into(), ..poison }).await.expect("publishes");
    for attempt in 1..=2 {
        let delivery = next(&mut group).await;
        assert_eq!((text(&delivery).as_str(), delivery.attempt), ("poison", attempt));
        delivery.nack(&format!("failure {attempt}"), Then::Retry).await.expect("nacks");
    }
    let fatal = next(&mut group).await;
    assert_eq!(text(&fatal), "fatal");
    fatal.nack("no use", Then::Dead).await.expect("nacks");
    let good = next(&mut group).await;
    assert_eq!(text(&good), "good");
    good.ack().await.expect("acks");
    let letters = bus.dead(&topic, 0, 10).await.expect("lists");
    let letter = &letters[0];
    assert_eq!((letter.group.as_str(), letter.attempts, letter.failure.as_str()), ("g", 2, "failure 2"));
    let message = &letter.message;
    assert_eq!((message.id.as_str(), message.key.as_deref(), &message.headers), ("id-1", Some("k"), &headers));
    assert_eq!((message.payload.as_ref(), message.position), (b"poison".as_ref(), 1));
    assert_eq!((letters[1].attempts, letters[1].failure.as_str()), (1, "no use"));
    let page = bus.dead(&topic, letters[0].position, 10).await.expect("lists");
    assert_eq!(page, letters[1..]);
}

/// A dead letter that is redriven is tried anew, by its own group alone, and is a dead letter no more.
pub async fn what_was_redriven_is_its_groups(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "redrive").await;
    let settings = GroupSettings { attempts_max: 1, ..quick() };
    let mut failing = bus.subscribe(&topic, "failing", settings, 5).await.expect("joins");
    let mut other = bus.subscribe(&topic, "other", quick(), 5).await.expect("joins");
    for text in ["x", "y"] {
        bus.publish(&topic, message(text)).await.expect("publishes");
        next(&mut failing).await.nack("broken", Then::Retry).await.expect("nacks");
        next(&mut other).await.ack().await.expect("acks");
    }
    let first = bus.dead(&topic, 0, 1).await.expect("lists")[0].position;
    assert_eq!(bus.redrive(&topic, Which::At(first)).await.expect("redrives"), 1);
    let again = next(&mut failing).await;
    assert_eq!((text(&again).as_str(), again.attempt), ("x", 1));
    again.ack().await.expect("acks");
    assert_eq!(bus.redrive(&topic, Which::At(first)).await.expect("redrives"), 0);
    assert_eq!(bus.redrive(&topic, Which::All).await.expect("redrives"), 1);
    next(&mut failing).await.ack().await.expect("acks");
    nothing(&mut other).await;
    nothing(&mut failing).await;
    assert!(bus.dead(&topic, 0, 10).await.expect("lists").is_empty());
    // Nobody would get what is of a group that is gone: it stays.
    bus.publish(&topic, message("z")).await.expect("publishes");
    next(&mut failing).await.nack("broken", Then::Retry).await.expect("nacks");
    bus.remove_group(&topic, "failing").await.expect("removes");
    assert_eq!(bus.redrive(&topic, Which::All).await.expect("redrives"), 0);
    assert_eq!(bus.dead(&topic, 0, 10).await.expect("lists").len(), 1);
}

/// A dead letter that is purged is gone.
pub async fn dead_letters_are_purged(bus: &Arc<dyn MessageBus>) {
    let topic = topic(bus, "purge").await;
    let settings = GroupSettings { attempts_max: 1, ..quick() };
    let mut group = bus.subscribe(&topic, "g", settings, 5).await.expect("joins");
    for text in ["x", "y", "z"] {
        bus.publish(&topic, message(text)).await.expect("publishes");
        next(&mut group).await.nack("broken", Then::Retry).await.expect("nacks");
    }
    let first = bus.dead(&topic, 0, 1).await.expect("lists")[0].position;
    assert_eq!(bus.purge(&topic, Which::At(first)).await.expect("purges"), 1);
    assert_eq!(bus.purge(&topic, Which::At(first)).await.expect("purges"), 0);
    assert_eq!(bus.purge(&topic, Which::All).await.expect("purges"), 2);
    assert!(bus.dead(&topic, 0, 10).await.expect("lists").is_empty());
    nothing(&mut group).await;
    let missing = bus.dead("no-such-topic", 0, 10).await;
    assert!(matches!(missing, Err(Error::NoTopic { .. })));
}
