//! Instances that are scaled away: no request is lost, nobody stays.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_deploy::Fleet as _;
use bowline_model::{Address, Health, ServiceName, system::Service};
use bowline_registry::{Discovery, StoreRegistry};
use bowline_runtime::{fs, metric, net::TcpStream, task, time};
use bowline_store::Embedded;
use bowline_supervisor::{Event, Supervisor};
use bowline_testkit::{eventually, eventually_some};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    companions::{Forwarders, meshed},
    fixture::{BOUND, Fixture, get, is_alive, probe, release, service},
};

/// How many callers there are.
const CALLERS: usize = 8;

/// The time between the calls of each, which is also how late what it heard may be.
const CALL_EVERY: Duration = Duration::from_millis(20);

fn order() -> Service {
    let mut order = Service { version: "v1".to_owned(), ..probe("order") };
    order.env.insert("GRACEFUL".to_owned(), "1".to_owned());
    order
}

fn name() -> ServiceName {
    ServiceName::new("order").unwrap()
}

async fn scale(supervisor: &Supervisor, version: &str, count: u32) {
    supervisor.releases().scale(&name(), &release(version, None), count).await.unwrap();
}

/// Callers that never rest, and what came of their calls.
#[derive(Default)]
struct Calls {
    answered: AtomicU32,
    failed: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Calls {
    /// Calls whoever discovery said is healthy a moment ago, in turns.
    async fn hammer(self: Arc<Self>, discovery: Arc<Discovery>) {
        let instances = discovery.instances(&name());
        let (mut turn, mut pace) = (0, time::interval(CALL_EVERY));
        while !self.is_over.load(SeqCst) {
            let healthy: Vec<_> =
                instances.borrow().iter().filter(|it| it.health == Health::Healthy).cloned().collect();
            turn += 1;
            pace.tick().await;
            let called = match healthy.get(turn % healthy.len().max(1)) {
                Some(instance) => call(&instance.address).await.map_err(|error| format!("{}: {error}", instance.id)),
                None => Err("nobody is there".to_owned()),
            };
            match called {
                Ok(()) => drop(self.answered.fetch_add(1, SeqCst)),
                Err(error) => self.failed.lock().unwrap().push(error),
            }
        }
    }
}

async fn call(address: &Address) -> std::io::Result<()> {
    let Address::Tcp(addr) = address else { panic!("{address} is no TCP address") };
    let mut stream = TcpStream::connect(*addr).await?;
    stream.write_all(b"GET /env HTTP/1.1\r\nHost: test\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(std::io::Error::other(format!("{answer:?}"))) }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_releases_come_and_go() {
    let mut fixture = Fixture::new();
    // Of a machine that is busy with something else.
    fixture.settings.notice = Duration::from_secs(1);
    let settings = bowline_store::Settings::new(fixture.file("store.redb"));
    let store = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
    let registry = Arc::new(StoreRegistry::new(Arc::new(store)));
    let supervisor = fixture.start_over([Service { replicas: 2, ..order() }], registry.clone()).await.unwrap();
    supervisor.ready().await.unwrap();
    let discovery = Arc::new(Discovery::new(registry, None));
    discovery.instances(&name());
    discovery.settled(&name()).await;

    let calls = Arc::new(Calls::default());
    let callers: Vec<_> = (0..CALLERS).map(|_| task::spawn(calls.clone().hammer(discovery.clone()))).collect();
    let answered = |least: u32| {
        eventually(BOUND, {
            let (calls, before) = (calls.clone(), calls.answered.load(SeqCst));
            move || calls.answered.load(SeqCst) >= before + least
        })
    };
    answered(50).await;
    for (version, count) in [("v2", 1), ("v1", 1), ("v2", 2), ("v1", 0), ("v1", 1), ("v2", 0)] {
        scale(&supervisor, version, count).await;
        answered(50).await;
    }
    calls.is_over.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(*calls.failed.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_what_comes_for_a_while_and_answers_what_it_has() {
    let mut fixture = Fixture::new();
    fixture.settings.notice = BOUND;
    let go = fixture.file("go");
    let mut order = Service { replicas: 2, ..order() };
    order.env.insert("GO_FILE".to_owned(), go.display().to_string());
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    let instance = fixture.registry.get("order-2").unwrap();
    let (address, pid) = (instance.address.clone(), instance.metadata["pid"].parse().unwrap());
    let slow = task::spawn_blocking(move || get(&address, "/slow"));
    eventually(BOUND, || fixture.events.lines("order-2").iter().any(|line| line == "it is slow")).await;

    let releases = supervisor.releases();
    let leaves = task::spawn(async move { releases.scale(&name(), &release("v1", None), 1).await });
    eventually(BOUND, || fixture.registry.get("order-2").is_some_and(|it| it.health == Health::Draining)).await;
    // Who has not heard yet is answered.
    call(&instance.address).await.unwrap();
    let is_told = |event: &Event| matches!(event, Event::Draining { .. });
    assert!(!fixture.events.all().iter().any(is_told));
    // A drain of all does not wait for anybody to hear.
    leaves.abort();
    let drain = task::spawn(supervisor.drain());
    fixture.events.wait(|event| is_told(event).then_some(())).await;
    assert!(is_alive(pid), "it has a request still");
    fs::replace(&go, b"").unwrap();
    assert_eq!(slow.await.unwrap(), "at last");
    let drained = drain.await.unwrap();
    assert_eq!((drained.stopped.len(), drained.killed.len()), (2, 0));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn who_does_not_leave_is_killed_also_where_nobody_waits_for_it() {
    let mut fixture = Fixture::new();
    fixture.settings.grace = Duration::from_millis(300);
    let run = "trap '' TERM; ${target}/probe_service; true";
    let stubborn = Service { version: "v1".to_owned(), replicas: 2, ..service("order", run) };
    let supervisor = fixture.start([stubborn]).await.unwrap();
    supervisor.ready().await.unwrap();
    let pids = ["order-1", "order-2"].map(|id| fixture.registry.get(id).unwrap().metadata["pid"].parse().unwrap());
    let began = time::now();
    scale(&supervisor, "v1", 1).await;
    assert!(time::now() - began >= Duration::from_millis(300));
    assert!(is_alive(pids[0]) && !is_alive(pids[1]));
    let killed = |event: &Event| match event {
        Event::Killed { instance } => Some(instance.to_string()),
        _ => None,
    };
    assert_eq!(fixture.events.wait(killed).await, "order-2");
    let releases = supervisor.releases();
    let leaves = task::spawn(async move { releases.scale(&name(), &release("v1", None), 0).await });
    eventually(BOUND, || fixture.registry.get("order-1").is_none_or(|it| it.health == Health::Draining)).await;
    leaves.abort();
    eventually(BOUND, || !is_alive(pids[0]) && fixture.registry.instances().is_empty()).await;
}

#[tokio::test]
async fn who_left_while_the_registry_was_away_is_not_kept_alive_there() {
    let fixture = Fixture::new();
    let supervisor = fixture.start([order()]).await.unwrap();
    supervisor.ready().await.unwrap();
    fixture.registry.fail(u32::MAX);
    scale(&supervisor, "v1", 0).await;
    fixture.registry.fail(0);
    // Nobody is there to be renewed: the lease ends.
    let before = fixture.registry.heartbeats();
    scale(&supervisor, "v2", 1).await;
    eventually(BOUND, || fixture.registry.heartbeats() > before + 3).await;
    assert!(!fixture.registry.renewed().contains(&"order-1".to_owned()));
    assert!(fixture.registry.renewed().contains(&"order-v2-1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn companions_and_sockets_come_and_go_with_their_instances() {
    let (fixture, companions) = meshed(Forwarders::default());
    let supervisor = fixture.start([Service { replicas: 0, ..order() }]).await.unwrap();
    supervisor.ready().await.unwrap();
    let sockets = fixture.settings.data_dir.join("sockets");
    assert!(!sockets.exists(), "nobody listens on one yet");
    scale(&supervisor, "v2", 2).await;
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(&sockets).unwrap().flatten().map(|it| it.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["order-v2-1.sock", "order-v2-2.sock"]);
    assert_eq!(fs::metadata(&sockets).unwrap().permissions().mode() & 0o777, 0o700);
    let beside: Vec<_> = companions.beside().iter().map(|it| format!("{} {}", it.instance, it.version)).collect();
    assert_eq!(beside, ["order-v2-1 v2", "order-v2-2 v2"]);
    let instance = fixture.registry.get("order-v2-2").unwrap();
    assert!(get(&instance.address, "/env").contains("BOWLINE_VERSION=v2"));
    scale(&supervisor, "v2", 1).await;
    assert_eq!(companions.log(), ["refuses", "drains"]);
    assert_eq!(names(), ["order-v2-1.sock"]);
    let Address::Tcp(addr) = instance.address else { panic!() };
    assert!(TcpStream::connect(addr).await.is_err());
    scale(&supervisor, "v2", 0).await;
    assert!(names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_lies_elsewhere_goes_with_its_instance() {
    let (mut fixture, companions) = meshed(Forwarders::default());
    fixture.settings.data_dir = fixture.file(&"deep".repeat(25)).join("data");
    let supervisor = fixture.start([Service { replicas: 0, ..order() }]).await.unwrap();
    scale(&supervisor, "v2", 1).await;
    let beside = eventually_some(BOUND, || companions.beside().first().cloned()).await;
    let Address::Unix(socket) = beside.app else { panic!("{} is no socket", beside.app) };
    assert!(socket.exists() && !socket.starts_with(&fixture.settings.data_dir), "{}", socket.display());
    scale(&supervisor, "v2", 0).await;
    assert!(!socket.exists());
    supervisor.drain().await;
    eventually(BOUND, || !socket.parent().unwrap().exists()).await;
}
