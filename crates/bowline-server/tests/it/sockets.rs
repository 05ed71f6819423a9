//! How many connections the processes of a system hold, when each of them calls each other: this very test binary,
//! fifty times, beside a server.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use axum::{Router, routing::get};
use bowline::{Microservice, ServiceClient, Settings};
use bowline_model::Address;
use bowline_runtime::task;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::Fixture;

const PROCESSES: usize = 50;

/// What it is that a process is.
const NUMBER: &str = "SOCKETS_NUMBER";

/// Begins what a process says to the test: the test harness says more.
const SAYS: &str = "sockets: ";

/// How often a process calls each other one, at once, before the last call to each; and how many of them once more.
const AT_ONCE: usize = 3;
const MORE: usize = 4;

/// How long all of them may take to start, on a machine that has other work.
const STARTED_WITHIN: Duration = Duration::from_mins(2);

fn name(number: usize) -> String {
    format!("s{number}")
}

/// No test: what each process is. It calls by rounds, each of which is asked for by a line.
#[tokio::test]
async fn process() {
    let Ok(number) = env::var(NUMBER) else { return };
    let number: usize = number.parse().unwrap();
    let service = Microservice::new(Settings::from_vars(&name(number), env::vars()).unwrap());
    let others = (1..PROCESSES).map(|ahead| service.client(&name((number + ahead) % PROCESSES)));
    let others: Vec<ServiceClient> = others.collect();
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    let serving = task::spawn(service.serve_until(
        Router::new().route("/", get(|| async { "ok" })),
        async move { drop(stopped.await) },
        Duration::ZERO,
        |address| tell.send(address).unwrap(),
    ));
    say(&told.await.unwrap().to_string());
    bowline_testkit::eventually(STARTED_WITHIN, || others.iter().all(|other| other.instance_count() == 1)).await;
    say("knows all others");

    heard().await;
    for other in &others {
        join_all((0..AT_ONCE).map(|_| call(other))).await;
    }
    join_all(others.iter().take(MORE).map(call)).await;
    say("called");
    heard().await;
    for other in &others {
        call(other).await;
    }
    say("called");
    heard().await;
    drop(stop);
    serving.await.unwrap().unwrap();
}

async fn call(other: &ServiceClient) {
    assert_eq!(other.get("/").bytes().await.unwrap(), "ok");
}

fn say(what: &str) {
    let mut out = io::stdout();
    writeln!(out, "\n{SAYS}{what}").unwrap();
    out.flush().unwrap();
}

/// Waits for a line, or the end of them.
async fn heard() {
    task::spawn_blocking(|| io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

/// A process of the system, which ends with the test.
struct Process {
    child: Child,
    asks: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(number: usize, fixture: &Fixture) -> Self {
        let patient =
            (0..PROCESSES).filter(|other| *other != number).map(|other| (name(other), json!({"timeout": "20s"})));
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "sockets::process", "--nocapture"])
            .env(NUMBER, number.to_string())
            .env("BOWLINE_INSTANCE", format!("{}-1", name(number)))
            .env("BOWLINE_API", format!("http://{}", fixture.addr))
            .env("BOWLINE_DATA_DIR", fixture.dir.path().join(name(number)))
            .env("BOWLINE_CALLS", json!(patient.collect::<BTreeMap<_, _>>()).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, says) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asks, says }
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        while self.says.read_line(&mut line).unwrap() > 0 {
            if let Some(said) = line.trim_end().strip_prefix(SAYS) {
                return said.to_owned();
            }
            line.clear();
        }
        panic!("process {} ended", self.child.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Asks all for what is next, and waits until each has said that it is done.
async fn all(mut processes: Vec<Process>) -> Vec<Process> {
    task::spawn_blocking(move || {
        for process in &mut processes {
            writeln!(process.asks.as_ref().unwrap()).unwrap();
        }
        for process in &mut processes {
            assert_eq!(process.says(), "called");
        }
        processes
    })
    .await
    .unwrap()
}

/// A TCP socket, as the kernel lists it.
#[derive(Debug)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    is_listening: bool,
}

/// The TCP sockets of this machine that are open, by inode.
fn sockets() -> BTreeMap<String, Socket> {
    let addr = |text: &str| {
        let (ip, port) = text.split_once(':').unwrap();
        let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
        SocketAddr::from((ip, u16::from_str_radix(port, 16).unwrap()))
    };
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_listening = words[3] == "0A";
        let socket = Socket { local: addr(words[1]), remote: addr(words[2]), is_listening };
        (is_listening || words[3] == "01").then(|| (words[9].to_owned(), socket))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// The inodes of the sockets that a process has.
fn inodes_of(process: &Process) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap();
    let targets = descriptors.filter_map(|it| fs::read_link(it.ok()?.path()).ok()?.into_os_string().into_string().ok());
    targets.filter_map(|it| Some(it.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_processes_that_call_each_other_hold_as_many_connections_as_is_stated() {
    let fixture = Fixture::start().await;
    let mut processes: Vec<Process> = (0..PROCESSES).map(|number| Process::start(number, &fixture)).collect();
    let (processes, listeners) = task::spawn_blocking(move || {
        let listeners: Vec<SocketAddr> = processes
            .iter_mut()
            .map(|process| match process.says().parse().unwrap() {
                Address::Tcp(addr) => addr,
                Address::Unix(_) => panic!("they listen on ports"),
            })
            .collect();
        for process in &mut processes {
            assert_eq!(process.says(), "knows all others");
        }
        (processes, listeners)
    })
    .await
    .unwrap();
    // Ten thousand calls in all, the last of each pair within a moment.
    assert_eq!(PROCESSES * ((PROCESSES - 1) * (AT_ONCE + 1) + MORE), 10_000);
    let processes = all(all(processes).await).await;

    let sockets = sockets();
    let mut between = BTreeMap::<(usize, usize), usize>::new();
    for (caller, process) in processes.iter().enumerate() {
        let (mut listening, mut to_server, mut incoming) = (0, 0, 0);
        for socket in inodes_of(process).iter().filter_map(|inode| sockets.get(inode)) {
            match listeners.iter().position(|listener| *listener == socket.remote) {
                _ if socket.is_listening => listening += 1,
                Some(callee) => *between.entry((caller, callee)).or_default() += 1,
                None if socket.remote == fixture.addr => to_server += 1,
                None => {
                    assert_eq!(socket.local, listeners[caller], "{socket:?} is nothing that was stated");
                    incoming += 1;
                }
            }
        }
        assert_eq!((listening, to_server, incoming), (1, 2, PROCESSES - 1), "of {}", name(caller));
    }
    assert_eq!(between.len(), PROCESSES * (PROCESSES - 1), "each calls each other");
    let several: Vec<_> = between.iter().filter(|(_, count)| **count != 1).collect();
    assert!(several.is_empty(), "more than one connection: {several:?}");
}
