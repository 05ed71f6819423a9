//! What is scraped: a server that shows the pages of many targets, each to two readers.
//!
//! A target's values are a function of its number and of the time: counters grow by rates of their own,
//! gauges wander, of a histogram's buckets half stand still.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::Context as _;

/// Targets, and series of each.
pub(super) const TARGETS: usize = 20;
pub(super) const SERIES: usize = 2000;

/// Who reads: the first part of the path, before the target's number.
pub(super) const READERS: [&str; 2] = ["ours", "peer"];

/// Series that are alike but for their route: one counter, one gauge, and a histogram.
const ROUTES: usize = 100;
const BUCKETS: u64 = (SERIES / ROUTES) as u64 - 5;

/// Runs until the process ends.
#[derive(Debug)]
pub(super) struct Exposition {
    pub(super) addr: SocketAddr,
    served: Arc<[AtomicU64; 2]>,
}

impl Exposition {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let served = Arc::<[AtomicU64; 2]>::default();
        let (counts, begun) = (Arc::clone(&served), Instant::now());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&counts);
                // A reader that goes away ends its thread.
                thread::spawn(move || serve(stream, &counts, begun).ok());
            }
        });
        Ok(Self { addr, served })
    }

    /// How many samples each reader was given.
    pub(super) fn served(&self) -> [u64; 2] {
        std::array::from_fn(|reader| self.served[reader].load(Ordering::Relaxed))
    }
}

fn serve(mut stream: TcpStream, served: &[AtomicU64; 2], begun: Instant) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (mut request, mut chunk, mut answer) = (Vec::new(), [0; 4096], String::new());
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..count]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = std::str::from_utf8(&request)?;
        let (reader, target) = asked(head).with_context(|| format!("asked for nothing that is there: {head}"))?;
        let body = page(target, begun.elapsed().as_secs());
        answer.clear();
        write!(
            answer,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        stream.write_all(answer.as_bytes())?;
        served[reader].fetch_add(SERIES as u64, Ordering::Relaxed);
        request.clear();
    }
}

/// The reader and the target in `GET /ours/7 HTTP/1.1`.
fn asked(head: &str) -> Option<(usize, u64)> {
    let (reader, target) = head.strip_prefix("GET /")?.split_once(' ')?.0.split_once('/')?;
    Some((READERS.iter().position(|known| *known == reader)?, target.parse().ok()?))
}

/// What a target shows after so many seconds.
fn page(target: u64, seconds: u64) -> String {
    let mut page = String::with_capacity(SERIES * 96);
    let families = [
        ("shop_requests_total", "counter"),
        ("shop_requests_running", "gauge"),
        ("shop_request_bytes_total", "counter"),
        ("shop_request_duration_seconds", "histogram"),
    ];
    for (name, kind) in families {
        let head = format!("# HELP {name} Of the shop, by route.\n# TYPE {name} {kind}\n");
        page.push_str(&head);
        for route in 0..ROUTES as u64 {
            // A number that differs from route to route and from target to target.
            let salt = (target * 131 + route) * 2_654_435_761 % 1009;
            show(&mut page, name, route, salt, seconds).expect("memory takes it");
        }
    }
    page
}

/// The samples of one route in one family.
fn show(page: &mut String, name: &str, route: u64, salt: u64, seconds: u64) -> std::fmt::Result {
    let requests = 1_000_000 + seconds * (1 + salt % 50);
    let labels = format!("service=\"order\",method=\"GET\",route=\"/v1/things/{route}\"");
    match name {
        "shop_requests_total" => writeln!(page, "{name}{{{labels}}} {requests}"),
        "shop_requests_running" => writeln!(page, "{name}{{{labels}}} {}", (seconds * salt + route) % 17),
        "shop_request_bytes_total" => writeln!(page, "{name}{{{labels}}} {}", requests * 517 + salt),
        _ => {
            for bucket in 0..BUCKETS {
                // So quick is hardly any request: half of the buckets stand still.
                let within = if bucket < BUCKETS / 2 { salt } else { requests - (BUCKETS - bucket) * salt };
                let millis = 1_u64 << bucket;
                let le = format!("{}.{:03}", millis / 1000, millis % 1000);
                writeln!(page, "{name}_bucket{{{labels},le=\"{le}\"}} {within}")?;
            }
            let micros = requests * 12_345 + salt;
            writeln!(page, "{name}_count{{{labels}}} {requests}")?;
            writeln!(page, "{name}_sum{{{labels}}} {}.{:06}", micros / 1_000_000, micros % 1_000_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn samples(page: &str) -> Vec<(&str, f64)> {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| (series, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_page_has_as_many_series_as_are_counted_and_counters_grow() {
        let [first, later] = [1, 30].map(|seconds| page(7, seconds));
        let (first, later) = (samples(&first), samples(&later));
        assert_eq!(first.iter().map(|(series, _)| series).collect::<BTreeSet<_>>().len(), SERIES);
        let grown = first.iter().zip(&later).filter(|((_, before), (_, after))| after > before).count();
        assert!(grown > SERIES / 3 && first.iter().zip(&later).all(|(a, b)| a.0 == b.0), "{grown}");
    }

    #[test]
    fn a_path_says_who_reads_what() {
        assert_eq!(asked("GET /peer/7 HTTP/1.1\r\n\r\n"), Some((1, 7)));
        assert_eq!(asked("GET /ours/x HTTP/1.1\r\n\r\n"), None);
        assert_eq!(asked("GET /metrics HTTP/1.1\r\n\r\n"), None);
    }
}
