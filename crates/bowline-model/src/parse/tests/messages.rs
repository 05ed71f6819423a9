//! Where messages live, and how topics are kept: `[messages]`, `[topic."NAME"]`.

use std::time::Duration;

use super::{check_all, parse};
use crate::{
    messages::{MessagesPolicy, TopicDeclaration},
    system::Outbound,
};

#[test]
fn messages_and_topics() {
    check_all(
        "name = \"t\"\n$",
        r#"
[messages]
nats = "http://127.0.0.1:4222"
  3:8+23 `nats` is not the URL of a NATS server → write "nats://HOST:PORT", or "tls://HOST:PORT"; who asks is said by `credential`

[messages]
nats = "nats://me:secret@127.0.0.1:4222"
  3:8+33 `nats` is not the URL of a NATS server → write "nats://HOST:PORT", or "tls://HOST:PORT"; who asks is said by `credential`

[messages]
credential = "env:TOKEN"
  2:1+10 `credential` without `nats` → name the server that it is for, or remove it

[messages]
nats = "nats://127.0.0.1:4222"
credential = "hunter2"
  4:14+9 `credential` is not the place of a secret → write "env:NAME" or "file:PATH"

[topic.order.placed]
  2:14+6 unknown key `placed` in a topic → a topic has: keep, bytes_max, dedup

[topic."Order"]
  2:8+7 `Order` is not the name of a topic → write it in quotes, of a-z, 0-9 and inner . _ -: `[topic."order.placed"]`

[topic."order.placed"]
keep = "0s"
  3:8+4 `keep` (0s) is out of range → write a duration from 1s to 365d

[topic."order.placed"]
bytes_max = "1 MiB"
  3:13+7 `bytes_max` is out of range → write a size from 4 MiB to 1024 GiB

[topic."order.placed"]
dedup = "2d"
  3:9+4 `dedup` (2d) is out of range → write a duration from 1s to 1d
"#,
    );
}

#[test]
fn every_topic_of_a_system_is_known() {
    let text = r#"name = "t"
[messages]
nats = "nats://127.0.0.1:4222"
credential = "env:NATS_TOKEN"
[topic."a.done"]
keep = "7d"
bytes_max = "64 MiB"
dedup = "10m"
[topic."left.over"]
[service.a.boundary]
state = ["topic:a.done", "topic:a.begun", "cache:a"]
[service.a.calls.b]
mode = "message"
topics = ["a.done", "a.sent"]
[service.b.calls.a]
mode = "async"
"#;
    let system = parse(text).unwrap();
    let topics = system.all_topics();
    assert_eq!(topics.keys().collect::<Vec<_>>(), ["a.begun", "a.done", "a.sent", "calls.b.a", "left.over"]);
    let TopicDeclaration { keep, bytes_max, dedup, position, .. } = &topics["a.done"];
    assert_eq!((keep.as_secs(), *bytes_max, dedup.as_secs(), position.line), (7 * 86_400, 64 << 20, 600, 5));
    assert_eq!(topics["a.sent"].keep, Duration::from_hours(24));
    assert_eq!(system.messages.nats.unwrap().url, "nats://127.0.0.1:4222");
    assert_eq!(parse("name = \"t\"\n[messages]").unwrap().messages, MessagesPolicy::default());
}

#[test]
fn an_asynchronous_call_has_a_topic_of_a_name_that_is_not_too_long() {
    let long = "a".repeat(61);
    let text = format!("name = \"t\"\n[service.{long}]\n[service.{long}b.calls.{long}]\nmode = \"async\"");
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.ends_with("are too long together for an async call"), "{problems:?}");
}

#[test]
fn who_hands_requests_over_makes_its_own_calls() {
    let text = "name = \"t\"\n[service.a.calls.b]\nmode = \"async\"\n[service.b.calls.a]\nmode = \"sync\"\n";
    let system = parse(text).unwrap();
    let of = |name: &str| system.service(name).unwrap().outbound;
    assert_eq!((of("a"), of("b")), (Outbound::Application, Outbound::Sidecar));
    let refused = text.replace("[service.a.calls", "[service.a]\noutbound = \"sidecar\"\n[service.a.calls");
    let problems = parse(&refused).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].message, "`outbound = \"sidecar\"` of a service with an async call");
    assert_eq!(problems[0].position.line, 3);
    parse(&refused.replace("sidecar", "application")).unwrap();
}
