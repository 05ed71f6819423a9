//! `bowline messages`: a message that nobody can process is found, with its trace, and tried anew.

use std::time::Duration;

use bowline_messaging::{Delivery, GroupSettings, MessageBus as _, NewMessage, Subscription, TopicSettings};
use bowline_provider_remote::RemoteMessages;
use bowline_runtime::time;

use crate::harness::{Home, PATIENCE, Running, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A command that must fail, and what it says.
async fn refused(running: &Running, args: &[&str]) -> String {
    let outcome = running.outcome(args).await;
    assert_eq!(outcome.status.code(), Some(1), "{args:?}");
    String::from_utf8(outcome.stderr).unwrap()
}

async fn next(group: &mut Subscription) -> Delivery {
    time::timeout(PATIENCE, group.next()).await.expect("a message comes").unwrap()
}

#[tokio::test]
async fn a_poisoned_message_is_found_and_tried_anew() {
    let home = Home::new("name = \"empty\"\n");
    let mut running = home.up().await;
    assert_eq!(running.command(&["messages", "topics"]).await, "there are no topics yet\n");
    let bus = RemoteMessages::new(running.api());
    bus.declare("order.placed", TopicSettings::default()).await.unwrap();
    let settings = GroupSettings { attempts_max: 2, backoff: Duration::ZERO, ..GroupSettings::default() };
    let mut group = bus.subscribe("order.placed", "mail", settings, 1).await.unwrap();
    let poison = NewMessage {
        key: Some("ann".to_owned()),
        headers: vec![("traceparent".to_owned(), format!("00-{TRACE}-00f067aa0ba902b7-01"))],
        payload: r#"{"id":7,"to":"nobody"}"#.into(),
        ..NewMessage::default()
    };
    bus.publish("order.placed", poison).await.unwrap();
    for _ in 0..2 {
        next(&mut group).await.nack("no such \x1b[31maddress", bowline_messaging::Then::Retry).await.unwrap();
    }
    let is_dead = async || running.command(&["messages", "list", "order.placed", "--dead"]).await.contains("no such");
    assert!(eventually(PATIENCE, is_dead).await);
    let list = running.command(&["messages", "list", "order.placed", "--dead"]).await;
    assert!(list.contains("mail   2      {\"id\":7,\"to\":\"nobody\"}  no such address"), "{list}");
    let topics = running.command(&["messages", "topics"]).await;
    assert!(topics.contains("1     mail   0    0        -"), "{topics}");

    let shown = running.command(&["messages", "show", "order.placed", "1", "--dead"]).await;
    for part in
        [&*format!("see: bowline trace {TRACE}"), "  {\n    \"id\": 7,", "redrive order.placed 1", "tries        2"]
    {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let json = running.command(&["messages", "show", "order.placed", "1", "--output", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["key"], &json["payload"]), (&"ann".into(), &"eyJpZCI6NywidG8iOiJub2JvZHkifQ==".into()));
    for (args, told) in [
        (["show", "order.placed", "9"], "no message at 9"),
        (["show", "other", "1"], "no topic `other`"),
        (["redrive", "order.placed", "9"], "no dead letter 9"),
    ] {
        let said = refused(&running, &[&["messages"], &args[..]].concat()).await;
        assert!(said.contains(told), "{said}");
    }

    let redriven = running.command(&["messages", "redrive", "order.placed", "--all"]).await;
    assert_eq!(redriven, "1 dead letter given back\n");
    let again = next(&mut group).await;
    assert_eq!((again.attempt, &again.message.only), (1, &Some("mail".to_owned())));
    again.ack().await.unwrap();
    let purged = running.command(&["messages", "purge", "order.placed", "--dead", "--all"]).await;
    assert_eq!(purged, "0 dead letters deleted\n");
    let audit = running.command(&["audit", "--kind", "messages"]).await;
    assert!(audit.contains("+topics/order.placed/dead"), "{audit}");
    running.stop().await;
}
