//! What the tests share: systems, a supervisor whose events are kept, and a look at processes.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_model::{
    Address, Position, ServiceName, System,
    deploy::Release,
    policy::Backoff,
    system::{Call, Check, Service},
};
use bowline_registry::Registry;
use bowline_runtime::{
    fs,
    task::{self, Guarded},
};
use bowline_supervisor::{Error, Event, Settings, Supervisor, workspace::Layout};
use bowline_testkit::{TempDir, eventually_some, temp_dir};
use tokio::sync::mpsc;

use crate::registry::FakeRegistry;

/// More than anything here takes, on a machine that is busy with something else.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) settings: Settings,
    pub(crate) registry: FakeRegistry,
    pub(crate) events: Events,
    sender: mpsc::Sender<Event>,
    _reader: Guarded<()>,
}

#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for an event of which `find` makes something.
    #[track_caller]
    pub(crate) fn wait<T>(&self, find: impl Fn(&Event) -> Option<T>) -> impl Future<Output = T> {
        let events = self.clone();
        eventually_some(BOUND, move || events.0.lock().unwrap().iter().find_map(&find))
    }

    /// The lines that an instance wrote.
    pub(crate) fn lines(&self, id: &str) -> Vec<String> {
        let line = |event: &Event| match event {
            Event::LogLine { instance, line, .. } if instance.as_str() == id => Some(line.clone()),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(line).collect()
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = temp_dir();
        let layout = Layout { root: dir.path().to_owned(), target_dir: examples_dir() };
        let mut settings = Settings::new(layout, dir.path().join("data"), example("keeper"));
        settings.startup_max = BOUND;
        settings.notice = Duration::from_millis(50);
        settings.restart = Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) };
        settings.heartbeat_every = Duration::from_millis(50);
        let (sender, mut receiver) = mpsc::channel(64);
        let events = Events::default();
        let kept = events.clone();
        let reader = task::spawn(async move {
            while let Some(event) = receiver.recv().await {
                kept.0.lock().unwrap().push(event);
            }
        });
        Self { dir, settings, registry: FakeRegistry::default(), events, sender, _reader: Guarded::new(reader) }
    }

    pub(crate) async fn start(&self, services: impl IntoIterator<Item = Service>) -> Result<Supervisor, Error> {
        self.start_telling(services, self.sender.clone()).await
    }

    /// [`Fixture::start`] with another receiver of events.
    pub(crate) async fn start_telling(
        &self,
        services: impl IntoIterator<Item = Service>,
        sender: mpsc::Sender<Event>,
    ) -> Result<Supervisor, Error> {
        let registry = Arc::new(self.registry.clone());
        Supervisor::start(system(services), self.settings.clone(), registry, sender).await
    }

    /// [`Fixture::start`] of a system that says more than its services.
    pub(crate) async fn start_system(&self, system: System) -> Result<Supervisor, Error> {
        Supervisor::start(system, self.settings.clone(), Arc::new(self.registry.clone()), self.sender.clone()).await
    }

    /// [`Fixture::start`] over another registry.
    pub(crate) async fn start_over(
        &self,
        services: impl IntoIterator<Item = Service>,
        registry: Arc<dyn Registry>,
    ) -> Result<Supervisor, Error> {
        Supervisor::start(system(services), self.settings.clone(), registry, self.sender.clone()).await
    }

    /// A file in the folder of the test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until a process wrote its id into the file.
    pub(crate) async fn pid_in(&self, name: &str) -> u32 {
        pid_in(&self.file(name)).await
    }
}

pub(crate) async fn pid_in(path: &Path) -> u32 {
    // Only a whole line is a whole number.
    let read = || fs::read_to_string(path).ok()?.strip_suffix('\n')?.trim().parse().ok();
    eventually_some(BOUND, read).await
}

pub(crate) fn system(services: impl IntoIterator<Item = Service>) -> System {
    let services = services.into_iter().collect();
    System { services, ..System::new(ServiceName::new("test").unwrap()) }
}

const NOWHERE: Position = Position { line: 1, column: 1 };

/// A service that runs this shell command.
pub(crate) fn service(name: &str, run: &str) -> Service {
    let check = Check { every: Duration::from_millis(20), timeout: Duration::from_secs(5), ..Check::default() };
    let run = Some(run.to_owned());
    Service { run, replicas: 1, check, ..Service::new(ServiceName::new(name).unwrap(), NOWHERE) }
}

/// A service that answers.
pub(crate) fn probe(name: &str) -> Service {
    service(name, "${target}/probe_service")
}

/// A release of that version that runs this shell command, or the service's own.
pub(crate) fn release(version: &str, run: Option<&str>) -> Release {
    Release { version: version.to_owned(), build: None, run: run.map(ToOwned::to_owned), env: BTreeMap::new() }
}

pub(crate) fn call(target: &str) -> Call {
    Call::new(ServiceName::new(target).unwrap(), NOWHERE)
}

/// Cargo puts examples beside the folder of tests.
fn examples_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples")
}

pub(crate) fn example(name: &str) -> PathBuf {
    let path = examples_dir().join(name);
    assert!(path.exists(), "{} is missing: `cargo test` builds it, `cargo test --test it` does not", path.display());
    path
}

/// The body of a GET.
pub(crate) fn get(address: &Address, path: &str) -> String {
    let Address::Tcp(addr) = address else { panic!("{address} is no TCP address") };
    let mut stream = TcpStream::connect::<SocketAddr>(*addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}

/// Whether a process runs; one that is dead and not yet buried does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Whether every thread of a process is stopped by a signal.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// The parent of a process.
pub(crate) fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

pub(crate) fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
