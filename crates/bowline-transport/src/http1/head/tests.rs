//! Tests of parsing heads.

use super::*;

fn read(text: &str) -> Result<Option<Answer>, Error> {
    parse(&mut BytesMut::from(text.replace('\n', "\r\n").as_str()), false, 64 * 1024)
}

#[track_caller]
fn framing(text: &str) -> Framing {
    read(text).unwrap().unwrap().framing
}

#[track_caller]
fn refused(text: &str) -> Kind {
    read(text).unwrap_err().kind()
}

#[test]
fn a_head_is_taken_off_the_front() {
    let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\nA: 1\r\nx-B:  two \r\na: 3\r\ncontent-length: 3\r\n\r\nabc");
    let answer = parse(&mut bytes, false, 1000).unwrap().unwrap();
    assert_eq!(answer.head.status(), 200);
    let values: Vec<_> = answer.head.headers().get_all("a").iter().collect();
    assert_eq!(values, ["1", "3"]);
    assert_eq!(answer.head.headers()["x-b"], "two");
    assert_eq!((answer.framing, answer.is_keep_alive), (Framing::Length(3), true));
    assert_eq!(bytes, "abc");
}

#[test]
fn half_a_head_stays() {
    let whole = "HTTP/1.1 200 OK\r\na: 1\r\n\r\n";
    for cut in 0..whole.len() {
        let mut bytes = BytesMut::from(&whole[..cut]);
        assert!(parse(&mut bytes, false, 1000).unwrap().is_none());
        assert_eq!(bytes.len(), cut);
    }
}

#[test]
fn the_end_of_a_head_is_not_missed() {
    for whole in ["HTTP/1.1 200 OK\r\na: 1\r\n\r\n", "HTTP/1.1 200 OK\na: 1\n\n", "HTTP/1.1 200 OK\na: 1\n\r\n"] {
        for cut in 0..whole.len() {
            assert!(may_be_whole(whole.as_bytes(), cut), "{whole:?} {cut}");
        }
    }
    assert!(!may_be_whole(b"HTTP/1.1 200 OK\r\na: 1\r\n", 5));
}

#[test]
fn what_delimits_the_body() {
    assert_eq!(framing("HTTP/1.1 200 OK\ntransfer-encoding: Chunked\n\n"), Framing::Chunked);
    assert_eq!(framing("HTTP/1.1 200 OK\ncontent-length: 7\ncontent-length: 7\n\n"), Framing::Length(7));
    assert_eq!(framing("HTTP/1.1 200 OK\n\n"), Framing::UntilClose);
    assert_eq!(framing("HTTP/1.0 200 OK\n\n"), Framing::UntilClose);
    for status in ["204 No Content", "304 Not Modified", "100 Continue"] {
        assert_eq!(framing(&format!("HTTP/1.1 {status}\ncontent-length: 7\n\n")), Framing::Length(0));
    }
    let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    let answer = parse(&mut bytes, true, 1000).unwrap().unwrap();
    assert_eq!(answer.framing, Framing::Length(0), "the answer to HEAD has no body");
    assert_eq!(answer.head.headers()["content-length"], "7");
}

#[test]
fn what_is_ambiguous_is_refused() {
    for head in [
        "content-length: 1\ncontent-length: 2",
        "content-length: +1",
        "content-length: 1, 1",
        "content-length: ",
        "content-length: 99999999999999999999",
        "content-length: 1\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\ntransfer-encoding: chunked",
        "transfer-encoding: identity",
        "a: 1\n folded",
        "a : 1",
        "a\u{0}: 1",
        "no colon",
    ] {
        assert_eq!(refused(&format!("HTTP/1.1 200 OK\n{head}\n\n")), Kind::Malformed, "{head:?}");
    }
    for line in ["HTTP/2.0 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 99 OK", "ICY 200 OK", "HTTP/1.1 OK"] {
        assert_eq!(refused(&format!("{line}\n\n")), Kind::Malformed, "{line:?}");
    }
    assert_eq!(refused("HTTP/1.0 200 OK\ntransfer-encoding: chunked\n\n"), Kind::Malformed);
}

#[test]
fn heads_are_bounded() {
    let many = "a: 1\n".repeat(HEADERS_MAX);
    assert!(read(&format!("HTTP/1.1 200 OK\n{many}\n")).unwrap().is_some());
    assert_eq!(refused(&format!("HTTP/1.1 200 OK\n{many}a: 1\n\n")), Kind::HeadTooLarge);
    let long = "x".repeat(64 * 1024);
    assert_eq!(refused(&format!("HTTP/1.1 200 OK\na: {long}\n\n")), Kind::HeadTooLarge);
    assert_eq!(refused(&format!("HTTP/1.1 200 OK\na: {long}")), Kind::HeadTooLarge, "before it is whole");
}

#[test]
fn whether_the_connection_lives_on() {
    for (text, expect) in [
        ("HTTP/1.1 204 No\n\n", true),
        ("HTTP/1.1 204 No\nconnection: x, Close\n\n", false),
        ("HTTP/1.1 204 No\nconnection: close\nconnection: keep-alive\n\n", false),
        ("HTTP/1.0 204 No\n\n", false),
        ("HTTP/1.0 204 No\nconnection: Keep-Alive\n\n", true),
        ("HTTP/1.1 200 OK\n\n", false),
    ] {
        assert_eq!(read(text).unwrap().unwrap().is_keep_alive, expect, "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        drop(parse(&mut BytesMut::from(&bytes[..]), false, 1000));
        let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
        answer.extend_from_slice(&bytes);
        answer.extend_from_slice(b"\r\n\r\n");
        drop(parse(&mut BytesMut::from(&answer[..]), false, 1000));
    }
}
