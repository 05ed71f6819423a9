//! What a crash or a bad disk leaves is opened, and never gives wrong samples.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use bowline_observe::series::Error;

use super::*;

const SEEDS: u64 = 12;

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|known| known == extension)).collect();
    paths.sort();
    paths
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A store with blocks and a log; gives what is in it.
async fn filled(dir: &Path) -> Scrapes {
    let store = open(dir);
    let mut scrapes = Scrapes::new(&store, 8, now_ms() - 7 * 3_600_000);
    for round in 0..4000 {
        scrapes.scrape(&store);
        if round % 400 == 0 || round > 3980 {
            store.flush().await.unwrap();
        }
    }
    store.close().await;
    assert!(files(dir, "block").len() >= 2 && files(dir, "log").len() == 1);
    scrapes
}

/// Everything that is read was written so; gives how many samples there are.
fn check_subset(read: &Model, written: &Model, context: &str) -> usize {
    for (labels, samples) in read {
        let known = &written[labels];
        for (at, bits) in samples {
            assert_eq!(known.get(at), Some(bits), "{context}: {labels} at {at}");
        }
    }
    read.values().map(BTreeMap::len).sum()
}

/// Opens what is left, checks it, and that it takes new samples.
async fn check(dir: &Path, scrapes: &Scrapes, context: &str) -> usize {
    let store = open(dir);
    let count = check_subset(&model_of(&everything(&store)), &scrapes.model, context);
    let new = store.intern(&labels("new", 0)).unwrap();
    let at_ms = scrapes.at_ms + 60_000;
    assert_eq!(store.append(at_ms, &[(new, 1.0)]).kept, 1, "{context}");
    store.close().await;
    let store = open(dir);
    let matchers = [Matcher::equal("__name__", "new")];
    assert_eq!(store.select(&matchers, 0, i64::MAX, 10).unwrap()[0].samples.len(), 1, "{context}");
    store.close().await;
    count
}

#[tokio::test(start_paused = true)]
async fn a_log_torn_at_any_byte_gives_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut scrapes = Scrapes::new(&store, 3, now_ms() - 100_000);
    let mut lengths = vec![(0, 0)];
    for _ in 0..3 {
        scrapes.scrape(&store);
        store.flush().await.unwrap();
        lengths.push((fs::metadata(&files(dir.path(), "log")[0]).unwrap().len(), lengths.len() * 3));
    }
    store.close().await;
    let log = fs::read(&files(dir.path(), "log")[0]).unwrap();
    for length in 0..log.len() {
        for is_zeroed in [false, true] {
            let torn = tempfile::tempdir().unwrap();
            let path = torn.path().join("0000000001.log");
            let mut bytes = log[..length].to_vec();
            if is_zeroed {
                bytes.resize(log.len() + 4096, 0);
            }
            fs::write(path, bytes).unwrap();
            let context = format!("torn at {length}, zeroed {is_zeroed}");
            let count = check(torn.path(), &scrapes, &context).await;
            let whole = lengths.iter().rev().find(|(end, _)| *end <= length as u64).unwrap().1;
            assert_eq!(count, whole, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_cut_or_damaged_anywhere_gives_no_wrong_samples() {
    let filled_dir = tempfile::tempdir().unwrap();
    rand::seed(1);
    let scrapes = filled(filled_dir.path()).await;
    let all: usize = scrapes.model.values().map(BTreeMap::len).sum();
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        rand::seed(seed);
        let dir = tempfile::tempdir().unwrap();
        copy(filled_dir.path(), dir.path());
        let extension = if seed % 3 == 0 { "log" } else { "block" };
        let paths = files(dir.path(), extension);
        let path = &paths[rand::below(paths.len())];
        let mut bytes = fs::read(path).unwrap();
        let at = rand::below(bytes.len());
        match seed % 4 {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + 4096).min(bytes.len());
                bytes[at..end].fill_with(|| u8::try_from(rand::below(256)).unwrap());
            }
            2 => {
                let end = (at + 4096).min(bytes.len());
                bytes[at..end].fill(0);
            }
            _ => bytes[at] ^= 1 << rand::below(8),
        }
        fs::write(path, bytes).unwrap();
        let count = check(dir.path(), &scrapes, &format!("seed {seed}")).await;
        assert!(count <= all && count > all / 4, "seed {seed}: {count} of {all}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_is_skipped_and_counted_and_a_damaged_column_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    rand::seed(2);
    let scrapes = filled(dir.path()).await;
    let all: usize = scrapes.model.values().map(BTreeMap::len).sum();
    let path = &files(dir.path(), "block")[0];
    let whole = fs::read(path).unwrap();
    // Its foot.
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, &bytes).unwrap();
    let metrics = Registry::default();
    let store = SeriesStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    assert_eq!(counted(&metrics, "bowline_series_blocks_corrupt_total"), 1);
    let left = check_subset(&model_of(&everything(&store)), &scrapes.model, "foot");
    assert!(left < all);
    store.close().await;
    // A column of values, in the middle of what is not index.
    let mut bytes = whole.clone();
    bytes[whole.len() / 3] ^= 1;
    fs::write(path, &bytes).unwrap();
    let metrics = Registry::default();
    let store = SeriesStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    let left_of_column = check_subset(&model_of(&everything(&store)), &scrapes.model, "column");
    assert!(left < left_of_column && left_of_column < all, "{left} {left_of_column} {all}");
    assert_eq!(counted(&metrics, "bowline_series_reads_corrupt_total"), 1);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn another_version_is_refused_with_the_files_name() {
    let dir = tempfile::tempdir().unwrap();
    rand::seed(3);
    filled(dir.path()).await;
    for extension in ["log", "block"] {
        let path = &files(dir.path(), extension)[0];
        let whole = fs::read(path).unwrap();
        let mut bytes = whole.clone();
        bytes[8] = 9;
        let check = xxhash_rust::xxh3::xxh3_64(&bytes[..12]).to_le_bytes();
        bytes[12..16].copy_from_slice(&check[..4]);
        fs::write(path, &bytes).unwrap();
        let error = SeriesStore::open(settings(dir.path())).unwrap_err();
        assert!(matches!(error, Error::Version { found: 9, known: 1, .. }), "{error:?}");
        assert!(error.to_string().contains(&*path.to_string_lossy()));
        assert_eq!(fs::read(path).unwrap(), bytes, "what is not ours is left as it is");
        fs::write(path, &whole).unwrap();
    }
    SeriesStore::open(settings(dir.path())).unwrap().close().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_a_block_and_the_end_of_its_log_gives_each_sample_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut scrapes = Scrapes::new(&store, 4, now_ms() - 3 * 3_600_000);
    for _ in 0..1600 {
        scrapes.scrape(&store);
    }
    let log = files(dir.path(), "log")[0].clone();
    // Two hours are full: this flush writes the log, makes the block and deletes the log.
    store.flush().await.unwrap();
    store.close().await;
    let block = files(dir.path(), "block")[0].clone();
    assert!(!log.exists());
    // As if the log had not been deleted; what is in it does not matter, its block has everything.
    fs::write(&log, "").unwrap();
    // And a block that was not finished.
    fs::write(dir.path().join("0000000077.block-new"), "half a block").unwrap();
    let store = open(dir.path());
    assert!(!log.exists() && !dir.path().join("0000000077.block-new").exists());
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    store.close().await;
    // The same block twice.
    fs::copy(&block, dir.path().join("0000000070.block")).unwrap();
    let store = open(dir.path());
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn two_logs_are_read_and_the_older_becomes_a_block() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut scrapes = Scrapes::new(&store, 4, now_ms() - 3_600_000);
    for _ in 0..100 {
        scrapes.scrape(&store);
    }
    store.close().await;
    let first = files(dir.path(), "log")[0].clone();
    let aside = dir.path().join("aside");
    fs::rename(&first, &aside).unwrap();
    // So that the next one does not have the same number.
    let taken = dir.path().join("0000000005.block");
    fs::write(&taken, "").unwrap();
    let store = open(dir.path());
    scrapes.reopen(&store);
    for _ in 0..100 {
        scrapes.scrape(&store);
    }
    store.close().await;
    fs::remove_file(&taken).unwrap();
    fs::rename(&aside, &first).unwrap();
    assert_eq!(files(dir.path(), "log").len(), 2);
    let store = open(dir.path());
    assert_eq!(model_of(&everything(&store)), scrapes.model);
    assert_eq!(files(dir.path(), "block").len(), 1);
    store.close().await;
}

const CHILD: &str = "BOWLINE_SERIES_CHILD";

/// Appends until it is killed, and says what was flushed. It is a test that does nothing but as a child.
#[tokio::test]
async fn child_that_appends_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let store = open(Path::new(&dir));
    let series: Vec<_> = (0..50).map(|number| store.intern(&labels("up", number)).unwrap()).collect();
    let from_ms = now_ms() - 40 * 3_600_000;
    for round in 0_u32.. {
        let at_ms = from_ms + i64::from(round) * 5000;
        let samples: Vec<_> = series.iter().map(|series| (*series, f64::from(round) / 4.0)).collect();
        if store.append(at_ms, &samples).refused > 0 || round % 50 == 0 {
            store.flush().await.unwrap();
            println!("flushed {at_ms}");
        }
    }
}

#[tokio::test]
async fn what_was_flushed_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        if round > 0 {
            for extension in ["log", "block"] {
                for path in files(dir.path(), extension) {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["series::crash::child_that_appends_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let flushed = lines.filter_map(|line| line.split_once("flushed ")?.1.parse::<i64>().ok());
        let last = flushed.take(40 * (round + 1)).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(dir.path());
        let series = everything(&store);
        assert_eq!(series.len(), 50);
        for series in series {
            let first = series.samples[0].at_ms;
            let at = |at: usize| first + i64::try_from(at).unwrap() * 5000;
            assert!(series.samples.last().unwrap().at_ms >= last);
            for (number, sample) in series.samples.iter().enumerate() {
                assert_eq!(sample.at_ms, at(number));
                let round = f64::from(u32::try_from(number).unwrap());
                assert_eq!(sample.value.to_bits(), (round / 4.0).to_bits());
            }
        }
        store.close().await;
    }
}
