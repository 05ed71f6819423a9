//! What a level tells of what is on its disk.

use bowline_runtime::metric::Registry;

use super::*;

#[tokio::test(start_paused = true)]
async fn what_was_put_in_the_future_is_not_told() {
    let (dir, now) = (tempfile::tempdir().unwrap(), time::unix_millis_now());
    let put = |key: &str, put_unix| Record::Put {
        key: key.to_owned(),
        put_unix,
        fresh_unix: now + 3_600_000,
        value: b"v".to_vec(),
    };
    let (mut log, _) = Log::open(dir.path(), Disk::default(), Bounds::of(16 << 20)).unwrap();
    log.append(&[put("past", now), put("future", now + 60_000)]).unwrap();
    drop(log);
    let settings = Settings { dir: dir.path().to_owned(), bytes_max: 16 << 20, disk: Disk::default() };
    let metrics = LevelMetrics::new(&Registry::default(), "users", "l2");
    let level = Arc::new(Level::new(settings, metrics, Default::default()));
    let _running = task::Guarded::new(task::spawn(run(Arc::downgrade(&level))));
    level.is_opened.subscribe().wait_for(|is_opened| *is_opened).await.unwrap();
    assert_eq!(level.get("past").await, None, "nothing is told before the feeds were heard");
    level.caught_up();
    assert_eq!(level.get("past").await, Some(("v".into(), 3_600_000)));
    assert_eq!(level.get("future").await, None, "the clock was set back");
}
