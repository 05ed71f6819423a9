//! Who holds a thread is told by name; who does not is not.

#![cfg(not(bowline_sim))]

use bowline_runtime::{
    metric::Registry,
    task,
    time::{self, Duration},
    watchdog::{self, STALL},
};

/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(20);

/// Holds the thread until that is so; how long that was.
fn spin_until(is_so: impl Fn() -> bool) -> Duration {
    let begun = time::now();
    while !is_so() && time::now() - begun < BOUND {
        std::hint::spin_loop();
    }
    time::now() - begun
}

/// The line of that name's stalls.
fn told(metrics: &Registry, task: &str) -> Option<String> {
    let text = metrics.render();
    text.lines().find(|line| line.starts_with("bowline_task_stalls_total") && line.contains(task)).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_thread_is_told_by_name() {
    let metrics = Registry::default();
    let watchdog = watchdog::start(&metrics);
    let held = metrics.clone();
    let held =
        task::spawn(watchdog::named("GET /slow", async move { spin_until(|| told(&held, "GET /slow").is_some()) }));
    assert!(held.await.unwrap() >= STALL);
    assert_eq!(told(&metrics, "GET /slow").unwrap(), "bowline_task_stalls_total{task=\"GET /slow\"} 1");
    // How long it was is known when it is over.
    spin_until(|| metrics.render().contains("bowline_task_stall_seconds_count 1"));

    // Without a name it goes by where it was spawned.
    let held = metrics.clone();
    task::spawn(async move { spin_until(|| told(&held, "tests/watchdog.rs:").is_some()) }).await.unwrap();
    assert!(told(&metrics, &format!("tests/watchdog.rs:{}", line!() - 1)).is_some(), "{}", metrics.render());

    // So does a task of a set.
    let (held, line) = (metrics.clone(), line!() + 2);
    let mut set = task::JoinSet::new();
    set.spawn(async move { spin_until(|| told(&held, &format!("tests/watchdog.rs:{line}")).is_some()) });
    assert!(set.join_next().await.unwrap().unwrap() < BOUND, "{}", metrics.render());
    drop(watchdog);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_it_back_is_not() {
    let metrics = Registry::default();
    let _watchdog = watchdog::start(&metrics);
    // On a busy machine the system takes the thread away: what lasted longer was told rightly.
    for _ in 0..100 {
        let name = format!("brief-{}", line!());
        let brief = watchdog::named(&name, async {
            let begun = time::now();
            spin_until(|| time::now() - begun >= Duration::from_millis(30));
            let lasted = time::now() - begun;
            task::yield_now().await;
            lasted
        });
        let lasted = task::spawn(brief).await.unwrap();
        if lasted < STALL {
            // A look later it would be told.
            // tidy: sleep: that nothing is told can only be seen by waiting.
            time::sleep(Duration::from_millis(30)).await;
            assert_eq!(told(&metrics, &name), None);
            return;
        }
    }
}

#[tokio::test]
async fn who_waits_holds_nothing() {
    let metrics = Registry::default();
    let _watchdog = watchdog::start(&metrics);
    let waits = task::spawn(watchdog::named("waits", async {
        // tidy: sleep: waiting is what is tested.
        time::sleep(Duration::from_millis(150)).await;
    }));
    waits.await.unwrap();
    assert_eq!(told(&metrics, "\"waits\""), None);
}

#[tokio::test]
async fn a_panic_leaves_the_thread_free() {
    // To print where it came from may hold the thread for long.
    std::panic::set_hook(Box::new(|_| {}));
    let metrics = Registry::default();
    let _watchdog = watchdog::start(&metrics);
    let panics = task::spawn(watchdog::named("panics", async {
        assert!(std::env::args().count() > 1_000_000, "as it is to");
    }));
    assert!(panics.await.unwrap_err().is_panic());
    // tidy: sleep: that nothing is told can only be seen by waiting.
    time::sleep(Duration::from_millis(100)).await;
    assert_eq!(told(&metrics, "\"panics\""), None);
}
