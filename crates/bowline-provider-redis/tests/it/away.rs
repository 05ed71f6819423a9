//! Redis that is away, comes back, and has forgotten.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_cache::{Applied, Mark, Outcome, PortError, SharedCache as _};
use bowline_model::{Code, error::chain};
use bowline_provider_redis::{RedisCache, Settings};
use bowline_runtime::{net, task, time};
use bowline_testkit::redis::Server;
use zeroize::Zeroizing;

use crate::{connect, ticket, until, value};

const KEEP: Duration = Duration::from_mins(1);

fn mark(position: u64) -> Mark {
    Mark { position, id: format!("m{position}") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_not_there_is_named_and_found_once_it_is() {
    let Some(mut server) = Server::start() else { return };
    let shared = connect(&server);
    server.kill();
    let error = shared.get("c", "k").await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true));
    let text = chain(&error);
    assert!(text.contains(&server.url()) && text.contains("cannot connect to Redis"), "{text}");
    server.begin();
    until(async || shared.get("c", "k").await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_redis_had_is_gone_with_its_marks_and_the_next_call_reaches_the_new_one() {
    let Some(mut server) = Server::start() else { return };
    let shared = connect(&server);
    shared.clear("c", &[("feed".to_owned(), mark(7))]).await.unwrap();
    let taken = ticket(&shared, "k").await;
    assert!(shared.fill("c", "k", taken, "v".into(), KEEP).await.unwrap());
    server.kill();
    server.begin();
    let got = shared.get("c", "k").await.expect("a lost connection is made anew within the call");
    assert_eq!(got.marks, []);
    assert_eq!(value(&shared, "k").await, None);
    assert!(!shared.fill("c", "k", taken, "old".into(), KEEP).await.unwrap(), "a ticket of before");
    let applied = Applied { feed: "feed".to_owned(), after: mark(7), upto: mark(8) };
    assert_eq!(shared.invalidate("c", &["k".to_owned()], Some(applied)).await.unwrap(), Outcome::Behind(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_redis_answers_nobody_and_goes_on_where_it_was() {
    let Some(server) = Server::start() else { return };
    let shared = connect(&server);
    let taken = ticket(&shared, "k").await;
    assert!(shared.fill("c", "k", taken, "v".into(), KEEP).await.unwrap());
    server.stop();
    let begun = time::now();
    for _ in 0..2 {
        // As a cache does: it waits for less than the provider does.
        time::timeout(Duration::from_millis(100), shared.get("c", "k")).await.expect_err("nobody answers");
    }
    let error = shared.get("c", "k").await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    server.go_on();
    let found = until(async || shared.get("c", "k").await.ok()).await;
    assert!(matches!(found.found, bowline_cache::Found::Hit { .. }), "{found:?}");
}

/// One address that leads to another server after a failover; connections stay where they are.
struct Address {
    addr: SocketAddr,
    leads_to: Arc<Mutex<SocketAddr>>,
    _accepting: task::Guarded<()>,
}

impl Address {
    fn of(server: &Server) -> Self {
        let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let (addr, leads_to) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(server.addr())));
        let target = Arc::clone(&leads_to);
        let accepting = task::spawn(async move {
            let mut connections = task::JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let target = *target.lock().unwrap();
                connections.spawn(async move {
                    let mut to = net::TcpStream::connect(target).await.unwrap();
                    tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
                });
            }
        });
        Self { addr, leads_to, _accepting: task::Guarded::new(accepting) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_only_a_copy_since_a_failover_is_left() {
    let (Some(first), Some(second)) = (Server::start(), Server::start()) else { return };
    let address = Address::of(&first);
    let shared = RedisCache::new(&Settings::new(format!("redis://{}", address.addr))).unwrap();
    ticket(&shared, "k").await;
    *address.leads_to.lock().unwrap() = second.addr();
    let command = format!("REPLICAOF {} {}", second.addr().ip(), second.addr().port());
    assert_eq!(first.command(&command), "+OK\r\n");
    let taken = ticket(&shared, "l").await;
    assert!(shared.fill("c", "l", taken, "v".into(), KEEP).await.unwrap(), "the connection leads to the other one");
    assert!(second.command("KEYS *").contains(":l\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_flushed_or_evicted_is_not_brought_back() {
    let Some(server) = Server::start() else { return };
    let shared = connect(&server);
    let taken = ticket(&shared, "k").await;
    assert!(shared.fill("c", "k", taken, "v".into(), KEEP).await.unwrap());
    // As `maxmemory` would: the cache's hash goes, the entry stays.
    assert_eq!(server.command("DEL {bowline:c}:meta"), ":1\r\n");
    assert_eq!(value(&shared, "k").await, None, "it is of another run");
    let taken = ticket(&shared, "k").await;
    assert!(shared.fill("c", "k", taken, "w".into(), KEEP).await.unwrap());
    assert_eq!(value(&shared, "k").await.as_deref(), Some("w"));
    assert_eq!(server.command("FLUSHALL"), "+OK\r\n");
    assert_eq!(value(&shared, "k").await, None);
    assert!(server.command("SCRIPT FLUSH").starts_with("+OK"));
    assert_eq!(value(&shared, "k").await, None, "the scripts are loaded again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_ends_by_itself() {
    let Some(server) = Server::start() else { return };
    let shared = connect(&server);
    let taken = ticket(&shared, "k").await;
    assert!(shared.fill("c", "k", taken, "v".into(), KEEP).await.unwrap());
    ticket(&shared, "other").await;
    let count = server.command("DBSIZE");
    let info = server.command("INFO keyspace");
    assert_eq!(count, ":3\r\n");
    assert!(info.contains("keys=3,expires=3"), "{info}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_ask_is_told_without_the_password() {
    let Some(server) = Server::start_with("requirepass s3cret") else { return };
    let with = |password: &str| {
        let credential = Some(Zeroizing::new(password.to_owned()));
        RedisCache::new(&Settings { credential, ..Settings::new(server.url()) }).unwrap()
    };
    with("s3cret").get("c", "k").await.unwrap();
    let wrong = with("wr0ng");
    let text = chain(&wrong.get("c", "k").await.unwrap_err());
    assert!(text.contains(&server.url()) && !text.contains("wr0ng"), "{text}");
    // The operator mends it: nobody has to start anything anew.
    let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
    std::io::Write::write_all(&mut stream, b"AUTH s3cret\r\nCONFIG SET requirepass wr0ng\r\n").unwrap();
    until(async || wrong.get("c", "k").await.ok()).await;
}
