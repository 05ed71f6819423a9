//! A process that publishes and consumes is killed at random points, its disk fails at random, and its last segment
//! is torn: nothing acknowledged is lost, nothing that is done comes again, keys keep their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bowline_disk::{Disk, Operation};
use bowline_messaging::{
    Embedded, Error, GroupSettings, MessageBus, NewMessage, Settings, Subscription, TopicSettings,
};
use bowline_runtime::{metric, rand, task, time};

/// Set for the process that is killed: its folder.
const DIR: &str = "BOWLINE_MESSAGES_CRASH_DIR";
/// The round, so that each publishes other messages; `last` publishes none.
const ROUND: &str = "BOWLINE_MESSAGES_CRASH_ROUND";

const PUBLISHERS: usize = 8;
const CONSUMERS: usize = 4;
const TOPIC: &str = "work";

/// How often a write fails, in millionths.
const FAULTS: u32 = 20_000;

/// Not a test by itself: what the killed process does, when it is started by the one below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = env::var(DIR) else { return };
    let round = env::var(ROUND).unwrap();
    let mut settings = Settings::new(dir, metric::Registry::default());
    settings.disk = Disk::faulty(fail_at_random);
    let bus = until_done(|| Box::pin(Embedded::open(settings.clone()))).await;
    let bus: Arc<dyn MessageBus> = Arc::new(bus);
    // The test harness has begun a line.
    say("open");
    // Small segments, deleted soon.
    let topic = TopicSettings { bytes_max: 4 << 20, keep: Duration::ZERO, ..TopicSettings::default() };
    until_done(|| bus.declare(TOPIC, topic.clone())).await;
    let mut tasks = task::JoinSet::new();
    for _ in 0..CONSUMERS {
        let settings = GroupSettings { attempts_max: 1000, backoff: Duration::ZERO, ..GroupSettings::default() };
        let group = until_done(|| bus.subscribe(TOPIC, "g", settings.clone(), 16)).await;
        tasks.spawn(consume(group));
    }
    if round != "last" {
        for publisher in 0..PUBLISHERS {
            tasks.spawn(publish(bus.clone(), publisher, round.clone()));
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// A disk that gets full in the middle of a write, or does not sync, and has room again.
fn fail_at_random(operation: Operation<'_>) -> io::Result<()> {
    match operation {
        _ if !rand::hits(FAULTS) => Ok(()),
        Operation::Write { file, bytes, at } => {
            file.write_all_at(&bytes[..rand::below(bytes.len())], at)?;
            Err(io::ErrorKind::StorageFull.into())
        }
        Operation::Read { .. }
        | Operation::Sync { .. }
        | Operation::Cut
        | Operation::SyncDir
        | Operation::Replace { .. }
        | Operation::Remove { .. } => Err(io::Error::other("bad disk")),
    }
}

/// Does it until it succeeds.
async fn until_done<'a, T>(mut what: impl FnMut() -> bowline_runtime::BoxFuture<'a, Result<T, Error>>) -> T {
    loop {
        match what().await {
            Ok(done) => return done,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
}

/// Publishes until it is killed, one message after the other, each until it is acknowledged, which it says.
async fn publish(bus: Arc<dyn MessageBus>, publisher: usize, round: String) {
    for number in 0.. {
        let name = format!("{publisher} {round} {number}");
        let payload = format!("{name} {}", "x".repeat(rand::below(900)));
        let (id, key) = (Some(name.replace(' ', "/")), Some(publisher.to_string()));
        let message = NewMessage { id, key, payload: payload.into(), ..NewMessage::default() };
        until_done(|| bus.publish(TOPIC, message.clone())).await;
        say(&format!("published {name}"));
    }
}

/// Consumes until it is killed; says what it got, and what was acknowledged.
async fn consume(mut group: Subscription) {
    loop {
        let delivery = group.next().await.unwrap();
        let payload = String::from_utf8(delivery.message.payload.to_vec()).unwrap();
        let name = payload.rsplit_once(' ').unwrap().0.to_owned();
        say(&format!("got {name}"));
        if delivery.ack().await.is_ok() {
            say(&format!("acked {name}"));
        }
    }
}

/// One line in one write, so that a kill leaves no half of it but the last.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// A message: publisher, round and number.
type Name = (usize, u32, u32);

/// What was said so far, in all rounds.
#[derive(Default)]
struct Said {
    published: BTreeSet<Name>,
    got: BTreeMap<Name, u32>,
    /// What was published and not got.
    lost: BTreeSet<Name>,
    acked: BTreeSet<Name>,
    /// The last message of each publisher that was got for the first time.
    last: BTreeMap<usize, Name>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words = line.split(' ').collect::<Vec<_>>();
        let &[what, publisher, round, number] = words.as_slice() else { return };
        let (Ok(publisher), Ok(round), Ok(number)) = (publisher.parse(), round.parse(), number.parse()) else { return };
        let name = (publisher, round, number);
        match what {
            "published" => {
                self.published.insert(name);
                if !self.got.contains_key(&name) {
                    self.lost.insert(name);
                }
            }
            "acked" => drop(self.acked.insert(name)),
            "got" => self.hear_got(name),
            _ => {}
        }
    }

    fn hear_got(&mut self, name: Name) {
        assert!(!self.acked.contains(&name), "{name:?} was acknowledged, and came again");
        self.lost.remove(&name);
        let count = self.got.entry(name).or_default();
        *count += 1;
        if *count == 1 {
            let before = self.last.insert(name.0, name);
            assert!(before.is_none_or(|before| before < name), "{name:?} came after {before:?}");
        }
    }
}

/// Runs a process until it said so many lines, or until nothing is missing, then kills it.
fn run(dir: &Path, round: &str, lines: Option<usize>, said: &mut Said) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ROUND, round)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut heard, mut is_killed) = (String::new(), 0, false);
    while out.read_line(&mut line).unwrap() > 0 {
        // The last line may be cut short.
        if let Some(whole) = line.strip_suffix('\n') {
            said.hear(whole);
        }
        line.clear();
        heard += 1;
        if !is_killed && lines.map_or_else(|| said.lost.is_empty(), |lines| heard >= lines) {
            child.kill().unwrap();
            is_killed = true;
        }
    }
    child.wait().unwrap();
    assert!(is_killed, "the process of round {round} ended by itself after {heard} lines");
}

/// Leaves a part of a batch at the end of the newest segment, as a power loss does.
fn tear(dir: &Path) {
    let entries = std::fs::read_dir(dir.join("topics").join(TOPIC)).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "msgs");
    let Some(newest) = entries.filter(is_segment).max() else { return };
    let mut torn = 1000_u32.to_le_bytes().to_vec();
    torn.extend((0..rand::below(900)).map(|_| rand::u64().to_le_bytes()[0]));
    std::fs::File::options().append(true).open(newest).unwrap().write_all(&torn).unwrap();
}

#[test]
fn nothing_acknowledged_is_lost_to_kills() {
    let seed = bowline_testkit::seed();
    let rounds: u32 = if env::var_os("BOWLINE_TEST_LONG").is_some() { 200 } else { 8 };
    let dir = tempfile::tempdir().unwrap();
    let (mut said, begin) = (Said::default(), time::now());
    for round in 0..rounds {
        // The first lines are the test harness's own.
        run(dir.path(), &round.to_string(), Some(3 + rand::below(2000)), &mut said);
        if rand::hits(300_000) {
            tear(dir.path());
        }
    }
    run(dir.path(), "last", None, &mut said);
    assert_eq!(said.lost, BTreeSet::new());
    assert!(
        said.published.len() > 100 * usize::try_from(rounds).unwrap(),
        "{} messages are too few",
        said.published.len()
    );
    let again = said.got.values().map(|count| u64::from(*count - 1)).sum::<u64>();
    println!(
        "seed {seed}: {rounds} kills, {} messages published, {} delivered, {again} duplicates, {:?}",
        said.published.len(),
        said.got.len(),
        begin.elapsed()
    );
}
