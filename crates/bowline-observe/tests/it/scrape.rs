//! Scraping real servers.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_model::Address;
use bowline_observe::{
    labels::Labels,
    scrape::{
        Collected, Collector, Fetch as _, FetchError, Health, HttpFetch, MetricsCollector as _, Settings, Sink,
        SinkError, Target, exposition::Format,
    },
    source::{Appended, SeriesRef},
};
use bowline_runtime::{drain, metric::Registry, net, task};
use bowline_testkit::{Answer, HttpServer, eventually};
use bowline_transport::{
    Body, Endpoint, PoolSettings, SharedPool,
    server::{self, service_fn},
};
use http::Response;
use tokio::sync::watch;

/// What is packed behind the text of a page that names it.
fn packed(plain: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(plain).unwrap();
    packer.finish().unwrap()
}

/// Serves `/metrics` packed as OpenMetrics, and others beside.
fn serve(listener: server::Listener) -> drain::Drainer {
    let (drainer, drain) = drain::channel();
    let make = |_: &server::Peer| {
        service_fn(async |request: http::Request<server::Incoming>| {
            let answer = Response::builder();
            let packing = |answer: http::response::Builder| answer.header("content-encoding", "gzip");
            let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            match request.uri().path() {
                "/metrics" => packing(answer).header("content-type", open).body(packed(b"a_total 5\n# EOF\n").into()),
                "/bomb" => packing(answer).body(packed(&vec![b'\n'; 5 << 20]).into()),
                "/cut" => packing(answer).body(packed(b"a 1\n")[..12].to_vec().into()),
                "/brotli" => answer.header("content-encoding", "br").body(Body::empty()),
                "/html" => answer.header("content-type", "text/html").body("<html>".into()),
                "/long" => answer.body(vec![b'\n'; 5 << 20].into()),
                _ => answer.status(404).body(Body::empty()),
            }
        })
    };
    task::spawn(server::serve(listener, server::Settings::default(), drain, make));
    drainer
}

fn fetch() -> HttpFetch {
    HttpFetch::new(SharedPool::new(PoolSettings::default()), Registry::default()).with_page_bytes_max(1 << 20)
}

const TIMEOUT: Duration = Duration::from_secs(10);

/// A sink that keeps the last value of each series.
#[derive(Debug, Default)]
struct Last(Mutex<BTreeMap<Labels, (u64, f64)>>);

impl Sink for Last {
    fn intern(&self, labels: &Labels) -> Result<SeriesRef, SinkError> {
        let mut series = self.0.lock().unwrap();
        let next = u64::try_from(series.len()).unwrap();
        Ok(SeriesRef(series.entry(labels.clone()).or_insert((next, 0.0)).0))
    }

    fn append(&self, _: i64, samples: &[(SeriesRef, f64)]) -> Appended {
        let mut series = self.0.lock().unwrap();
        for (of, value) in samples {
            series.values_mut().filter(|(known, _)| *known == of.0).for_each(|(_, last)| *last = *value);
        }
        Appended { kept: samples.len(), ..Appended::default() }
    }
}

impl Last {
    fn value(&self, series: &str) -> String {
        let all = self.0.lock().unwrap();
        all.iter().find(|(labels, _)| labels.to_string() == series).map(|(_, (_, last))| last.to_string()).unwrap()
    }
}

#[tokio::test]
async fn servers_on_tcp_and_unix_sockets_are_scraped() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("a.sock");
    let tcp = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = tcp.local_addr().unwrap();
    let _serving = (serve(tcp.into()), serve(net::listen_unix(&socket).unwrap().into()));
    let process = Registry::default();
    process.gauge("own", "Own.", &[]).set(7);
    let targets: Arc<[Target]> = Arc::from([
        Target::http("tcp", "1", Endpoint::http1(addr), "/metrics"),
        Target::http("tcp", "2", Endpoint::http2(addr), "/metrics"),
        Target::http("unix", "1", Endpoint::http1(Address::Unix(socket)), "/metrics"),
        Target::http("none", "1", Endpoint::http1(addr), "/nowhere"),
        Target::process("own", "1"),
    ]);
    let sink = Arc::<Last>::default();
    let fetch = Arc::new(HttpFetch::new(SharedPool::new(PoolSettings::default()), process));
    let (_list, list) = watch::channel(targets);
    let settings = Settings { interval: Duration::from_mins(10), ..Settings::default() };
    let collector = Collector::start(settings, &list, fetch, sink.clone());
    assert_eq!(collector.collect().await.unwrap(), Collected { up: 4, down: 1, samples: 4 });
    for series in [
        "a_total{instance=\"1\", job=\"tcp\"}",
        "a_total{instance=\"2\", job=\"tcp\"}",
        "a_total{instance=\"1\", job=\"unix\"}",
    ] {
        assert_eq!(sink.value(series), "5", "{series}");
    }
    assert_eq!(sink.value("own{instance=\"1\", job=\"own\"}"), "7");
    assert_eq!(sink.value("up{instance=\"1\", job=\"none\"}"), "0");
    let health: Vec<_> = collector.targets().iter().map(|target| target.health).collect();
    assert_eq!(health, [Health::Down, Health::Up, Health::Up, Health::Up, Health::Up]);
    collector.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_told_apart() {
    let tcp = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = tcp.local_addr().unwrap();
    let _serving = serve(tcp.into());
    let ask = async |path: &str| fetch().fetch(&Target::http("a", "1", Endpoint::http1(addr), path), TIMEOUT).await;
    let page = ask("/metrics").await.unwrap();
    assert_eq!((page.format, &*page.body), (Format::OpenMetrics, b"a_total 5\n# EOF\n".as_slice()));
    assert!(matches!(ask("/bomb").await, Err(FetchError::TooLarge { bytes_max: 1_048_576 })));
    assert!(matches!(ask("/long").await, Err(FetchError::TooLarge { .. })));
    assert!(matches!(ask("/cut").await, Err(FetchError::Unpack { .. })));
    assert!(matches!(ask("/brotli").await, Err(FetchError::Encoding { encoding }) if encoding == "br"));
    assert!(matches!(ask("/html").await, Err(FetchError::ContentType { content_type }) if content_type == "text/html"));
    assert!(matches!(ask("/nowhere").await, Err(FetchError::Status { status: 404 })));
    assert!(matches!(ask("no path").await, Err(FetchError::Request { .. })));
}

#[tokio::test]
async fn a_target_is_told_who_asks_and_how_long_it_has() {
    let server = HttpServer::start(|request| match request.path.as_str() {
        "/hang" => Answer::Hang,
        _ => Answer::Status(200, "a 1\n".to_owned()),
    });
    let ask = async |path: &str, timeout| {
        fetch().fetch(&Target::http("a", "1", Endpoint::http1(server.addr()), path), timeout).await
    };
    assert_eq!(&*ask("/m?x=y", Duration::from_millis(2500)).await.unwrap().body, b"a 1\n");
    assert!(matches!(ask("/hang", Duration::from_millis(20)).await, Err(FetchError::Timeout { .. })));
    eventually(TIMEOUT, || !server.requests().is_empty()).await;
    let request = server.requests().swap_remove(0);
    assert_eq!(request.path, "/m?x=y");
    let header = |name: &str| request.headers[name].as_str();
    assert_eq!(header("x-prometheus-scrape-timeout-seconds"), "2.5");
    assert!(header("accept").starts_with("application/openmetrics-text;version=1.0.0"), "{}", header("accept"));
    assert!(header("user-agent").starts_with("bowline/"));
    assert_eq!(header("accept-encoding"), "gzip");
}
