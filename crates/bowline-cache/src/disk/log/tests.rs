//! What is left of a log, whatever happens to it.

use std::{fs as files, sync::Mutex};

use bowline_disk::Operation;

use super::*;

const MB: u64 = 1 << 20;

fn put(key: &str, size: usize) -> Record {
    Record::Put { key: key.to_owned(), put_unix: 1, fresh_unix: 2, value: vec![7; size] }
}

fn gone(key: &str) -> Record {
    Record::Gone { keys: vec![key.to_owned()], applied: None }
}

fn opened(dir: &Path, bounds: Bounds) -> (Log, Vec<String>) {
    let (log, known) = Log::open(dir, Disk::default(), bounds).unwrap();
    (log, known.into_keys().collect())
}

/// Five segments: a value, more of them, that it is gone, and what comes then.
fn filled(dir: &Path) -> Bounds {
    let bounds = Bounds::of(8 * MB);
    let (mut log, _) = opened(dir, bounds);
    let large = 1100 << 10;
    for records in [[put("ada", large), put("a", large)], [put("b", large), put("c", large)]] {
        log.append(&records).unwrap();
    }
    log.append(&[gone("ada"), put("d", large)]).unwrap();
    bounds
}

#[test]
fn whatever_cannot_be_deleted_no_value_comes_back() {
    for fails_at in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let bounds = filled(dir.path());
        assert!(list(dir.path()).unwrap().len() >= 4);
        let left = Mutex::new(fails_at);
        let disk = Disk::faulty(move |operation| {
            let Operation::Remove { .. } = operation else { return Ok(()) };
            let mut left = left.lock().unwrap();
            *left -= 1;
            if *left >= 0 { Ok(()) } else { Err(io::Error::other("bad disk")) }
        });
        let (mut log, _) = Log::open(dir.path(), disk, bounds).unwrap();
        let is_cleared = log.clear(Vec::new()).is_ok();
        drop(log);
        let (_, known) = opened(dir.path(), bounds);
        assert!(!known.contains(&"ada".to_owned()), "after {fails_at}: {known:?}");
        assert!(!is_cleared || known.is_empty());
    }
}

#[test]
fn a_crash_at_any_byte_of_the_newest_segment_loses_no_more_than_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds::of(MB / 2);
    let (mut log, _) = opened(dir.path(), bounds);
    log.append(&[put("ada", 64 << 10)]).unwrap();
    log.append(&[put("bob", 10), gone("bob"), put("cyd", 10)]).unwrap();
    drop(log);
    let newest = numbered(dir.path(), *list(dir.path()).unwrap().last().unwrap(), EXTENSION);
    let whole = files::read(&newest).unwrap();
    assert!(whole.len() < 1000);
    for length in 0..whole.len() {
        files::write(&newest, &whole[..length]).unwrap();
        let (mut log, known) = opened(dir.path(), bounds);
        assert!(known.contains(&"ada".to_owned()), "cut at {length}: {known:?}");
        log.append(&[put("dan", 10)]).unwrap();
        drop(log);
        let (_, known) = opened(dir.path(), bounds);
        let has = |key: &str| known.contains(&key.to_owned());
        assert!(has("ada") && has("dan") && !has("cyd"), "cut at {length}: {known:?}");
        for id in list(dir.path()).unwrap().iter().filter(|id| numbered(dir.path(), **id, EXTENSION) > newest) {
            files::remove_file(numbered(dir.path(), *id, EXTENSION)).unwrap();
        }
    }
}

#[test]
fn an_older_segment_that_is_not_whole_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = filled(dir.path());
    let path = numbered(dir.path(), list(dir.path()).unwrap()[1], EXTENSION);
    let whole = files::read(&path).unwrap();
    files::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(opened(dir.path(), bounds).1, Vec::<String>::new());
}

#[test]
fn opening_takes_no_longer_than_it_may_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = filled(dir.path());
    let (log, known) = opened(dir.path(), Bounds { open_within: Duration::ZERO, ..bounds });
    assert_eq!((log.segments.len(), known.as_slice()), (1, ["d".to_owned()].as_slice()));
    drop(log);
    assert_eq!(opened(dir.path(), bounds).1, ["d"], "the older ones are gone");
}

#[test]
fn keys_are_bounded_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { keys_max: 80, ..Bounds::of(16 * MB) };
    let (mut log, _) = opened(dir.path(), bounds);
    for at in 0..300 {
        log.append(&[put(&format!("k{at:03}"), 10), gone("x")]).unwrap();
        assert!(log.keys() <= 80);
    }
    drop(log);
    let (_, known) = opened(dir.path(), bounds);
    assert!((30..=40).contains(&known.len()) && known.contains(&"k299".to_owned()), "{known:?}");
}
