//! Events and lines, read in pieces.

use proptest::prelude::*;

use super::*;

/// Reads events from pieces that end anywhere.
fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Event>, DecodeError> {
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
}

#[test]
fn what_is_too_long_or_no_text_is_an_error() {
    let long = vec![b'a'; EVENT_BYTES_MAX + 1];
    assert_eq!(decode(&[b"data: ", &long[..]].concat(), 4096), Err(DecodeError::TooLong));
    let lines = format!("data: {}\n", "a".repeat(1000)).repeat(1100);
    assert_eq!(decode(lines.as_bytes(), 4096), Err(DecodeError::TooLong));
    assert_eq!(decode(b"data: \xff\n\n", 100), Err(DecodeError::NotUtf8));
}

#[test]
fn lines_by_feed_keep_their_carriage_returns() {
    let mut lines = LineReader::by_feed();
    lines.push(b"a\r\nb");
    assert_eq!(lines.next().unwrap().unwrap(), "a\r");
    assert!(lines.next().unwrap().is_none());
    assert_eq!(lines.rest(), "b");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        all in proptest::collection::vec(
            (proptest::option::of("[^\r\n\0]{0,8}"), proptest::option::of("[^\r\n\0]{1,8}"), "[^\r\0]{0,40}", proptest::option::of(0_u64..100_000)),
            0..5,
        ),
        piece in 1_usize..50,
    ) {
        let event = |(id, name, data, retry): (_, _, _, Option<u64>)| Event { id, name, data, retry: retry.map(Duration::from_millis) };
        let events: Vec<Event> = all.into_iter().map(event).collect();
        let bytes: Vec<u8> = events.iter().flat_map(Event::encode).collect();
        prop_assert_eq!(decode(&bytes, piece).unwrap(), events);
    }
}
