//! Asks a server over HTTP, and reads what it counts of itself.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The body of the answer, which must be 200.
///
/// By HTTP/1.0 the answer ends with the connection, and is in one piece.
pub(super) fn get(addr: &str, path: &str) -> anyhow::Result<String> {
    let mut connection = TcpStream::connect(addr).with_context(|| format!("connect to {addr}"))?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    write!(connection, "GET {path} HTTP/1.0\r\nhost: {addr}\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).with_context(|| format!("ask {addr}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{addr}{path}: {head}\n{body}");
    Ok(body.to_owned())
}

/// A text as a part of a query.
pub(super) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// The sum of a metric's series in a page in Prometheus' text format.
pub(super) fn counted(page: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    };
    page.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_their_whole_name() {
        let page = "# TYPE a counter\na{x=\"1 2\"} 3\na{x=\"3\"} 4\nab 100\na_b 100\nb 7\n";
        assert!((counted(page, "a") - 7.0).abs() < 1e-9);
        assert!((counted(page, "b") - 7.0).abs() < 1e-9);
        assert!(counted(page, "c").abs() < 1e-9);
    }

    #[test]
    fn what_a_query_cannot_hold_is_escaped() {
        assert_eq!(escaped("a_1{b=\"é\"}"), "a_1%7Bb%3D%22%C3%A9%22%7D");
    }
}
