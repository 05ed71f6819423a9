//! A document as a value, over a real store in virtual time, with a server that comes and goes.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_config::{
    Acknowledged, Acknowledgement, Author, ConfigManager, ConfigWatcher, Document, Draft, ExpectSchema, Format,
    Outcome, Status, StoreConfig, Summary, Version, VersionSummary, conformance::Anything,
};
use bowline_model::{InstanceId, ServiceName};
use bowline_runtime::{BoxFuture, metric, time};
use bowline_store::Embedded;
use bowline_testkit::{TempDir, eventually};
use serde::Deserialize;

use super::{follow::Place, *};

/// Longer than anything here takes, in virtual time.
const BOUND: Duration = Duration::from_mins(1);

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    items_max: u32,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, bowline_config::Error>>;

/// A server that can be away.
#[derive(Clone)]
struct Server {
    config: Arc<StoreConfig>,
    is_away: Arc<watch::Sender<bool>>,
}

impl Server {
    fn here(&self) -> Result<&StoreConfig, bowline_config::Error> {
        if *self.is_away.borrow() { Err(bowline_config::Error::Unavailable(None)) } else { Ok(&self.config) }
    }
}

impl ConfigManager for Server {
    fn get_config(&self, _: &ConfigKey) -> Answer<'_, Option<Version>> {
        unreachable!("a value watches")
    }

    fn get_version(&self, _: &ConfigKey, _: u64) -> Answer<'_, Option<Version>> {
        unreachable!("a value watches")
    }

    fn check_config(&self, _: &ConfigKey, _: Draft) -> Answer<'_, u64> {
        unreachable!("a value changes nothing")
    }

    fn set_config(&self, _: &ConfigKey, _: Draft) -> Answer<'_, Version> {
        unreachable!("a value changes nothing")
    }

    fn set_config_with_schema(&self, _: &ConfigKey, _: Draft, _: &str) -> Answer<'_, Version> {
        unreachable!("a value changes nothing")
    }

    fn delete_config(&self, _: &ConfigKey, _: Option<u64>) -> Answer<'_, bool> {
        unreachable!("a value changes nothing")
    }

    fn rollback(&self, _: &ConfigKey, _: u64, _: Option<u64>, _: Author) -> Answer<'_, Version> {
        unreachable!("a value changes nothing")
    }

    fn watch_config(&self, key: &ConfigKey) -> Answer<'_, Box<dyn ConfigWatcher>> {
        let key = key.clone();
        Box::pin(async move {
            let (watcher, is_away) = (self.config.watch_config(&key).await?, self.is_away.subscribe());
            Ok(Box::new(Watcher { watcher, is_away }) as Box<dyn ConfigWatcher>)
        })
    }

    fn history(&self, _: &ConfigKey, _: Option<u64>, _: usize) -> Answer<'_, Vec<VersionSummary>> {
        unreachable!("a value watches")
    }

    fn list(&self, _: Option<&str>) -> Answer<'_, Vec<Summary>> {
        unreachable!("a value watches")
    }

    fn get_schema(&self, _: &ConfigKey) -> Answer<'_, Option<String>> {
        unreachable!("a value watches")
    }

    fn set_schema(&self, _: &ConfigKey, _: Option<&str>, _: ExpectSchema) -> Answer<'_, ()> {
        unreachable!("a value changes nothing")
    }

    fn acknowledge(&self, key: &ConfigKey, ack: Acknowledgement, ttl: Duration) -> Answer<'_, ()> {
        match self.here() {
            Ok(config) => ConfigManager::acknowledge(config, key, ack, ttl),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn status(&self, _: &ConfigKey) -> Answer<'_, Status> {
        unreachable!("a value asks nothing")
    }
}

struct Watcher {
    watcher: Box<dyn ConfigWatcher>,
    is_away: watch::Receiver<bool>,
}

impl ConfigWatcher for Watcher {
    fn next(&mut self) -> Answer<'_, Option<Version>> {
        Box::pin(async {
            tokio::select! {
                biased;
                _ = self.is_away.wait_for(|is_away| *is_away) => Err(bowline_config::Error::Unavailable(None)),
                state = self.watcher.next() => state,
            }
        })
    }
}

struct Fixture {
    dir: TempDir,
    server: Server,
}

impl Fixture {
    async fn new() -> Self {
        let dir = bowline_testkit::temp_dir();
        let settings = bowline_store::Settings::new(dir.path().join("store.redb"));
        let store = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
        let config = Arc::new(StoreConfig::new(Arc::new(store), Arc::new(Anything)));
        Self { dir, server: Server { config, is_away: Arc::new(watch::Sender::new(false)) } }
    }

    fn go_away(&self) {
        self.server.is_away.send_replace(true);
    }

    fn come_back(&self) {
        self.server.is_away.send_replace(false);
    }

    async fn publish(&self, text: &str) -> u64 {
        let draft = Draft::new(Document::new(Format::Toml, text), Author::anonymous());
        self.server.config.set_config(&key(), draft).await.unwrap().number
    }

    async fn delete(&self) {
        assert!(self.server.config.delete_config(&key(), None).await.unwrap());
    }

    fn snapshot(&self) -> PathBuf {
        self.dir.path().join("order-1/shop/order.json")
    }

    fn place(&self) -> Place {
        let (instance, service) = (InstanceId::new("order-1").unwrap(), ServiceName::new("order").unwrap());
        Place { key: key(), instance, service, snapshot: Some(self.snapshot()) }
    }

    fn loader(&self) -> Loader<Limits> {
        Loader::of(Some(Arc::new(self.server.clone())), self.place())
    }

    async fn load(&self) -> Result<Config<Limits>, Error> {
        self.loader().load().await
    }

    async fn acks(&self) -> Vec<Acknowledged> {
        ConfigManager::status(&*self.server.config, &key()).await.unwrap().instances
    }

    /// Waits until that is what the instance makes of that version.
    #[track_caller]
    fn told(&self, version: u64, outcome: Outcome, runs: Option<u64>) -> impl Future<Output = ()> {
        let (instance, service) = (InstanceId::new("order-1").unwrap(), ServiceName::new("order").unwrap());
        let ack = Acknowledgement { instance, service, version, outcome, runs };
        let caller = std::panic::Location::caller();
        async move {
            let until = time::now() + BOUND;
            loop {
                let acks = self.acks().await;
                if acks.first().is_some_and(|told| told.ack == ack) {
                    return;
                }
                assert!(time::now() < until, "{caller}: {acks:?}");
                time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn key() -> ConfigKey {
    ConfigKey::new("shop/order").unwrap()
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused { reason: reason.to_owned() }
}

fn items_max(config: &Config<Limits>) -> u32 {
    config.get().items_max
}

#[tokio::test(start_paused = true)]
async fn a_later_version_replaces_the_value() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    let config = fixture.load().await.unwrap();
    assert_eq!((items_max(&config), config.version(), config.key()), (1, Some(1), &key()));
    fixture.told(1, Outcome::Applied, Some(1)).await;
    let (mut changes, clone, before) = (config.changes(), config.clone(), config.get());
    let began = time::now();
    fixture.publish("items_max = 2").await;
    assert_eq!(changes.next().await.items_max, 2);
    assert!(time::now() - began < Duration::from_secs(1));
    assert_eq!((items_max(&clone), clone.version()), (2, Some(2)));
    assert_eq!(before.items_max, 1, "who holds a value keeps it");
    fixture.told(2, Outcome::Applied, Some(2)).await;
    assert!(time::timeout(BOUND, changes.next()).await.is_err(), "nothing else changed");
}

#[tokio::test(start_paused = true)]
async fn listeners_see_every_value_in_order() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    let config = fixture.load().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    config.on_change({
        let seen = Arc::clone(&seen);
        move |value| {
            seen.lock().unwrap().push(value.items_max);
            assert_ne!(value.items_max, 2, "this listener fails at 2");
        }
    });
    let mut changes = config.changes();
    for number in 2..=4 {
        fixture.publish(&format!("items_max = {number}")).await;
        assert_eq!(changes.next().await.items_max, number);
    }
    eventually(BOUND, || *seen.lock().unwrap() == [1, 2, 3, 4]).await;
    fixture.told(4, Outcome::Applied, Some(4)).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_cannot_be_used_changes_nothing_and_is_refused() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    let check = |limits: &Limits| match limits.items_max {
        0 => Err("items_max: at least 1".to_owned()),
        13 => panic!("this check fails at 13"),
        _ => Ok(()),
    };
    let config = fixture.loader().validate(check).load().await.unwrap();
    let mut changes = config.changes();
    for (text, reason) in [
        ("items_max = \"many\"", "line 1, column 13 of the toml document: invalid type: string \"many\", expected u32"),
        ("item_max = 1", "line 1, column 1 of the toml document: unknown field `item_max`, expected `items_max`"),
        ("items_max = 0", "items_max: at least 1"),
        ("items_max = 13", "reading it panicked: see the instance's log"),
    ] {
        let number = fixture.publish(text).await;
        fixture.told(number, refused(reason), Some(1)).await;
        assert_eq!((items_max(&config), config.version()), (1, Some(1)));
    }
    assert!(time::timeout(Duration::ZERO, changes.next()).await.is_err());
    let number = fixture.publish("items_max = 2").await;
    assert_eq!(changes.next().await.items_max, 2);
    fixture.told(number, Outcome::Applied, Some(number)).await;
}

#[tokio::test(start_paused = true)]
async fn long_reasons_are_cut() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    let check = |limits: &Limits| if limits.items_max > 1 { Err("é".repeat(2000)) } else { Ok(()) };
    let _config = fixture.loader().validate(check).load().await.unwrap();
    fixture.publish("items_max = 2").await;
    fixture.told(2, refused(&"é".repeat(1000)), Some(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_good_version_is_begun_with_while_the_server_is_away() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    let config = fixture.load().await.unwrap();
    fixture.publish("items_max = 2").await;
    fixture.told(2, Outcome::Applied, Some(2)).await;
    fixture.publish("items_max = \"many\"").await;
    fixture
        .told(
            3,
            refused("line 1, column 13 of the toml document: invalid type: string \"many\", expected u32"),
            Some(2),
        )
        .await;
    drop(config);
    fixture.go_away();
    let began = time::now();
    let config = fixture.load().await.unwrap();
    assert!(time::now() - began < Duration::from_secs(3));
    assert_eq!((items_max(&config), config.version()), (2, Some(2)));
    // Also over a default, and then the server's own follows.
    let mut changes = config.changes();
    fixture.publish("items_max = 4").await;
    time::sleep(Duration::from_hours(1)).await;
    let began = time::now();
    fixture.come_back();
    assert_eq!(changes.next().await.items_max, 4);
    assert!(time::now() - began <= Duration::from_secs(5));
    fixture.told(4, Outcome::Applied, Some(4)).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_current_is_acknowledged_and_changes_nothing() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    drop(fixture.load().await.unwrap());
    fixture.go_away();
    let config = fixture.load().await.unwrap();
    let mut changes = config.changes();
    fixture.come_back();
    fixture.told(1, Outcome::Applied, Some(1)).await;
    assert!(time::timeout(BOUND, changes.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_anything_to_begin_with_the_start_fails() {
    let fixture = Fixture::new().await;
    let error = fixture.load().await.unwrap_err();
    assert!(matches!(&error, Error::Absent { key } if *key == self::key()), "{error:?}");
    assert_eq!((error.code(), error.retryable()), (Code::NotFound, false));
    assert!(error.to_string().contains("bowline config set shop/order"), "{error}");

    fixture.go_away();
    let began = time::now();
    let error = fixture.load().await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true), "{error:?}");
    assert!(matches!(error, Error::Unavailable { source: Some(_), .. }), "{error:?}");
    assert_eq!((time::now() - began).as_secs(), 10);

    // One that comes in time is not too late.
    fixture.publish("items_max = 1").await;
    let coming = async {
        time::sleep(Duration::from_secs(5)).await;
        fixture.come_back();
    };
    let (config, ()) = tokio::join!(fixture.load(), coming);
    assert_eq!(items_max(&config.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_version_may_be_refused() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = \"many\"").await;
    let error = fixture.load().await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::FailedPrecondition, false), "{error:?}");
    let Error::Refused { version: 1, reason, .. } = error else { panic!("it is refused") };
    // The process ends, but says why.
    fixture.told(1, refused(&reason), None).await;

    let config = fixture.loader().or(Limits { items_max: 7 }).load().await.unwrap();
    assert_eq!((items_max(&config), config.version()), (7, None));
    fixture.publish("items_max = 2").await;
    fixture.told(2, Outcome::Applied, Some(2)).await;
    drop(config);
    fixture.publish("items_max = \"many\"").await;
    let config = fixture.load().await.unwrap();
    assert_eq!((items_max(&config), config.version()), (2, Some(2)));
    fixture.told(3, refused(&reason), Some(2)).await;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_was_published_the_default_serves() {
    let fixture = Fixture::new().await;
    let config = fixture.loader().or(Limits { items_max: 7 }).load().await.unwrap();
    assert_eq!((items_max(&config), config.version()), (7, None));
    assert!(fixture.acks().await.is_empty(), "there is nothing to acknowledge");
    let mut changes = config.changes();
    fixture.publish("items_max = 1").await;
    assert_eq!(changes.next().await.items_max, 1);

    // And where nobody answers.
    let fixture = Fixture::new().await;
    fixture.go_away();
    let config = fixture.loader().or(Limits { items_max: 7 }).load().await.unwrap();
    assert_eq!((items_max(&config), config.version()), (7, None));
    fixture.publish("items_max = 1").await;
    let mut changes = config.changes();
    fixture.come_back();
    assert_eq!(changes.next().await.items_max, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_keeps_the_last_good_version() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    let config = fixture.load().await.unwrap();
    fixture.delete().await;
    time::sleep(BOUND).await;
    assert_eq!((items_max(&config), config.version()), (1, Some(1)));
    fixture.told(1, Outcome::Applied, Some(1)).await;
    // Also across a restart, and over a default: nobody said what to run by instead.
    drop(config);
    let config = fixture.loader().or(Limits { items_max: 7 }).load().await.unwrap();
    assert_eq!((items_max(&config), config.version()), (1, Some(1)));
    let mut changes = config.changes();
    fixture.publish("items_max = 2").await;
    assert_eq!(changes.next().await.items_max, 2);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_stand_while_the_value_lives() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    let config = fixture.load().await.unwrap();
    fixture.told(1, Outcome::Applied, Some(1)).await;
    let since = fixture.acks().await[0].at_unix_ms;
    time::sleep(Duration::from_hours(1)).await;
    assert_eq!(fixture.acks().await[0].at_unix_ms, since, "renewed, not said anew");
    // A server that was away for longer than it remembers is told again.
    fixture.go_away();
    time::sleep(BOUND).await;
    assert!(fixture.acks().await.is_empty());
    fixture.come_back();
    fixture.told(1, Outcome::Applied, Some(1)).await;
    drop(config);
    time::sleep(Duration::from_secs(16)).await;
    assert!(fixture.acks().await.is_empty(), "it goes with the instance");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_used_is_passed_over() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    drop(fixture.load().await.unwrap());
    let good = std::fs::read_to_string(fixture.snapshot()).unwrap();
    fixture.go_away();
    for bad in [
        String::new(),
        "{".to_owned(),
        good.replace("\"format\": 1", "\"format\": 2"),
        good.replace("shop/order", "shop/other"),
        // Of an earlier release of the service, say.
        good.replace("items_max", "orders_max"),
        " ".repeat(5 << 20),
    ] {
        std::fs::write(fixture.snapshot(), bad).unwrap();
        let error = fixture.load().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    }
    std::fs::write(fixture.snapshot(), good).unwrap();
    assert_eq!(items_max(&fixture.load().await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_its_owners_alone_and_one_that_cannot_be_written_is_no_harm() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    drop(fixture.load().await.unwrap());
    let mode = std::fs::metadata(fixture.snapshot()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1").await;
    std::fs::write(fixture.dir.path().join("order-1"), "a file").unwrap();
    let config = fixture.load().await.unwrap();
    fixture.publish("items_max = 2").await;
    fixture.told(2, Outcome::Applied, Some(2)).await;
    assert_eq!(items_max(&config), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_server_runs_by_what_it_has() {
    let fixture = Fixture::new().await;
    let alone = || Loader::<Limits>::of(None, fixture.place());
    let error = alone().load().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { source: None, .. }), "{error:?}");
    let config = alone().or(Limits { items_max: 7 }).load().await.unwrap();
    assert_eq!((items_max(&config), config.version()), (7, None));
    fixture.publish("items_max = 1").await;
    drop(fixture.load().await.unwrap());
    let config = alone().or(Limits { items_max: 7 }).load().await.unwrap();
    assert_eq!((items_max(&config), config.version()), (1, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn what_a_document_holds_is_not_shown_by_chance() {
    let fixture = Fixture::new().await;
    fixture.publish("items_max = 1234567").await;
    let was_called = Arc::new(AtomicBool::new(false));
    let config = fixture.load().await.unwrap();
    let set = Arc::clone(&was_called);
    config.on_change(move |_| set.store(true, SeqCst));
    assert!(was_called.load(SeqCst), "with the value now");
    let shown = format!("{config:?} {:?} {:?}", config.changes(), fixture.loader());
    assert!(shown.contains("shop/order") && !shown.contains("1234567"), "{shown}");
}
