//! The suite that every provider of the port passes.
//!
//! A provider's test calls [`all`] with a bus and with a way to open it again, as a restart does. The suite makes
//! topics of its own. Times are waited for through [`bowline_runtime::time`], so a test may pause the clock; it
//! panics where the port's promise is broken.

mod deliveries;
mod letters;
mod tails;
mod topics;

use std::{sync::Arc, time::Duration};

use bowline_runtime::{BoxFuture, rand, time};

use crate::{Delivery, Error, GroupSettings, MessageBus, NewMessage, Subscription, Then, TopicSettings};

pub use deliveries::{
    a_consumer_has_no_more_than_its_credit, a_delayed_message_holds_nobody_up, a_lease_ends_unless_it_is_extended,
    a_lease_is_as_long_as_its_group_has_it, an_expired_message_is_not_delivered, every_group_gets_a_message_once,
    keys_are_kept_in_order, what_a_consumer_left_goes_to_others, what_fails_is_tried_again_later,
    what_is_not_answered_comes_again, who_takes_nothing_spends_few_tries,
};
pub use letters::{
    dead_letters_are_purged, what_cannot_be_processed_is_a_dead_letter, what_was_redriven_is_its_groups,
};
pub use tails::{
    a_tail_is_told_what_comes, a_tail_says_where_the_topic_begins_and_ends, what_is_there_is_told_at_once,
};
pub use topics::{a_group_is_set_back, an_id_is_published_once, limits_are_refused, messages_are_read_by_position};

/// Opens a bus again after everything of the first was dropped.
pub type Reopen = Box<dyn FnMut(Arc<dyn MessageBus>) -> BoxFuture<'static, Arc<dyn MessageBus>> + Send>;

/// The longest that a message is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

/// For so long a message must not come.
const QUIET: Duration = Duration::from_millis(300);

/// Everything, one after the other.
pub async fn all(bus: Arc<dyn MessageBus>, reopen: Reopen) {
    let shared = &bus;
    limits_are_refused(shared).await;
    an_id_is_published_once(shared).await;
    messages_are_read_by_position(shared).await;
    what_is_there_is_told_at_once(shared).await;
    a_tail_is_told_what_comes(shared).await;
    a_tail_says_where_the_topic_begins_and_ends(shared).await;
    every_group_gets_a_message_once(shared).await;
    what_fails_is_tried_again_later(shared).await;
    a_lease_ends_unless_it_is_extended(shared).await;
    a_lease_is_as_long_as_its_group_has_it(shared).await;
    keys_are_kept_in_order(shared).await;
    a_delayed_message_holds_nobody_up(shared).await;
    an_expired_message_is_not_delivered(shared).await;
    a_consumer_has_no_more_than_its_credit(shared).await;
    what_a_consumer_left_goes_to_others(shared).await;
    what_is_not_answered_comes_again(shared).await;
    who_takes_nothing_spends_few_tries(shared).await;
    what_cannot_be_processed_is_a_dead_letter(shared).await;
    what_was_redriven_is_its_groups(shared).await;
    dead_letters_are_purged(shared).await;
    a_group_is_set_back(shared).await;
    a_restart_keeps_all_of_it(bus, reopen).await;
}

/// What was answered holds after a restart: what is done is not delivered again, and everything else is.
pub async fn a_restart_keeps_all_of_it(bus: Arc<dyn MessageBus>, mut reopen: Reopen) {
    let topic = topic(&bus, "restart").await;
    let settings = GroupSettings { attempts_max: 3, ..quick() };
    let mut group = bus.subscribe(&topic, "g", settings.clone(), 10).await.expect("joins");
    for text in ["acked", "tried", "leased", "dead"] {
        bus.publish(&topic, message(text)).await.expect("publishes");
    }
    let [acked, tried, leased, dead] =
        [next(&mut group).await, next(&mut group).await, next(&mut group).await, next(&mut group).await];
    acked.ack().await.expect("acks");
    tried.nack("busy", Then::After(Duration::from_secs(1))).await.expect("nacks");
    dead.nack("bad", Then::Dead).await.expect("nacks");
    let late = NewMessage { delay: Duration::from_secs(20), ..message("late") };
    bus.publish(&topic, late).await.expect("publishes");
    drop((group, acked, tried, leased, dead));

    let bus = reopen(bus).await;
    let begin = time::now();
    let mut group = bus.subscribe(&topic, "g", settings, 10).await.expect("joins");
    let mut found = Vec::new();
    while found.len() < 3 {
        let delivery = next(&mut group).await;
        let text = text(&delivery);
        assert!(text != "late" || begin.elapsed() >= Duration::from_secs(15), "the delay goes on");
        assert!(text != "tried" || delivery.attempt == 2, "tries are counted over a restart");
        delivery.ack().await.expect("acks");
        found.push(text);
    }
    found.sort();
    assert_eq!(found, ["late", "leased", "tried"]);
    nothing(&mut group).await;
    let letters = bus.dead(&topic, 0, 10).await.expect("lists");
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].failure.as_str(), letters[0].message.payload.as_ref()), ("bad", b"dead".as_ref()));
}

/// A topic of this test alone.
async fn topic(bus: &Arc<dyn MessageBus>, name: &str) -> String {
    let name = format!("{name}-{:016x}", rand::u64());
    bus.declare(&name, TopicSettings::default()).await.expect("declares");
    name
}

fn message(text: &str) -> NewMessage {
    NewMessage { payload: text.to_owned().into(), ..NewMessage::default() }
}

fn keyed(key: &str, text: &str) -> NewMessage {
    NewMessage { key: Some(key.to_owned()), ..message(text) }
}

fn quick() -> GroupSettings {
    GroupSettings { backoff: Duration::ZERO, backoff_max: Duration::ZERO, ..GroupSettings::default() }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.to_vec()).expect("it was a text")
}

async fn next(group: &mut Subscription) -> Delivery {
    time::timeout(PATIENCE, group.next()).await.expect("a message comes").expect("the subscription goes on")
}

/// That no message comes.
async fn nothing(group: &mut Subscription) {
    let next = time::timeout(QUIET, group.next()).await;
    assert!(next.is_err(), "{next:?} must not come");
}

fn is_lost(answer: &Result<(), Error>) -> bool {
    matches!(answer, Err(Error::LeaseLost { .. }))
}
