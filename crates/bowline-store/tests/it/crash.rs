//! A process that writes is killed at random points: what it acknowledged is there afterwards.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bowline_model::Code;
use bowline_runtime::{metric, rand, task};
use bowline_store::{Embedded, Revision, Settings, Store, Txn};

use crate::open;

/// Set for the process that writes: the store's file.
const PATH: &str = "BOWLINE_STORE_CRASH_PATH";
/// The round, so that each writes other keys.
const ROUND: &str = "BOWLINE_STORE_CRASH_ROUND";

const WRITERS: usize = 4;
const ROUNDS: u32 = 12;
const TTL: Duration = Duration::from_mins(10);

/// Not a test by itself: what the killed process does, when it is started by one below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(path) = env::var(PATH) else { return };
    let round = env::var(ROUND).unwrap();
    let store = open(Path::new(&path)).await;
    say("open");
    let writers = (0..WRITERS).map(|writer| task::spawn(write(store.clone(), format!("{round}/{writer}"))));
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// Writes until it is killed; says what is acknowledged, after it is.
async fn write(store: Embedded, name: String) {
    for i in 0.. {
        let txn =
            Txn::default().put(format!("record/{name}/{i}"), i.to_string()).put(format!("last/{name}"), i.to_string());
        let (revision, lease) = if i % 10 == 0 {
            let (revision, lease) = store.commit_leased(txn, TTL).await.unwrap();
            (revision, lease.0)
        } else {
            (store.commit(txn).await.unwrap(), 0)
        };
        say(&format!("ack {name} {i} {revision} {lease}"));
        if i % 7 == 6 {
            let gone = format!("record/{name}/{}", i - 1);
            let revision = store.commit(Txn::default().delete(&*gone)).await.unwrap();
            say(&format!("gone {gone} {revision}"));
        }
    }
}

/// One line in one write, so that a kill leaves no half of it but the last.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn start(path: &Path, round: u32) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the killed process said.
#[derive(Default)]
struct Said {
    records: BTreeMap<String, (Revision, u64)>,
    last: BTreeMap<String, u64>,
    gone: Vec<String>,
    revisions: Vec<Revision>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words = line.split(' ').collect::<Vec<_>>();
        match words[..] {
            ["ack", name, i, revision, lease] => {
                let revision = revision.parse().unwrap();
                self.records.insert(format!("record/{name}/{i}"), (revision, lease.parse().unwrap()));
                self.last.insert(format!("last/{name}"), i.parse().unwrap());
                self.revisions.push(revision);
            }
            ["gone", key, revision] => {
                self.records.remove(key);
                self.gone.push(key.to_owned());
                self.revisions.push(revision.parse().unwrap());
            }
            _ => {}
        }
    }
}

/// Runs a process until it said so many lines, then kills it and hears what it said until then.
fn kill_after(path: &Path, round: u32, lines: usize) -> Said {
    let mut child = start(path, round);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = Said::default();
    let mut line = String::new();
    let mut heard = 0;
    while out.read_line(&mut line).unwrap() > 0 {
        // The last line may be cut short.
        if let Some(whole) = line.strip_suffix('\n') {
            said.hear(whole);
        }
        line.clear();
        heard += 1;
        if heard == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(heard >= lines, "the process ended by itself after {heard} lines");
    said
}

async fn check(store: &Embedded, said: &Said) {
    for (key, (revision, lease)) in &said.records {
        let Some(entry) = store.get(key).await.unwrap() else {
            // A deletion that was not acknowledged may have happened.
            let (name, i) = key.rsplit_once('/').unwrap();
            assert_eq!(i.parse::<u64>().unwrap() % 7, 5, "{name}/{i} was acknowledged and is lost");
            continue;
        };
        assert_eq!(entry.modified, *revision, "{key}");
        assert_eq!(entry.lease.map_or(0, |lease| lease.0), *lease, "{key}");
        if let Some(lease) = entry.lease {
            assert!(store.time_left(lease).await.unwrap() > TTL * 9 / 10, "its lifetime begins anew");
        }
    }
    for key in &said.gone {
        assert!(store.get(key).await.unwrap().is_none(), "{key} was deleted");
    }
    for (key, i) in &said.last {
        let entry = store.get(key).await.unwrap().unwrap();
        let last = std::str::from_utf8(&entry.value).unwrap().parse::<u64>().unwrap();
        assert!(last == *i || last == i + 1, "{key}: {i} was acknowledged, {last} is there");
    }
    let mut revisions = said.revisions.clone();
    revisions.sort_unstable();
    assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "each change has a revision of its own");
    let revision = store.revision().await.unwrap();
    assert!(revisions.last().is_none_or(|last| *last <= revision));
    check_history(store, revision).await;
}

/// The history has no gaps and ends at the revision.
async fn check_history(store: &Embedded, revision: Revision) {
    let oldest = match store.watch("", 0).await {
        Err(bowline_store::Error::Compacted { oldest }) => oldest,
        _ => 0,
    };
    let mut watch = store.watch("", oldest).await.unwrap();
    let mut last = oldest;
    while last < revision {
        let event = watch.next().await.unwrap();
        assert!(event.revision == last || event.revision == last + 1, "no gap after {last}");
        last = event.revision;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let seed = env::var("SEED").map_or_else(|_| rand::u64(), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    rand::seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut rounds = Vec::new();
    let mut history = None;
    for round in 0..ROUNDS {
        // The first lines are the test harness's own.
        let lines = 3 + rand::below(150);
        rounds.push(kill_after(&path, round, lines));
        let store = open(&path).await;
        for said in &rounds {
            check(&store, said).await;
        }
        let name = store.history().await.unwrap();
        assert_eq!(*history.get_or_insert(name), name);
        store.close().await;
    }
}

#[tokio::test]
async fn another_process_that_holds_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut child = start(&path, 0);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("open")), "it opens the store");
    let error = Embedded::open(Settings::new(&path), &metric::Registry::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` is in use by another process", path.display()));
    assert_eq!(error.code(), Code::FailedPrecondition);
    child.kill().unwrap();
    child.wait().unwrap();
    open(&path).await;
}
