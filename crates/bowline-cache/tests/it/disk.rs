//! The level on disk: what it has survives a restart, unless it was invalidated meanwhile.

use std::{fs, path::Path};

use bowline_cache::Which;
use bowline_runtime::metric::Registry;

use super::{feed::Tape, *};

pub(crate) fn lasting(dir: &Path, tape: &Tape) -> Builder<String, String> {
    builder().ttl(Duration::from_hours(1)).serialized("1").follow(tape.feed()).disk(dir, 16 << 20)
}

pub(crate) async fn started(dir: &Path, tape: &Tape) -> Cache<String, String> {
    let cache = lasting(dir, tape).build().unwrap();
    pass(Duration::from_secs(1)).await;
    cache
}

/// A process ends, without a word: what it has not written by then it has not written.
pub(crate) async fn end(cache: Cache<String, String>) {
    drop(cache);
    pass(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_loaded_survives_a_restart_and_what_was_invalidated_does_not() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
    let cache = started(dir.path(), &tape).await;
    for key in ["ada", "bob", "cyd", "dan"] {
        assert_eq!(text(source.ask(&cache, key).await), "v1");
    }
    pass(Duration::from_secs(1)).await;
    source.change();
    cache.invalidate("bob").await.unwrap();
    tape.put_key("cyd");
    pass(Duration::from_secs(1)).await;
    end(cache).await;
    tape.put_key("dan");
    let cache = started(dir.path(), &tape).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v1", "from the disk");
    assert_eq!(source.calls(), 4);
    for key in ["bob", "cyd", "dan"] {
        assert_eq!(text(source.ask(&cache, key).await), "v2", "{key}");
    }
    let disk = &cache.status().levels[1];
    assert_eq!((disk.level.as_str(), disk.hits, disk.misses, disk.is_left_alone), ("l2", 1, 3, false), "{disk:?}");
    assert!(disk.bytes.unwrap() > 0);
    end(cache).await;
    let cache = started(dir.path(), &tape).await;
    pass(Duration::from_mins(61)).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v2", "its time has gone on");
}

#[tokio::test(start_paused = true)]
async fn where_it_cannot_be_known_what_was_invalidated_it_is_emptied() {
    let losses: [fn(&Tape); 3] = [Tape::trim, Tape::lose, |tape| tape.put(Which::All)];
    for lose in losses {
        let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
        tape.put_key("somebody");
        let cache = started(dir.path(), &tape).await;
        assert_eq!(text(source.ask(&cache, "ada").await), "v1");
        pass(Duration::from_secs(1)).await;
        end(cache).await;
        source.change();
        tape.put_key("ada");
        tape.put_key("bob");
        lose(&tape);
        let cache = started(dir.path(), &tape).await;
        assert_eq!(text(source.ask(&cache, "ada").await), "v2");
        pass(Duration::from_secs(1)).await;
        end(cache).await;
        let cache = started(dir.path(), &tape).await;
        assert_eq!(text(source.ask(&cache, "ada").await), "v2");
        assert_eq!(source.calls(), 2, "and it is used again");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_it_may_be_now_is_not_read() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
    let cache = started(dir.path(), &tape).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    pass(Duration::from_mins(1)).await;
    end(cache).await;
    source.change();
    let cache = lasting(dir.path(), &tape).ttl(Duration::from_secs(30)).build().unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn it_is_not_read_before_the_feed_was_heard() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
    let cache = started(dir.path(), &tape).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    pass(Duration::from_secs(1)).await;
    end(cache).await;
    source.change();
    tape.put_key("ada");
    tape.stall(true);
    let cache = started(dir.path(), &tape).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_an_invalidation_has_overtaken_is_not_kept_there() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::held());
    let cache = started(dir.path(), &tape).await;
    let before = source.ask_beside(&cache, "ada");
    settle().await;
    source.change();
    tape.put_key("ada");
    settle().await;
    source.let_go(1);
    assert_eq!(text(before.await.unwrap()), "v1");
    pass(Duration::from_secs(1)).await;
    end(cache).await;
    let cache = started(dir.path(), &tape).await;
    source.let_go(1);
    assert_eq!(text(source.ask(&cache, "ada").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn its_bytes_are_bounded_and_the_oldest_go_first() {
    let (dir, tape, registry) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Registry::default());
    let cache = lasting(dir.path(), &tape).metrics(&registry).build().unwrap();
    pass(Duration::from_secs(1)).await;
    for at in 0..64 {
        let value = "x".repeat(512 << 10);
        cache.get_or_load(&format!("k{at}"), || std::future::ready(Ok(Some(value)))).await.unwrap();
        pass(Duration::from_secs(1)).await;
    }
    let on_disk: u64 = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!((8 << 20..=16 << 20).contains(&on_disk), "{on_disk}");
    let text = registry.render();
    assert!(!text.contains("evictions_total{cache=\"users\",level=\"l2\"} 0\n"), "{text}");
    end(cache).await;
    let cache = started(dir.path(), &tape).await;
    let load = || std::future::ready(Ok(None));
    assert!(cache.get_or_load("k63", load).await.unwrap().is_some());
    assert!(cache.get_or_load("k0", load).await.unwrap().is_none());
}

/// The segments of a folder, the oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cache"));
    paths.sort();
    paths
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_unfinished_is_cut_off_and_what_is_damaged_is_deleted() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
    let cache = started(dir.path(), &tape).await;
    for key in ["ada", "bob"] {
        assert_eq!(text(source.ask(&cache, key).await), "v1");
        pass(Duration::from_secs(1)).await;
    }
    end(cache).await;
    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 3);
    fs::write(&path, &bytes).unwrap();
    source.change();
    let cache = started(dir.path(), &tape).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v1");
    assert_eq!(text(source.ask(&cache, "bob").await), "v2", "the last one was not whole");
    pass(Duration::from_secs(1)).await;
    end(cache).await;

    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.iter().position(|byte| *byte == b'v').unwrap();
    bytes[at] = b'w';
    fs::write(&path, &bytes).unwrap();
    source.change();
    let cache = started(dir.path(), &tape).await;
    assert_eq!(text(source.ask(&cache, "ada").await), "v3");
    assert!(!cache.status().levels[1].is_left_alone);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_be_used_is_left_alone() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
    let first = started(dir.path(), &tape).await;
    let second = started(dir.path(), &tape).await;
    assert_eq!(text(source.ask(&second, "ada").await), "v1");
    assert!(second.status().levels[1].is_left_alone, "another process has the folder");
    assert!(!first.status().levels[1].is_left_alone);
    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    let third = started(&file, &tape).await;
    assert_eq!(text(source.ask(&third, "ada").await), "v1");
    third.invalidate("ada").await.unwrap();
    assert!(third.status().levels[1].is_left_alone);
    assert_eq!(builder().disk(dir.path(), 1).build().unwrap_err().faults.len(), 2, "a form, a feed, and bytes");
}
