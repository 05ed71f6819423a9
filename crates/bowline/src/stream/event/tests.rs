//! Events and lines, read in pieces.

use proptest::prelude::*;

use super::*;

/// Reads events from pieces that end anywhere.
fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Event>, TooLong> {
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        while let Some(event) = decoder.next()? {
            events.push(event);
        }
    }
    Ok(events)
}

fn check(text: &str, expect: &[Event]) {
    for piece in [1, 2, 3, 1000] {
        assert_eq!(decode(text.as_bytes(), piece).unwrap(), expect, "{text:?} in pieces of {piece}");
    }
}

#[test]
fn events_are_read_as_the_standard_says() {
    check("data: one\n\ndata:two\r\n\r\ndata:  three\r\r", &["one", "two", " three"].map(Event::new));
    check("\u{feff}data: a\ndata: b\n\n", &[Event::new("a\nb")]);
    check(": a comment\n\nevent: x\n\ndata\n\n", &[Event::new("")]);
    check("data: lost, for no blank line comes\n", &[]);
    check(
        "id: 7\nevent: placed\nretry: 1500\nunknown: x\ndata: {}\n\n",
        &[Event { retry: Some(Duration::from_millis(1500)), ..Event::new("{}").id("7").name("placed") }],
    );
    // An id without data is that of the next event; NUL and signs are refused.
    check("id: 8\n\ndata: a\n\n", &[Event::new("a").id("8")]);
    check("id: a\0b\nretry: +5\ndata: a\n\n", &[Event::new("a")]);
    check("event: a\0b\ndata: a\0b\n\n", &[Event::new("a\0b").name("a\0b")]);
}

#[test]
fn what_is_no_text_is_read_as_the_standard_says() {
    assert_eq!(decode(b"data: a\xff\n\ndata: b\n\n", 3).unwrap(), [Event::new("a\u{fffd}"), Event::new("b")]);
}

#[test]
fn what_is_said_without_data_holds_at_the_end() {
    let rest = |text: &str| {
        let mut decoder = Decoder::default();
        decoder.push(text.as_bytes());
        while decoder.next().unwrap().is_some() {}
        let Event { id, retry, .. } = decoder.rest();
        (id, retry.map(|it| it.as_millis()))
    };
    assert_eq!(rest("data: a\nid: 1\n\n"), (None, None));
    assert_eq!(rest("id: 2\nretry: 10\n\n"), (Some("2".to_owned()), Some(10)));
    // Of an event that is not whole, only how long to wait.
    assert_eq!(rest("id: 3\n\nid: 4\nretry: 20\n"), (Some("3".to_owned()), Some(20)));
    assert_eq!(rest("id: 5\n\ndata: a\n\n"), (None, None));
}

#[test]
fn what_is_too_long_is_an_error() {
    let long = vec![b'a'; EVENT_BYTES_MAX + 1];
    assert_eq!(decode(&[b"data: ", &long[..]].concat(), 4096), Err(TooLong { max: EVENT_BYTES_MAX }));
    let lines = format!("data: {}\n", "a".repeat(1000)).repeat(1100);
    assert_eq!(decode(lines.as_bytes(), 4096), Err(TooLong { max: EVENT_BYTES_MAX }));
}

/// An event of any id, name, data and wait.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let (id, name) = (proptest::option::of("[^\r\n\0]{0,8}"), proptest::option::of("[^\r\n]{1,8}"));
    let event = (id, name, "[^\r]{0,40}", proptest::option::of(0_u64..100_000));
    let event = event.prop_map(|(id, name, data, retry)| {
        let retry = retry.map(Duration::from_millis);
        Event { id, name, data, retry }
    });
    proptest::collection::vec(event, 0..5)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        events in events(), piece in 1_usize..50, end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
        is_marked in any::<bool>(), comments in proptest::collection::vec(any::<bool>(), 1..8),
    ) {
        let mut text = if is_marked { "\u{feff}" } else { "" }.to_owned();
        let written: Vec<u8> = events.iter().flat_map(Event::encode).collect();
        let written = String::from_utf8(written).unwrap();
        for (at, line) in written.split_terminator('\n').enumerate() {
            if comments[at % comments.len()] {
                text.extend([": data: no", end]);
            }
            text.extend([line, end]);
        }
        prop_assert_eq!(decode(text.as_bytes(), piece).unwrap(), events);
    }
}
