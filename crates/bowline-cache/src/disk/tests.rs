//! What a level tells of what is on its disk.

use bowline_runtime::metric::Registry;

use super::*;

/// A level with these records, and what runs it.
async fn opened(dir: &std::path::Path, records: &[Record]) -> (Arc<Level>, task::Guarded<()>) {
    let (mut log, _) = Log::open(dir, Disk::default(), Bounds::of(16 << 20)).unwrap();
    log.append(records).unwrap();
    drop(log);
    let settings = Settings { dir: dir.to_owned(), bytes_max: 16 << 20, disk: Disk::default() };
    let metrics = LevelMetrics::new(&Registry::default(), "users", "l2");
    let level = Arc::new(Level::new(settings, metrics, Default::default()));
    let running = task::Guarded::new(task::spawn(run(Arc::downgrade(&level))));
    level.is_opened.subscribe().wait_for(|is_opened| *is_opened).await.unwrap();
    (level, running)
}

#[tokio::test(start_paused = true)]
async fn more_that_is_gone_than_a_record_holds_empties_it() {
    let (dir, now) = (tempfile::tempdir().unwrap(), time::unix_millis_now());
    let put = Record::Put { key: "ada".to_owned(), put_unix: now, fresh_unix: now + 3_600_000, value: b"v".to_vec() };
    let (level, _running) = opened(dir.path(), &[put]).await;
    level.caught_up();
    assert!(level.get("ada").await.is_some());
    let keys: Vec<String> = (0..10_000).map(|at| format!("{at:0512}")).collect();
    level.gone(&keys, None);
    assert_eq!(level.get("ada").await, None);
    time::sleep(EVERY * 2).await; // tidy: sleep: the clock is paused
    assert!(!level.has_failed());
}

#[tokio::test(start_paused = true)]
async fn what_was_put_in_the_future_is_not_told() {
    let (dir, now) = (tempfile::tempdir().unwrap(), time::unix_millis_now());
    let put = |key: &str, put_unix| Record::Put {
        key: key.to_owned(),
        put_unix,
        fresh_unix: now + 3_600_000,
        value: b"v".to_vec(),
    };
    let (level, _running) = opened(dir.path(), &[put("past", now), put("future", now + 60_000)]).await;
    assert_eq!(level.get("past").await, None, "nothing is told before the feeds were heard");
    level.caught_up();
    assert_eq!(level.get("past").await, Some(("v".into(), 3_600_000)));
    assert_eq!(level.get("future").await, None, "the clock was set back");
}
