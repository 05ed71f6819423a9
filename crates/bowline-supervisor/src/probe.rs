//! One health check over HTTP.
//!
//! Written by hand, a GET on a connection of its own: a check must notice a process that accepts
//! no connections, which a pooled connection hides.

use std::{io, time::Duration};

use bowline_model::{
    Address, Protocol,
    instance::{SPEAKS_HEADER, SPEAKS_HTTP2},
};
use bowline_registry::health::{Failure, HealthChecker, Target, Well};
use bowline_runtime::{
    BoxFuture,
    net::{TcpStream, UnixStream},
    time,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The part of an answer that is looked at: of a longer head, what it says first.
const HEAD_BYTES_MAX: usize = 1024;

/// How much of an answer is read for politeness, and for how long: closing a connection with
/// unread bytes resets it, which some services log.
const REST_BYTES_MAX: u64 = 64 * 1024;
const REST_MAX: Duration = Duration::from_millis(50);

/// Asks over HTTP: any 2xx in time is well, and its head says whether HTTP/2 is spoken there, too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Http;

impl HealthChecker for Http {
    fn check(&self, target: &Target) -> BoxFuture<'_, Result<Well, Failure>> {
        let target = target.clone();
        Box::pin(async move { check(&target).await.map_err(Failure::new) })
    }
}

async fn check(target: &Target) -> Result<Well, String> {
    let Target { address, path, timeout } = target;
    match address {
        Address::Tcp(addr) => check_over(TcpStream::connect(*addr), &addr.to_string(), path, *timeout).await,
        // A socket's path is nothing that a Host could hold.
        Address::Unix(socket) => check_over(UnixStream::connect(socket), "localhost", path, *timeout).await,
    }
}

async fn check_over<S: AsyncRead + AsyncWrite + Unpin>(
    connected: impl Future<Output = io::Result<S>>,
    host: &str,
    path: &str,
    timeout: Duration,
) -> Result<Well, String> {
    let asked = time::timeout(timeout, ask(connected, host, path)).await;
    let (head, mut stream) = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {}", bowline_model::units::format_duration(timeout))),
    };
    time::timeout(REST_MAX, tokio::io::copy(&mut (&mut stream).take(REST_BYTES_MAX), &mut tokio::io::sink()))
        .await
        .ok();
    let status = status(&head).ok_or("the answer is not HTTP/1.1")?;
    if (200..300).contains(&status) {
        Ok(Well { protocol: protocol(&head) })
    } else {
        Err(format!("answered with status {status}"))
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    connected: impl Future<Output = io::Result<S>>,
    host: &str,
    path: &str,
) -> io::Result<(Vec<u8>, S)> {
    let mut stream = connected.await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bowline-check\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    while !is_whole(&head) && head.len() < HEAD_BYTES_MAX {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok((head, stream))
}

/// Whether the line that ends a head is there, or what there is begins as no answer of HTTP/1.
fn is_whole(head: &[u8]) -> bool {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let is_http = lines.next().is_none_or(|line| status(line).is_some());
    !is_http || lines.any(|line| line.trim_ascii().is_empty())
}

/// What the headers say that is spoken there.
fn protocol(head: &[u8]) -> Protocol {
    let says_http2 = |line: &[u8]| {
        let line = std::str::from_utf8(line).ok()?;
        let (name, value) = line.split_once(':')?;
        Some(name.eq_ignore_ascii_case(SPEAKS_HEADER) && value.trim() == SPEAKS_HTTP2)
    };
    let speaks_http2 = head.split(|byte| *byte == b'\n').any(|line| says_http2(line).unwrap_or_default());
    if speaks_http2 { Protocol::Both } else { Protocol::Http1 }
}

/// The status of `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for end in ["", "\n", "\r\nServer: x\r\n"] {
            assert!(!is_whole(format!("HTTP/1.1 200 OK{end}").as_bytes()), "{end:?}");
        }
        for whole in ["HTTP/1.1 200 OK\n\n", "HTTP/1.1 200 OK\r\nServer: x\r\n\r\nbody", "SSH-2.0-x\r\n"] {
            assert!(is_whole(whole.as_bytes()), "{whole:?}");
        }
        for bad in ["", "SSH-2.0-x\r\n", "HTTP/1.1\r\n", "HTTP/1.1 x\r\n"] {
            assert_eq!(status(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_spoken_there_is_read_off_the_head() {
        for (headers, expect) in [
            ("content-length: 3\r\nX-Bowline-Speaks: h2\r\n", Protocol::Both),
            ("x-bowline-speaks:h2\r\n", Protocol::Both),
            ("x-bowline-speaks: h3\r\n", Protocol::Http1),
            ("x-speaks: h2\r\n", Protocol::Http1),
            ("", Protocol::Http1),
        ] {
            assert_eq!(protocol(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes()), expect, "{headers}");
        }
    }
}
