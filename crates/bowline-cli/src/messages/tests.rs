//! What is printed of topics and messages.

use bowline_provider_remote::wire::TopicDeclaration;

use super::*;

fn stored(payload: &[u8]) -> StoredMessage {
    StoredMessage {
        position: 7,
        id: "order-7".to_owned(),
        key: Some("ann".to_owned()),
        headers: vec![
            ("traceparent".to_owned(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            ("evil".to_owned(), "\x1b[2Jx".to_owned()),
        ],
        payload: payload.to_vec().into(),
        published_unix_ms: 1_767_323_045_000,
        due_unix_ms: 1_767_323_045_000,
        expires_unix_ms: None,
        only: None,
    }
}

#[test]
fn topics_are_lines_of_groups() {
    let group = |name: &str, lag, oldest_unix_ms| TopicGroup {
        name: name.to_owned(),
        consumers: 1,
        lag,
        leased: 1,
        oldest_unix_ms,
    };
    let topic = |name: &str, groups| Topic {
        name: name.to_owned(),
        settings: TopicDeclaration::default(),
        first: 3,
        next: 10,
        bytes: 4096,
        dead: 2,
        groups,
    };
    let topics = [
        topic("order.placed", vec![group("mail", 4, Some(1_000_000)), group("stock", 0, None)]),
        topic("quiet", vec![]),
    ];
    let shown = topic_lines(&topics, 1_090_000).join("\n");
    let expected = "\
TOPIC         MESSAGES  BYTES    DEAD  GROUP  LAG  IN WORK  OLDEST
order.placed  7         4.0 KiB  2     mail   4    1        1.50 min
                                       stock  0    1        -
quiet         7         4.0 KiB  2     -      -    -        -";
    assert_eq!(shown, expected);
}

#[test]
fn a_message_is_shown_as_what_it_is() {
    let shown = shown::message("order.placed", &stored(br#"{"id":7,"note":"\u001b[2J"}"#)).join("\n");
    let expected = "\
topic        order.placed
position     7
id           order-7
key          ann
published    2026-01-02 03:04:05Z
trace        4bf92f3577b34da6a3ce929d0e0e4736, see: bowline trace 4bf92f3577b34da6a3ce929d0e0e4736
headers
  traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
  evil: x
payload      27 bytes of JSON
  {
    \"id\": 7,
    \"note\": \"\\u001b[2J\"
  }";
    assert_eq!(shown, expected);
    let payload = |payload: &[u8]| {
        let shown = shown::message("t", &stored(payload));
        shown[9..].join("\n")
    };
    assert_eq!(payload(b""), "payload      0 bytes");
    assert_eq!(payload(b"one\x1b]0;evil\x07\ntwo"), "payload      16 bytes of text\n  one\n  two");
    assert_eq!(payload(b"\xff\x00\x1b"), "payload      3 bytes, no text\n  ff 00 1b");
    let long = payload(&[0xff; 1000]);
    assert!(long.lines().count() == 18 && long.ends_with("--output json"), "{long}");
}

#[test]
fn a_dead_letter_says_why_and_what_to_do() {
    let letter = DeadMessage {
        position: 3,
        group: "mail".to_owned(),
        attempts: 5,
        failure: "no such\naddress\x1b[31m".to_owned(),
        died_unix_ms: 1_767_323_046_000,
        message: StoredMessage { headers: Vec::new(), ..stored(b"hello") },
    };
    let shown = shown::letter("order.placed", &letter).join("\n");
    let expected = "\
topic        order.placed
dead letter  3
group        mail
tries        5
failure      no such address
died         2026-01-02 03:04:06Z
was at       7
id           order-7
key          ann
published    2026-01-02 03:04:05Z
payload      5 bytes of text
  hello

once its cause is mended: bowline messages redrive order.placed 3";
    assert_eq!(shown, expected);
    assert_eq!(
        dead_row(&letter),
        ["3", "2026-01-02 03:04:06Z", "mail", "5", "hello", "no such address"].map(ToOwned::to_owned)
    );
}

#[test]
fn lists_show_the_beginning() {
    assert_eq!(shown::summary("é".repeat(200).as_bytes()).chars().count(), 128);
    assert_eq!(shown::summary(b"\xff\xfe"), "ff fe");
    let sizes = [0, 1023, 1536, 200 << 20, 5 << 40].map(size);
    assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "200.0 MiB", "5.0 TiB"]);
    assert_eq!(cell(&"x".repeat(100)), format!("{}…", "x".repeat(60)));
    assert_eq!(cell("a\n\x1b[2Jb"), "a b");
    assert_eq!(hint(Some(7), true), ["there may be more: add --from 8, or --limit"]);
    assert!(hint(Some(7), false).is_empty());
}
