//! Targets over virtual time, asked by a test's own hand.

use bowline_testkit::eventually;

use super::*;
use crate::scrape::{
    FetchError, Page,
    exposition::Format,
    fakes::Memory,
    target::{Place, phase_ms},
};

/// What a target of a test answers.
#[derive(Debug, Clone)]
enum Answer {
    Page(&'static str),
    Status(u16),
    Broken,
    Hangs,
}

/// Answers by the target's instance, and remembers when it was asked.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<BTreeMap<String, Answer>>,
    asked: Mutex<Vec<(String, i64)>>,
    at_once: Mutex<(usize, usize)>,
}

impl Script {
    fn answer(&self, instance: &str, answer: Answer) {
        locked(&self.answers).insert(instance.to_owned(), answer);
    }

    fn asked(&self, instance: &str) -> Vec<i64> {
        locked(&self.asked).iter().filter(|(of, _)| of == instance).map(|(_, at)| *at).collect()
    }
}

impl Fetch for Script {
    fn fetch<'a>(&'a self, target: &'a Target, timeout: Duration) -> BoxFuture<'a, Result<Page, FetchError>> {
        locked(&self.asked).push((target.instance.to_string(), clock()));
        let answer = locked(&self.answers).get(&*target.instance).cloned();
        Box::pin(async move {
            {
                let mut at_once = locked(&self.at_once);
                at_once.0 += 1;
                at_once.1 = at_once.1.max(at_once.0);
            }
            let answer = match answer.unwrap_or(Answer::Page("a 1\n")) {
                Answer::Page(body) => Ok(Page { format: Format::Text, body: body.into() }),
                Answer::Status(status) => Err(FetchError::Status { status }),
                Answer::Broken => Err(FetchError::Transport { source: bowline_transport::Kind::Reset.into() }),
                Answer::Hangs => {
                    time::sleep(timeout).await;
                    Err(FetchError::Timeout { timeout })
                }
            };
            locked(&self.at_once).0 -= 1;
            answer
        })
    }
}

/// Follows virtual time to the millisecond.
fn clock() -> i64 {
    i64::try_from(time::unix_nanos(time::wall()) / 1_000_000).unwrap()
}

struct Bench {
    script: Arc<Script>,
    sink: Arc<Memory>,
    registry: metric::Registry,
    list: watch::Sender<Arc<[Target]>>,
    collector: Collector,
}

impl Bench {
    fn start(targets: Vec<Target>) -> Self {
        Self::start_with(targets, &Settings::default())
    }

    fn start_with(targets: Vec<Target>, settings: &Settings) -> Self {
        let (script, sink, registry) =
            (Arc::<Script>::default(), Arc::<Memory>::default(), metric::Registry::default());
        let settings = Settings { metrics: registry.clone(), ..settings.clone() };
        let (list, watched) = watch::channel(targets.into());
        let collector = Collector::start_by(settings, &watched, script.clone(), sink.clone(), clock);
        Self { script, sink, registry, list, collector }
    }

    fn status(&self, instance: &str) -> TargetStatus {
        self.collector.targets().into_iter().find(|target| &*target.instance == instance).unwrap()
    }

    fn counted(&self, series: &str) -> i64 {
        let page = self.registry.render();
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap().parse().unwrap()
    }
}

fn target(instance: &str) -> Target {
    Target::process("j", instance)
}

/// The same target at another address.
fn moved(instance: &str) -> Target {
    let endpoint = bowline_transport::Endpoint::http1(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
    Target { place: Place::Http { endpoint, host: None, path: "/m".to_owned() }, ..target(instance) }
}

fn series(name: &str, instance: &str) -> String {
    format!("{name}{{instance={instance:?}, job=\"j\"}}")
}

#[tokio::test(start_paused = true)]
async fn a_target_is_asked_at_its_moment_of_each_interval() {
    let bench = Bench::start(vec![target("1"), target("2")]);
    time::sleep(Duration::from_secs(26)).await;
    for instance in ["1", "2"] {
        let phase = phase_ms(&target(instance).key(), 5000);
        let times: Vec<_> = bench.sink.samples(&series("a", instance)).into_iter().map(|(at, _)| at).collect();
        assert!(times.len() >= 5, "{times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 5000), "{times:?}");
        assert!(times.iter().all(|at| at.rem_euclid(5000) == phase), "{times:?}");
        assert_eq!(bench.sink.samples(&series("up", instance)).len(), times.len());
    }
    let status = bench.status("1");
    assert_eq!((status.health, status.samples, status.url.as_str()), (Health::Up, 1, "process:"));
    assert!(status.scraped_at.is_some() && status.last_error.is_none());
    assert_eq!(bench.counted("bowline_scrape_targets{health=\"up\"}"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_has_its_series_ended_and_is_down() {
    let bench = Bench::start(vec![target("1")]);
    let settle = async || assert!(bench.collector.collect().await.is_ok());
    settle().await;
    for (answer, expect) in [
        (Answer::Broken, "the request failed: connection closed before an answer"),
        (Answer::Status(404), "the answer is 404"),
        (Answer::Page("a one\n"), "the page cannot be read: line 1 is malformed: the value is not a number"),
        (Answer::Hangs, "no answer within 5000 ms"),
    ] {
        bench.script.answer("1", answer);
        time::sleep(Duration::from_millis(10)).await;
        settle().await;
        let status = bench.status("1");
        assert_eq!((status.health, status.last_error.as_deref()), (Health::Down, Some(expect)));
    }
    bench.script.answer("1", Answer::Page("a 7\n"));
    time::sleep(Duration::from_millis(10)).await;
    settle().await;
    let values = bench.sink.values(&series("a", "1"));
    assert_eq!(values, ["1", "stale", "7"]);
    assert_eq!(bench.sink.values(&series("up", "1")), ["1", "0", "0", "0", "0", "1"]);
    assert_eq!(bench.counted("bowline_scrapes_total{outcome=\"timeout\"}"), 1);
    assert_eq!(bench.counted("bowline_scrapes_total{outcome=\"malformed\"}"), 1);
    assert_eq!(bench.counted("bowline_scrape_targets{health=\"up\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_leaves_has_its_series_ended() {
    let bench = Bench::start(vec![target("1"), target("2")]);
    bench.collector.collect().await.unwrap();
    // Also while it is asked.
    bench.script.answer("2", Answer::Hangs);
    time::sleep(Duration::from_secs(4)).await;
    bench.list.send_replace(Arc::default());
    let ended = |name: &str, instance: &str| bench.sink.values(&series(name, instance)).last().unwrap() == "stale";
    eventually(Duration::from_secs(1), || ended("up", "1") && ended("up", "2") && ended("a", "1") && ended("a", "2"))
        .await;
    assert!(bench.collector.targets().is_empty());
    assert_eq!(bench.counted("bowline_scrape_targets{health=\"up\"}"), 0);
    let count = bench.script.asked("1").len();
    // It comes back: its series go on.
    bench.list.send_replace(Arc::from([target("1")]));
    time::sleep(Duration::from_secs(6)).await;
    assert!(bench.script.asked("1").len() > count);
    assert_eq!(bench.sink.values(&series("up", "1")).last().unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn an_address_may_change_without_an_end() {
    let bench = Bench::start(vec![target("1")]);
    bench.collector.collect().await.unwrap();
    bench.list.send_replace(Arc::from([moved("1")]));
    time::sleep(Duration::from_secs(11)).await;
    assert_eq!(bench.status("1").url, "http://127.0.0.1:9/m");
    assert!(bench.sink.values(&series("up", "1")).iter().all(|value| value == "1"));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_changes_while_the_target_is_asked_counts_the_next_time() {
    let bench = Bench::start(vec![target("1")]);
    bench.script.answer("1", Answer::Hangs);
    eventually(Duration::from_secs(6), || bench.script.asked("1").len() == 1).await;
    bench.list.send_replace(Arc::from([moved("1")]));
    time::sleep(Duration::from_secs(1)).await;
    bench.script.answer("1", Answer::Page("a 1\n"));
    time::sleep(Duration::from_secs(11)).await;
    assert_eq!(bench.status("1").url, "http://127.0.0.1:9/m");
    assert_eq!(bench.sink.values(&series("up", "1")).last().unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn one_that_may_have_no_metrics_is_left_alone_for_a_minute() {
    let bench = Bench::start(vec![Target { is_optional: true, ..target("1") }]);
    bench.script.answer("1", Answer::Status(404));
    time::sleep(Duration::from_secs(59)).await;
    assert_eq!(bench.script.asked("1").len(), 1);
    assert_eq!((bench.status("1").health, bench.sink.series().len()), (Health::None, 0));
    // That it is away is nothing that metrics tell.
    bench.script.answer("1", Answer::Broken);
    time::sleep(Duration::from_secs(61)).await;
    assert_eq!((bench.script.asked("1").len(), bench.status("1").health), (2, Health::None));
    bench.script.answer("1", Answer::Page("a 1\n"));
    time::sleep(Duration::from_secs(70)).await;
    assert_eq!(bench.status("1").health, Health::Up);
    // One that has some, and loses them.
    bench.script.answer("1", Answer::Status(404));
    time::sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.status("1").health, Health::None);
    assert_eq!(bench.sink.values(&series("up", "1")).last().unwrap(), "stale");
    assert_eq!(bench.sink.values(&series("a", "1")).last().unwrap(), "stale");
}

#[tokio::test(start_paused = true)]
async fn the_interval_changes_live_and_bounds_the_timeout() {
    let bench = Bench::start(vec![target("1")]);
    bench.collector.set_interval(Duration::from_mins(1));
    time::sleep(Duration::from_mins(3)).await;
    assert!((2..=4).contains(&bench.script.asked("1").len()), "{:?}", bench.script.asked("1"));
    bench.collector.set_interval(Duration::from_secs(1));
    time::sleep(Duration::from_secs(10)).await;
    assert!((11..=15).contains(&bench.script.asked("1").len()), "{:?}", bench.script.asked("1"));
    bench.script.answer("1", Answer::Hangs);
    time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.status("1").last_error.as_deref(), Some("no answer within 1000 ms"));
}

#[tokio::test(start_paused = true)]
async fn so_many_are_asked_at_once_and_the_others_wait() {
    let targets: Vec<_> = (0..20).map(|number| target(&number.to_string())).collect();
    let settings = Settings { concurrency_max: 3, timeout: Duration::from_millis(200), ..Settings::default() };
    let bench = Bench::start_with(targets, &settings);
    for number in 0..20 {
        bench.script.answer(&number.to_string(), Answer::Hangs);
    }
    let collected = bench.collector.collect().await.unwrap();
    assert_eq!((collected.down, collected.up), (20, 0));
    assert_eq!(locked(&bench.script.at_once).1, 3);
}

#[tokio::test(start_paused = true)]
async fn who_had_to_wait_has_the_time_at_which_it_was_asked() {
    let targets: Vec<_> = (0..5).map(|number| target(&number.to_string())).collect();
    let settings = Settings { concurrency_max: 1, timeout: Duration::from_millis(200), ..Settings::default() };
    let bench = Bench::start_with(targets, &settings);
    for number in 0..5 {
        bench.script.answer(&number.to_string(), Answer::Hangs);
    }
    bench.collector.collect().await.unwrap();
    for number in 0..5 {
        let instance = number.to_string();
        let times: Vec<_> = bench.sink.samples(&series("up", &instance)).into_iter().map(|(at, _)| at).collect();
        // Its own turn may have come since: asked once more, and not yet answered.
        assert!(!times.is_empty() && bench.script.asked(&instance).starts_with(&times), "{instance}: {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_no_series() {
    let bench = Bench::start(vec![target("1")]);
    assert_eq!(bench.collector.collect().await.unwrap(), Collected { up: 1, down: 0, samples: 1 });
    bench.collector.stop().await;
    time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.sink.values(&series("up", "1")), ["1"]);
    assert_eq!(bench.script.asked("1").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_large_page_is_read_beside() {
    let page = (0..4000).map(|number| format!("a{{number=\"{number:010}\"}} {number}")).collect::<Vec<_>>().join("\n");
    let bench = Bench::start(vec![target("1")]);
    bench.script.answer("1", Answer::Page(page.leak()));
    for _ in 0..2 {
        assert_eq!(bench.collector.collect().await.unwrap().samples, 4000);
        time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.sink.values(&series("scrape_series_added", "1")), ["4000", "0"]);
}

#[tokio::test(start_paused = true)]
async fn of_equal_targets_the_first_counts() {
    let bench = Bench::start(vec![target("1"), Target { is_optional: true, ..target("1") }]);
    bench.collector.collect().await.unwrap();
    assert_eq!(bench.collector.targets().len(), 1);
    assert_eq!(bench.counted("bowline_scrape_targets_refused_total{reason=\"duplicate\"}"), 1);
}
