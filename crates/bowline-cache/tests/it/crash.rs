//! A process that caches on disk is killed at random points, its disk fails at random, and its last segment is torn:
//! what was invalidated is never served, and the level is used again.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use bowline_cache::{After, Batch, Invalidations, Mark, PortError, Resumed, Which};
use bowline_disk::{Disk, Operation};
use bowline_runtime::{BoxFuture, rand};
use tokio::sync::Notify;

use super::{disk::segments, *};

/// Set for the process that is killed: its folder.
const DIR: &str = "BOWLINE_CACHE_CRASH_DIR";
/// How often its disk fails, in millionths.
const FAULTS: &str = "BOWLINE_CACHE_CRASH_FAULTS";

const KEYS: usize = 400;
const CALLERS: usize = 4;
/// How many things are done a line.
const A_LINE: usize = 50;

/// What has changed, a line each: the truth, and the feed. It outlives the processes.
struct Paper {
    path: PathBuf,
    written: Mutex<Written>,
    told: Notify,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    /// How often each key has changed.
    versions: BTreeMap<String, usize>,
}

impl Paper {
    fn read(dir: &Path) -> Self {
        let path = dir.join("changes");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut written = Written::default();
        text.lines().for_each(|line| _ = written.add(line));
        Self { path, written: Mutex::new(written), told: Notify::new() }
    }

    /// The key has another version from now on.
    fn change(&self, key: &str) -> usize {
        let mut written = self.written.lock().unwrap();
        let mut file = fs::File::options().create(true).append(true).open(&self.path).unwrap();
        file.write_all(format!("{key}\n").as_bytes()).unwrap();
        self.told.notify_waiters();
        written.add(key)
    }

    fn versions(&self) -> BTreeMap<String, usize> {
        self.written.lock().unwrap().versions.clone()
    }

    fn version(&self, key: &str) -> usize {
        self.written.lock().unwrap().versions.get(key).copied().unwrap_or_default()
    }
}

impl Written {
    fn add(&mut self, key: &str) -> usize {
        self.lines.push(key.to_owned());
        let version = self.versions.entry(key.to_owned()).or_default();
        *version += 1;
        *version
    }
}

impl Invalidations for Paper {
    fn name(&self) -> &'static str {
        "changed"
    }

    fn resume(&self, from: Option<Mark>) -> BoxFuture<'_, Result<Resumed, PortError>> {
        let end = Mark { position: self.written.lock().unwrap().lines.len() as u64, id: String::new() };
        let resumed = from.map_or(Resumed::Gap { end }, Resumed::At);
        Box::pin(std::future::ready(Ok(resumed)))
    }

    fn after(&self, mark: Mark, wait: Duration) -> BoxFuture<'_, Result<After, PortError>> {
        Box::pin(async move {
            let told = self.told.notified();
            let from = usize::try_from(mark.position).unwrap();
            if self.written.lock().unwrap().lines.len() == from {
                time::timeout(wait, told).await.ok();
            }
            let lines = &self.written.lock().unwrap().lines;
            let what: Vec<_> = lines[from..].iter().take(1 + rand::below(20)).cloned().map(Which::Key).collect();
            let upto = Mark { position: mark.position + what.len() as u64, id: String::new() };
            let is_end = upto.position == lines.len() as u64;
            Ok(After::Batch(Batch { what, upto, is_end }))
        })
    }

    fn tell(&self, _: Which) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(std::future::ready(Err(PortError::NotOurs { feed: "changed".to_owned() })))
    }
}

/// What the callers of the killed process share.
struct Process {
    cache: Cache<String, String>,
    paper: Arc<Paper>,
    /// No older version of a key may be served: as old as the process, or invalidated by it.
    least: Mutex<BTreeMap<String, usize>>,
    begun: time::Instant,
}

/// Not a test by itself: what the killed process does, when it is started by the one below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = env::var(DIR) else { return };
    let (dir, faults) = (PathBuf::from(dir), env::var(FAULTS).unwrap().parse().unwrap());
    let paper = Arc::new(Paper::read(&dir));
    let least = Mutex::new(paper.versions());
    let begun = time::now();
    let cache = builder().ttl(Duration::from_hours(1)).memory_bytes(1 << 20).serialized("1").follow(paper.clone());
    let cache =
        cache.disk(dir.join("cache"), 16 << 20).through(Disk::faulty(move |what| fail_at_random(&what, faults)));
    let process = Arc::new(Process { cache: cache.build().unwrap(), paper, least, begun });
    // The test harness has begun a line.
    say("begun");
    let mut tasks = task::JoinSet::new();
    for _ in 0..CALLERS {
        tasks.spawn(call(Arc::clone(&process)));
    }
    while tasks.join_next().await.is_some() {}
}

fn fail_at_random(operation: &Operation<'_>, faults: u32) -> io::Result<()> {
    match operation {
        _ if !rand::hits(faults) => Ok(()),
        Operation::Write { file, bytes, at } => {
            file.write_all_at(&bytes[..rand::below(bytes.len())], *at)?;
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Err(io::Error::other("bad disk")),
    }
}

/// Asks, changes and invalidates until it is killed.
async fn call(process: Arc<Process>) {
    for number in 1_u64.. {
        process.act(&format!("k{}", rand::below(KEYS))).await;
        if number % A_LINE as u64 == 0 {
            let status = process.cache.status();
            let is_ready = status.feeds[0].standing == "following";
            let ready_ms = if is_ready { process.begun.elapsed().as_millis().to_string() } else { "-".to_owned() };
            say(&format!("did {} {ready_ms}", status.levels[1].hits));
        }
    }
}

impl Process {
    async fn act(&self, key: &str) {
        match rand::below(100) {
            0..5 => _ = self.paper.change(key),
            5..8 => {
                let version = self.paper.change(key);
                self.cache.invalidate(key).await.unwrap();
                let mut least = self.least.lock().unwrap();
                let known = least.entry(key.to_owned()).or_default();
                *known = version.max(*known);
            }
            _ => self.ask(key).await,
        }
    }

    async fn ask(&self, key: &str) {
        let least = self.least.lock().unwrap().get(key).copied().unwrap_or_default();
        let (paper, name) = (Arc::clone(&self.paper), key.to_owned());
        let load = || async move {
            let version = paper.version(&name);
            task::yield_now().await;
            Ok(Some(format!("{name} {version} {}", "x".repeat(rand::below(8_000)))))
        };
        let value = self.cache.get_or_load(key, load).await.unwrap().unwrap();
        let (of, rest) = value.split_once(' ').unwrap();
        let version: usize = rest.split_once(' ').unwrap().0.parse().unwrap();
        if of != key || version < least {
            say(&format!("stale {key} is {of} {version}, ought to be {least}"));
        }
    }
}

/// One line in one write, so that a kill leaves no half of it but the last.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Runs a process until it said so many lines since it follows, then kills it: how often the disk had something, and
/// after how many milliseconds at most it could be asked.
fn run(dir: &Path, faults: u32, lines: usize) -> (u64, Option<u64>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(FAULTS, faults.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut heard, mut hits, mut ready) = (0, 0, None);
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = String::from_utf8(line.unwrap()).unwrap();
        assert!(!line.starts_with("stale") && !line.contains("panicked"), "{line}");
        if let ["did", now, ready_ms] = line.split(' ').collect::<Vec<_>>()[..] {
            hits = now.parse().unwrap_or(hits);
            ready = ready.or_else(|| ready_ms.parse().ok());
        }
        heard += usize::from(ready.is_some());
        if heard == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(heard >= lines, "the process ended by itself after {heard} lines");
    (hits, ready)
}

/// Has the end of the newest segment be other than it was written, or less, as a power loss does.
fn tear(dir: &Path) {
    let Some(newest) = segments(dir).pop() else { return };
    let file = fs::File::options().write(true).open(newest).unwrap();
    let length = file.metadata().unwrap().len();
    if rand::hits(500_000) {
        file.set_len(length.saturating_sub(rand::below(50_000) as u64)).unwrap();
    } else {
        let torn: Vec<u8> = (0..rand::below(900)).map(|_| rand::u64().to_le_bytes()[0]).collect();
        file.write_all_at(&torn, length).unwrap();
    }
}

#[test]
fn what_was_invalidated_does_not_come_back_after_kills() {
    let seed = bowline_testkit::seed();
    let rounds = if env::var_os("BOWLINE_TEST_LONG").is_some() { 200 } else { 8 };
    let dir = tempfile::tempdir().unwrap();
    let (mut hits, mut slowest) = (0, 0);
    for round in 0..rounds {
        let faults = if round % 4 == 3 { 20_000 } else { 0 };
        let (had, ready) = run(dir.path(), faults, 1 + rand::below(200));
        hits += had;
        slowest = slowest.max(ready.unwrap_or_default());
        if rand::hits(300_000) {
            tear(&dir.path().join("cache"));
        }
    }
    assert!(hits > 100, "the disk had something {hits} times only");
    println!("seed {seed}: {rounds} kills, the disk had something {hits} times, and was open after {slowest} ms");
}
