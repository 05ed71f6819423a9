//! Tests of undoing the framing.

use proptest::prelude::*;

use super::*;

const TRAILER_BYTES_MAX: usize = 1000;

/// Feeds bytes in pieces of that size; the data, the trailers, and whether the end was reached.
fn feed(decoder: &mut Decoder, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Option<HeaderMap>, bool), Error> {
    let (mut data, mut trailers, mut read) = (Vec::new(), None, BytesMut::new());
    for piece in bytes.chunks(piece) {
        read.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut read, TRAILER_BYTES_MAX)? {
                Decoded::Data(piece) => data.extend_from_slice(&piece),
                Decoded::Trailers(map) => trailers = Some(map),
                Decoded::End => {
                    assert!(decoder.is_end());
                    assert!(read.is_empty() || bytes.ends_with(b"REST"), "it took what is not its own");
                    return Ok((data, trailers, true));
                }
                Decoded::More => break,
            }
        }
    }
    Ok((data, trailers, false))
}

fn chunked() -> Decoder {
    Decoder::new(Framing::Chunked)
}

#[track_caller]
fn refused(bytes: &str) {
    for piece in [1, bytes.len()] {
        let error = feed(&mut chunked(), bytes.as_bytes(), piece).unwrap_err();
        assert_eq!(error.kind(), Kind::Body, "{bytes:?} in pieces of {piece}");
    }
}

#[test]
fn chunks_are_joined_whatever_the_pieces() {
    let bytes = b"3\r\nabc\r\n0A ; ext=\"x\"\r\n0123456789\r\n000\r\nREST";
    for piece in 1..=bytes.len() {
        let (data, trailers, is_end) = feed(&mut chunked(), bytes, piece).unwrap();
        assert_eq!((data.as_slice(), trailers, is_end), (&b"abc0123456789"[..], None, false), "{piece}");
    }
    for piece in 1..=bytes.len() {
        let mut whole = bytes.to_vec();
        whole.truncate(bytes.len() - 4);
        whole.extend_from_slice(b"\r\nREST");
        assert!(feed(&mut chunked(), &whole, piece).unwrap().2);
    }
}

#[test]
fn trailers_are_given_out() {
    let bytes = b"1\r\na\r\n0\r\nX-Sum: 9\r\ncontent-length: 5\r\n\r\n";
    for piece in 1..=bytes.len() {
        let (data, trailers, is_end) = feed(&mut chunked(), bytes, piece).unwrap();
        assert_eq!((data.as_slice(), is_end), (&b"a"[..], true));
        let trailers = trailers.unwrap();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("9")));
    }
}

#[test]
fn the_end_is_known_with_the_last_data() {
    let mut decoder = chunked();
    let mut read = BytesMut::from("3\r\nabc\r\n0\r\n\r\n");
    assert!(matches!(decoder.decode(&mut read, 100).unwrap(), Decoded::Data(data) if data == "abc"));
    assert!(decoder.is_end());
    assert!(read.is_empty());
}

#[test]
fn loose_framing_is_refused() {
    refused("3\nabc\r\n");
    refused("\r\n");
    refused("x\r\n");
    refused("-1\r\n");
    refused("0x3\r\nabc\r\n");
    refused("3 3\r\nabc\r\n");
    refused(" 3\r\nabc\r\n");
    refused("3;\u{1}\r\nabc\r\n");
    refused("3\r\nabcd\r\n");
    refused("3\r\nabc\n0\r\n\r\n");
    refused("1000000000000000\r\n");
    refused("0\r\n\n");
    refused("0\r\na: 1\n\r\n");
    refused("0\r\nno colon\r\n\r\n");
    refused(&format!("3;{}\r\n", "x".repeat(SIZE_LINE_MAX)));
    refused(&format!("0\r\na: {}", "x".repeat(2 * TRAILER_BYTES_MAX)));
}

#[test]
fn a_length_is_exact() {
    let mut read = BytesMut::from("abcREST");
    let mut decoder = Decoder::new(Framing::Length(3));
    assert!(matches!(decoder.decode(&mut read, 0).unwrap(), Decoded::Data(data) if data == "abc"));
    assert!(decoder.is_end());
    assert_eq!(read, "REST");
}

proptest! {
    #[test]
    fn what_is_chunked_comes_back(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        piece in 1usize..64,
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let (data, _, is_end) = feed(&mut chunked(), &bytes, piece).unwrap();
        prop_assert!(is_end);
        prop_assert_eq!(data, chunks.concat());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..64) {
        drop(feed(&mut chunked(), &bytes, piece));
    }
}
