//! Nothing is left behind, whoever dies first.

use std::{
    io::Read as _,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bowline_runtime::{fs, time};
use bowline_supervisor::{Event, Exit};
use bowline_testkit::{eventually, eventually_blocking, eventually_some, temp_dir};
use rustix::process::Signal;

use crate::fixture::{BOUND, Fixture, example, is_alive, is_stopped, kill, parent, pid_in, service};

/// A service with a grandchild in its group and another one that left it, as daemons do.
const FAMILY: &str = "sh -c 'echo $$ > service; sleep 1000 & echo $! > child; \
                      setsid sh -c \"echo \\$\\$ > daemon; exec sleep 1000\" & ${target}/probe_service; wait'";

/// The files that the family writes its process ids to.
const MEMBERS: [&str; 3] = ["service", "child", "daemon"];

/// Where [`host`] is told to run its system.
const HOST_DIR: &str = "HOST_DIR";

/// How soon after `bowline` nobody is left.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// No test of its own: the process that another test kills. It runs a family, for ever.
#[tokio::test]
async fn host() {
    let Some(dir) = std::env::var_os(HOST_DIR).map(PathBuf::from) else { return };
    let mut fixture = Fixture::new();
    fixture.settings.root = dir.clone();
    fixture.settings.data_dir = dir.join("data");
    let supervisor = fixture.start([service("family", FAMILY)]).await.unwrap();
    supervisor.ready().await.unwrap();
    fs::replace(&dir.join("ready"), format!("{}\n", std::process::id()).as_bytes()).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn nobody_survives_a_supervisor_that_is_killed() {
    let dir = temp_dir();
    let mut host = start_host(dir.path()).await;
    let mut pids = family(dir.path()).await;
    pids.push(keeper_of(pids[0]));
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    host.kill().unwrap();
    host.wait().unwrap();
    let began = time::now();
    eventually(BOUND, || !pids.iter().any(|pid| is_alive(*pid))).await;
    assert!(time::now() - began < GONE_WITHIN, "{:?}", time::now() - began);
}

#[tokio::test]
async fn the_next_start_kills_what_a_supervisor_killed_with_its_keepers_left() {
    let dir = temp_dir();
    let mut host = start_host(dir.path()).await;
    let pids = family(dir.path()).await;
    // At once: whoever of the two lived on would kill the tree.
    let keeper = keeper_of(pids[0]);
    kill(host.id(), Signal::STOP);
    // The signal is sent, and a thread that runs still would do the keeper's work.
    eventually(BOUND, || is_stopped(host.id())).await;
    kill(keeper, Signal::KILL);
    host.kill().unwrap();
    host.wait().unwrap();
    eventually(BOUND, || !is_alive(keeper)).await;
    // The command died with its keeper; for its descendants nobody is left to see to it.
    assert!(is_alive(pids[1]) && is_alive(pids[2]), "there is nobody to be killed: the test proves nothing");
    let mut fixture = Fixture::new();
    fixture.settings.data_dir = dir.path().join("data");
    let supervisor = fixture.start([]).await.unwrap();
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "{pids:?}");
    drop(supervisor);
    // A file that names nobody kills nobody, and is not passed over.
    fs::replace(&dir.path().join("data/run"), b"bowline run 2 \n").unwrap();
    let error = fixture.start([]).await.unwrap_err();
    assert!(matches!(error, bowline_supervisor::Error::Run { .. }), "{error}");
}

#[tokio::test]
async fn nobody_survives_a_supervisor_that_is_dropped() {
    let fixture = Fixture::new();
    let supervisor = fixture.start([service("family", FAMILY)]).await.unwrap();
    supervisor.ready().await.unwrap();
    let pids = family(fixture.dir.path()).await;
    drop(supervisor);
    eventually(GONE_WITHIN, || !pids.iter().any(|pid| is_alive(*pid))).await;
}

#[tokio::test]
async fn a_killed_keeper_takes_its_tree_along_and_the_instance_comes_back() {
    let fixture = Fixture::new();
    let supervisor = fixture.start([service("family", FAMILY)]).await.unwrap();
    supervisor.ready().await.unwrap();
    let pids = family(fixture.dir.path()).await;
    let before = fixture.registry.get("family-1").unwrap();
    kill(keeper_of(pids[0]), Signal::KILL);
    eventually(GONE_WITHIN, || !pids.iter().any(|pid| is_alive(*pid))).await;
    let back = || fixture.registry.get("family-1").filter(|now| now.metadata["pid"] != before.metadata["pid"]);
    eventually_some(BOUND, back).await;
    let exited = |event: &Event| match event {
        Event::InstanceExited { exit, .. } => Some(exit.clone()),
        _ => None,
    };
    assert_eq!(fixture.events.wait(exited).await, Exit::KeeperLost);
}

#[tokio::test]
async fn what_a_crashed_service_leaves_is_killed() {
    let fixture = Fixture::new();
    let supervisor = fixture.start([service("family", FAMILY)]).await.unwrap();
    supervisor.ready().await.unwrap();
    let pids = family(fixture.dir.path()).await;
    kill(pids[0], Signal::KILL);
    eventually(GONE_WITHIN, || !pids.iter().any(|pid| is_alive(*pid))).await;
}

#[tokio::test]
async fn a_keeper_does_not_heed_what_is_meant_for_its_supervisor() {
    let fixture = Fixture::new();
    let supervisor = fixture.start([service("family", FAMILY)]).await.unwrap();
    supervisor.ready().await.unwrap();
    let pids = family(fixture.dir.path()).await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill(keeper_of(pids[0]), signal);
    }
    let drained = supervisor.drain().await;
    assert_eq!((drained.stopped.len(), drained.killed.len()), (1, 0));
    assert!(!fixture.events.all().iter().any(|event| matches!(event, Event::InstanceExited { .. })));
}

#[test]
fn a_keeper_buries_orphans_and_exits_as_its_command_did() {
    let dir = temp_dir();
    // An orphan dies before the command looks for zombies among the keeper's children.
    let script = "sh -c 'sleep 0 &'; sleep 0.2; \
                  cat /proc/[0-9]*/stat 2>/dev/null | grep -c \"^[0-9]* (sleep) Z $PPID \" > zombies; exit 5";
    assert_eq!(keep(dir.path(), script), (Some(5), "status 5".to_owned()));
    assert_eq!(fs::read_to_string(dir.path().join("zombies")).unwrap().trim(), "0");
    assert_eq!(keep(dir.path(), "kill -11 $$"), (Some(139), "signal 11".to_owned()));
}

#[test]
fn a_command_inherits_no_ignored_signals_and_no_foreign_files() {
    let dir = temp_dir();
    let script = "grep SigIgn /proc/$$/status > ignored; ls /proc/$$/fd > files";
    assert_eq!(keep(dir.path(), script).0, Some(0));
    let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
    let ignored = u64::from_str_radix(read("ignored").split_ascii_whitespace().nth(1).unwrap(), 16).unwrap();
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::PIPE, Signal::TERM] {
        assert_eq!(ignored & (1 << (signal.as_raw() - 1)), 0, "{signal:?}");
    }
    // Beside the standard three, the shell keeps files of its own from 10 on.
    assert!(read("files").lines().all(|fd| !(3..10).contains(&fd.parse().unwrap())), "{}", read("files"));
}

#[test]
fn who_leaves_the_group_while_it_is_killed_is_found_too() {
    let dir = temp_dir();
    let mark = dir.path().to_str().unwrap().to_owned();
    let is_marked = |pid: &str| {
        fs::read(Path::new("/proc").join(pid).join("environ")).is_ok_and(|environment| {
            let line = format!("STORM={mark}");
            environment.split(|byte| *byte == 0).any(|variable| variable == line.as_bytes())
        })
    };
    let marked = || {
        let names = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|pid| is_marked(pid)).count()
    };
    // Two shells of groups of their own, which start more of such all the time.
    let storm = "for i in 1 2; do setsid sh -c 'while :; do setsid sleep 1000 & sleep 0.003; done' & done; wait";
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(example("keeper"));
    command.args(["keeper", "--", "sh", "-c", storm]).env("STORM", &mark).stdin(OwnedFd::from(theirs));
    let mut child = command.spawn().unwrap();
    drop(command);
    eventually_blocking(BOUND, || marked() > 20);
    drop(ours);
    child.wait().unwrap();
    assert_eq!(marked(), 0);
}

#[test]
fn a_keeper_called_wrongly_says_how() {
    let output = Command::new(example("keeper")).arg("keeper").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8(output.stderr).unwrap().contains("usage: keeper -- PROGRAM"));
}

/// Runs a script under a keeper; gives the keeper's status and its last report.
fn keep(dir: &Path, script: &str) -> (Option<i32>, String) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(example("keeper"));
    command.args(["keeper", "--", "sh", "-c", script]).current_dir(dir).stdin(OwnedFd::from(theirs));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut reports = String::new();
    ours.read_to_string(&mut reports).unwrap();
    (child.wait().unwrap().code(), reports.lines().last().unwrap_or_default().to_owned())
}

/// Starts [`host`] in a process of its own, and waits until its family is ready.
async fn start_host(dir: &Path) -> Child {
    let host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keeping::host"])
        .env(HOST_DIR, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    pid_in(&dir.join("ready")).await;
    host
}

async fn family(dir: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    for member in MEMBERS {
        pids.push(pid_in(&dir.join(member)).await);
    }
    pids
}

/// The keeper is a parent or, under a shell of its own, the one above.
fn keeper_of(pid: u32) -> u32 {
    let is_keeper = |pid: &u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        command.split('\0').nth(1) == Some("keeper")
    };
    std::iter::successors(Some(pid), |pid| Some(parent(*pid))).find(is_keeper).unwrap()
}
