//! Instances with somebody beside them: a forwarder of bytes in the place of a sidecar.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_model::{Address, Health, system::Bind};
use bowline_runtime::{
    BoxFuture, fs,
    net::{self, TcpListener, TcpStream, UnixStream},
    task::{self, Guarded},
    time,
};
use bowline_supervisor::{Beside, Companion, Companions, Event, Exit};
use bowline_testkit::{eventually, eventually_some};
use tokio::sync::watch;

use crate::fixture::{BOUND, Fixture, get, is_alive, kill, probe};

/// Starts forwarders, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Forwarders {
    started: Mutex<Vec<Beside>>,
    /// Starts that fail, first.
    failures: AtomicU32,
    environments: AtomicUsize,
    /// What companions say of themselves, in order.
    log: Arc<Mutex<Vec<&'static str>>>,
    environment: BTreeMap<String, String>,
}

struct Forwarder {
    addr: Address,
    environment: BTreeMap<String, String>,
    log: Arc<Mutex<Vec<&'static str>>>,
    accepting: Mutex<Option<Guarded<()>>>,
    open: watch::Sender<usize>,
    _connections: Arc<Mutex<task::JoinSet<()>>>,
}

impl Companions for Forwarders {
    fn start(&self, beside: Beside) -> BoxFuture<'_, io::Result<Box<dyn Companion>>> {
        self.started.lock().unwrap().push(beside.clone());
        let is_failing = self.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        Box::pin(async move {
            if is_failing {
                return Err(io::Error::new(io::ErrorKind::NotFound, "no certificate"));
            }
            let count = self.environments.fetch_add(1, SeqCst) + 1;
            let mut environment = self.environment.clone();
            environment.insert("COMPANION".to_owned(), count.to_string());
            Ok(Box::new(Forwarder::start(beside.app, environment, self.log.clone())) as Box<dyn Companion>)
        })
    }
}

impl Forwarder {
    fn start(app: Address, environment: BTreeMap<String, String>, log: Arc<Mutex<Vec<&'static str>>>) -> Self {
        let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap().into();
        let open = watch::Sender::new(0);
        let connections = Arc::new(Mutex::new(task::JoinSet::new()));
        let accepting = task::spawn(forward_all(listener, app, open.clone(), connections.clone()));
        let accepting = Mutex::new(Some(Guarded::new(accepting)));
        Self { addr, environment, log, accepting, open, _connections: connections }
    }

    async fn idle(open: &watch::Sender<usize>) {
        open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    }
}

async fn forward_all(
    listener: TcpListener,
    app: Address,
    open: watch::Sender<usize>,
    connections: Arc<Mutex<task::JoinSet<()>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        open.send_modify(|open| *open += 1);
        let (app, open) = (app.clone(), open.clone());
        connections.lock().unwrap().spawn(async move {
            forward(stream, app).await.ok();
            open.send_modify(|open| *open -= 1);
        });
    }
}

async fn forward(mut stream: TcpStream, app: Address) -> io::Result<()> {
    match app {
        Address::Unix(path) => {
            tokio::io::copy_bidirectional(&mut stream, &mut UnixStream::connect(path).await?).await?
        }
        Address::Tcp(addr) => tokio::io::copy_bidirectional(&mut stream, &mut TcpStream::connect(addr).await?).await?,
    };
    Ok(())
}

impl Companion for Forwarder {
    fn address(&self) -> Address {
        self.addr.clone()
    }

    fn environment(&self) -> BoxFuture<'_, io::Result<BTreeMap<String, String>>> {
        Box::pin(async { Ok(self.environment.clone()) })
    }

    fn refuse_new(&self) -> BoxFuture<'_, ()> {
        self.log.lock().unwrap().push("refuses");
        self.accepting.lock().unwrap().take();
        Box::pin(Self::idle(&self.open))
    }

    fn drain(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()> {
        self.log.lock().unwrap().push("drains");
        Box::pin(async move {
            time::timeout(grace, Self::idle(&self.open)).await.ok();
        })
    }
}

impl Forwarders {
    pub(crate) fn beside(&self) -> Vec<Beside> {
        self.started.lock().unwrap().clone()
    }

    pub(crate) fn log(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().clone()
    }
}

pub(crate) fn meshed(companions: Forwarders) -> (Fixture, Arc<Forwarders>) {
    let mut fixture = Fixture::new();
    let companions = Arc::new(companions);
    fixture.settings.companions = Some(companions.clone());
    (fixture, companions)
}

fn variable<'a>(environment: &'a str, name: &str) -> Option<&'a str> {
    environment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_companion_is_what_others_reach_and_the_application_is_on_a_socket() {
    let environment = [("http_proxy", "http://127.0.0.1:1"), ("BOWLINE_JOIN", "bwj"), ("MINE", "companion's")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (fixture, companions) = meshed(Forwarders { environment, ..Forwarders::default() });
    let mut order = probe("order");
    order.version = "v7".to_owned();
    order.env.insert("Mine".to_owned(), "the service's".to_owned());
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();

    let socket = fixture.settings.data_dir.join("sockets/order-1.sock");
    let [beside] = &companions.beside()[..] else { panic!("one instance, one companion") };
    assert_eq!((beside.instance.as_str(), beside.version.as_str()), ("order-1", "v7"));
    assert_eq!(beside.app, Address::Unix(socket.clone()));
    assert_eq!(fs::metadata(socket.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);

    let instance = fixture.registry.get("order-1").unwrap();
    assert!(matches!(instance.address, Address::Tcp(_)));
    assert_eq!((instance.metadata["bowline.mesh"].as_str(), instance.version.as_str()), ("mtls", "v7"));
    let told = |event: &Event| match event {
        Event::InstanceHealthy { address, .. } => Some(address.clone()),
        _ => None,
    };
    assert_eq!(fixture.events.wait(told).await, instance.address);

    let environment = get(&instance.address, "/env");
    let of = |name| variable(&environment, name);
    assert_eq!(of("BOWLINE_LISTEN"), Some(format!("unix:{}", socket.display()).as_str()));
    assert_eq!((of("PORT"), of("BOWLINE_SYSTEM"), of("BOWLINE_VERSION")), (None, Some("test"), Some("v7")));
    assert_eq!((of("http_proxy"), of("BOWLINE_JOIN")), (Some("http://127.0.0.1:1"), Some("bwj")));
    assert_eq!((of("MINE"), of("Mine")), (None, Some("the service's")), "the service's own word counts");

    assert!(supervisor.drain().await.killed.is_empty());
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_started_again_is_reached_where_the_last_one_was() {
    let (fixture, companions) = meshed(Forwarders::default());
    let supervisor = fixture.start([probe("order")]).await.unwrap();
    supervisor.ready().await.unwrap();
    let before = fixture.registry.get("order-1").unwrap();
    // Its socket is left behind.
    kill(before.metadata["pid"].parse().unwrap(), rustix::process::Signal::KILL);
    let back = || fixture.registry.get("order-1").filter(|now| now.metadata["pid"] != before.metadata["pid"]);
    let after = eventually_some(BOUND, back).await;
    assert_eq!(after.address, before.address);
    assert_eq!(companions.beside().len(), 1);
    assert_eq!(variable(&get(&after.address, "/env"), "BOWLINE_INSTANCE"), Some("order-1"));
    assert_eq!(fixture.registry.log(), ["+order-1 healthy", "-order-1", "+order-1 healthy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_cuts_nothing_off_and_the_companion_ends_last() {
    let (fixture, companions) = meshed(Forwarders::default());
    let go = fixture.file("go");
    let mut order = probe("order");
    for (name, value) in [("GRACEFUL", "1"), ("GO_FILE", go.to_str().unwrap())] {
        order.env.insert(name.to_owned(), value.to_owned());
    }
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    let instance = fixture.registry.get("order-1").unwrap();
    let address = instance.address.clone();
    let slow = task::spawn_blocking(move || get(&address, "/slow"));
    eventually(BOUND, || fixture.events.lines("order-1").iter().any(|line| line == "it is slow")).await;

    let drain = task::spawn(supervisor.drain());
    // It is told to stop, though its request lasts.
    let draining = |event: &Event| matches!(event, Event::Draining { .. }).then_some(());
    fixture.events.wait(draining).await;
    assert_eq!(fixture.registry.get("order-1").unwrap().health, Health::Draining);
    eventually(BOUND, || companions.log() == ["refuses"]).await;
    let Address::Tcp(addr) = instance.address else { panic!() };
    assert!(TcpStream::connect(addr).await.is_err(), "who comes now is refused, and may ask another");
    assert!(is_alive(instance.metadata["pid"].parse().unwrap()));

    fs::replace(&go, b"").unwrap();
    assert_eq!(slow.await.unwrap(), "at last");
    let drained = drain.await.unwrap();
    assert_eq!((drained.stopped.len(), drained.killed.len()), (1, 0));
    assert_eq!(companions.log(), ["refuses", "drains"]);
    assert_eq!(fixture.registry.log(), ["+order-1 healthy", "+order-1 draining", "-order-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_companion_that_does_not_start_is_a_start_that_failed() {
    let (fixture, companions) = meshed(Forwarders { failures: AtomicU32::new(2), ..Forwarders::default() });
    let supervisor = fixture.start([probe("order")]).await.unwrap();
    supervisor.ready().await.unwrap();
    assert_eq!(companions.beside().len(), 3);
    let failed = |event: &Event| match event {
        Event::InstanceExited { exit, .. } => Some(exit.clone()),
        _ => None,
    };
    let why = "its companion: no certificate".to_owned();
    assert_eq!(fixture.events.wait(failed).await, Exit::NotStarted(why));
    let restarting = |event: &Event| match event {
        Event::Restarting { crashes, after, .. } => Some((*crashes, *after)),
        _ => None,
    };
    let waits: Vec<_> = fixture.events.all().iter().filter_map(restarting).collect();
    assert_eq!(waits, [(1, Duration::from_millis(20)), (2, Duration::from_millis(40))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_needs_a_port_has_one_that_is_not_registered() {
    let (fixture, companions) = meshed(Forwarders::default());
    let mut order = probe("order");
    order.bind = Bind::Port;
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    let [beside] = &companions.beside()[..] else { panic!("one instance, one companion") };
    let Address::Tcp(app) = &beside.app else { panic!("{} is no port", beside.app) };
    let before = fixture.registry.get("order-1").unwrap();
    assert_ne!(before.address, beside.app);
    let environment = get(&before.address, "/env");
    assert_eq!(variable(&environment, "BOWLINE_LISTEN"), Some(app.to_string().as_str()));
    assert_eq!(variable(&environment, "PORT"), Some(app.port().to_string().as_str()));
    assert!(!fixture.settings.data_dir.join("sockets").exists());
    // Its port stays, as its companion does.
    kill(before.metadata["pid"].parse().unwrap(), rustix::process::Signal::KILL);
    let back = || fixture.registry.get("order-1").filter(|now| now.metadata["pid"] != before.metadata["pid"]);
    assert_eq!(eventually_some(BOUND, back).await.address, before.address);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_lost_to_another_takes_the_companion_along() {
    let (fixture, companions) = meshed(Forwarders::default());
    let run = "if [ -e again ]; then exec ${target}/probe_service; fi; \
               touch again; echo 'Error: Address already in use (os error 98)' >&2; exit 1";
    let mut order = crate::fixture::service("order", run);
    order.bind = Bind::Port;
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    let [lost, found] = &companions.beside()[..] else { panic!("{:?}", companions.beside()) };
    assert_ne!(lost.app, found.app);
    get(&fixture.registry.get("order-1").unwrap().address, "/env");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_lies_deep_keeps_no_sockets() {
    let (mut fixture, companions) = meshed(Forwarders::default());
    fixture.settings.data_dir = fixture.file(&"deep".repeat(25)).join("data");
    let supervisor = fixture.start([probe("order")]).await.unwrap();
    supervisor.ready().await.unwrap();
    let Address::Unix(socket) = companions.beside()[0].app.clone() else { panic!() };
    assert!(!socket.starts_with(&fixture.settings.data_dir), "{}", socket.display());
    assert!(socket.exists());
    supervisor.drain().await;
    eventually(BOUND, || !socket.parent().unwrap().exists()).await;
}
