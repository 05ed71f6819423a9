//! Requests at a fixed rate, and how long each took from when it was due.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::bench::proxy::{ANSWER_BYTES, READY_MAX};

/// Requests a second, over all connections.
pub(super) const RATE: u32 = 1000;

/// Connections, each with a thread: one that waits for its answer holds up only its own next.
const CONNECTIONS: u32 = 16;

/// How long each request took, sorted.
#[derive(Debug)]
pub(super) struct Delays(Vec<Duration>);

impl Delays {
    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// In microseconds.
    pub(super) fn percentiles<const N: usize>(&self, percents: [f64; N]) -> [f64; N] {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let at = |percent: f64| ((self.0.len() as f64 * percent / 100.0) as usize).min(self.0.len() - 1);
        percents.map(|percent| self.0[at(percent)].as_secs_f64() * 1e6)
    }
}

/// Asks at [`RATE`] for so long. Every answer must be good.
///
/// A request that could not be sent when it was due, since the answer before it was late, counts
/// from when it was due; a thread that woke late was not the server's fault.
pub(super) fn ask(addr: SocketAddr, time: Duration) -> anyhow::Result<Delays> {
    let start = Instant::now() + Duration::from_millis(50);
    let every = Duration::from_secs(1) * CONNECTIONS / RATE;
    let asking = |connection: u32| ask_over(addr, start + every * connection / CONNECTIONS, every, start + time);
    let asked: anyhow::Result<Vec<_>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || asking(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("asking does not panic")).collect()
    });
    let mut delays = asked?.concat();
    ensure!(!delays.is_empty(), "there was no time to ask");
    delays.sort_unstable();
    Ok(Delays(delays))
}

fn ask_over(addr: SocketAddr, first: Instant, every: Duration, end: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(addr).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READY_MAX))?;
    let request = format!("GET /orders/17/items HTTP/1.1\r\n{}\r\n\r\n", super::headers().join("\r\n"));
    let (mut due, mut delays, mut buffer) = (first, Vec::new(), Vec::new());
    while due < end {
        let now = Instant::now();
        let counts_from = if now < due {
            thread::sleep(due - now);
            Instant::now()
        } else {
            due
        };
        stream.write_all(request.as_bytes())?;
        read_answer(&mut stream, &mut buffer)?;
        delays.push(counts_from.elapsed());
        due += every;
    }
    Ok(delays)
}

/// Reads one answer; it must be 200 with as many bytes as all of them have.
fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    let mut chunk = [0; 8192];
    loop {
        let count = stream.read(&mut chunk)?;
        ensure!(count > 0, "the connection was closed");
        buffer.extend_from_slice(&chunk[..count]);
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            ensure!(buffer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&buffer[..end]));
            if buffer.len() >= end + 4 + ANSWER_BYTES {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn percentiles_are_of_what_was_seen() {
        let delays = Delays((1..=100).map(Duration::from_micros).collect());
        for (seen, expect) in delays.percentiles([0.0, 50.0, 99.0, 100.0]).into_iter().zip([1.0, 51.0, 100.0, 100.0]) {
            assert!((seen - expect).abs() < 1e-6, "{seen}, not {expect}");
        }
    }

    #[test]
    fn a_bad_answer_ends_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                stream.read_exact(&mut [0; 16]).ok();
                stream.write_all(b"HTTP/1.1 503 Nobody\r\ncontent-length: 0\r\n\r\n").ok();
            }
        });
        let told = ask(addr, Duration::from_millis(200)).unwrap_err().to_string();
        assert!(told.contains("503"), "{told}");
    }
}
