//! The suite of the port against the store's provider.

use std::{sync::Arc, time::Duration};

use bowline_config::{
    Acknowledgement, ConfigManager, Document, Draft, Error, ExpectSchema, Format, Outcome, Schema, StoreConfig,
    Violation, conformance,
};
use bowline_model::{ConfigKey, InstanceId, ServiceName};
use bowline_runtime::{task, time};
use bowline_store::Store as _;

use crate::support::{Fixture, Rules, draft, key};

#[tokio::test(start_paused = true)]
async fn the_stores_configuration_passes_the_suite() {
    conformance::all(&Fixture::new().await.config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_right_on_several_threads() {
    let config = &Fixture::new().await.config;
    conformance::concurrent_writers_have_one_winner_a_version(config).await;
    conformance::an_abandoned_wait_loses_nothing(config).await;
    conformance::a_slow_watch_ends_at_the_last_state(config).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_all_of_it() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    fixture.config.set_schema(&key, Some(r#"{"required":["items_max"]}"#), ExpectSchema::Any).await.unwrap();
    let first = fixture.publish(&key, "items_max = 1").await;
    let second = fixture.publish(&key, "items_max = 2").await;
    let (instance, service) = (InstanceId::new("order-1").unwrap(), ServiceName::new("order").unwrap());
    let ack = Acknowledgement { instance, service, version: 2, outcome: Outcome::Applied, runs: Some(2) };
    fixture.config.acknowledge(&key, ack.clone(), Duration::from_mins(1)).await.unwrap();
    let history = fixture.config.history(&key, None, 10).await.unwrap();

    let fixture = fixture.reopen().await;
    assert_eq!(fixture.config.get_config(&key).await.unwrap(), Some(second));
    assert_eq!(fixture.config.get_version(&key, 1).await.unwrap(), Some(first));
    assert_eq!(fixture.config.history(&key, None, 10).await.unwrap(), history);
    assert_eq!(fixture.config.status(&key).await.unwrap().instances[0].ack, ack);
    let error = fixture.config.set_config(&key, draft("a = 1")).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error:?}");
    assert_eq!(fixture.publish(&key, "items_max = 3").await.number, 3);
}

#[tokio::test(start_paused = true)]
async fn the_same_acknowledgement_again_does_not_touch_the_disk() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    fixture.publish(&key, "a = 1").await;
    let (instance, service) = (InstanceId::new("order-1").unwrap(), ServiceName::new("order").unwrap());
    let ack = Acknowledgement { instance, service, version: 1, outcome: Outcome::Applied, runs: Some(1) };
    let acknowledge = async |ack: &Acknowledgement, seconds| {
        fixture.config.acknowledge(&key, ack.clone(), Duration::from_secs(seconds)).await.unwrap();
        fixture.store.revision().await.unwrap()
    };
    let first = acknowledge(&ack, 5).await;
    for _ in 0..10 {
        time::sleep(Duration::from_secs(4)).await;
        assert_eq!(acknowledge(&ack, 5).await, first);
    }
    // Another lifetime is another lease, and the old one leaves.
    let second = acknowledge(&ack, 10).await;
    assert!(second > first);
    let refused = Acknowledgement { outcome: Outcome::Refused { reason: "no".to_owned() }, ..ack };
    let third = acknowledge(&refused, 10).await;
    assert!(third > second);
    time::sleep(Duration::from_secs(11)).await;
    assert_eq!(fixture.config.status(&key).await.unwrap().instances, []);
    assert_eq!(fixture.store.range("config/ack/", None, 10).await.unwrap().entries, []);
}

/// Judges as [`Rules`] do, but lets a rival act first, once.
struct Overtaken<F>(F);

impl<F: Fn() + Send + Sync + 'static> Schema for Overtaken<F> {
    fn check(&self, key: &ConfigKey, document: &Document, schema: Option<&str>) -> Result<(), Vec<Violation>> {
        (self.0)();
        Rules.check(key, document, schema)
    }

    fn check_schema(&self, key: &ConfigKey, schema: &str) -> Result<(), String> {
        Rules.check_schema(key, schema)
    }
}

/// A manager over the fixture's store that is overtaken by `rival` while it judges for the first time.
fn overtaken<F, Fut>(fixture: &Fixture, rival: F) -> StoreConfig
where
    F: FnOnce(Arc<dyn ConfigManager>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (config, runtime) = (Arc::clone(&fixture.config), tokio::runtime::Handle::current());
    let rival = std::sync::Mutex::new(Some(rival));
    let act = move || {
        if let Some(rival) = rival.lock().unwrap().take() {
            runtime.block_on(rival(Arc::clone(&config)));
        }
    };
    StoreConfig::new(Arc::new(fixture.store.clone()), Arc::new(Overtaken(act)))
}

#[tokio::test]
async fn a_document_is_judged_by_the_schema_it_meets_in_the_end() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    let rival = overtaken(&fixture, {
        let key = key.clone();
        async move |config: Arc<dyn ConfigManager>| {
            config.set_schema(&key, Some(r#"{"required":["items_max"]}"#), ExpectSchema::Any).await.unwrap();
        }
    });
    let error = rival.set_config(&key, draft("a = 1")).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error:?}");
    assert_eq!(fixture.config.get_config(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_schema_is_judged_by_the_document_it_meets_in_the_end() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    fixture.publish(&key, "items_max = 1").await;
    let rival = overtaken(&fixture, {
        let key = key.clone();
        async move |config: Arc<dyn ConfigManager>| drop(config.set_config(&key, draft("a = 1")).await.unwrap())
    });
    let error = rival.set_schema(&key, Some(r#"{"required":["items_max"]}"#), ExpectSchema::Any).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error:?}");
    assert_eq!(fixture.config.get_schema(&key).await.unwrap(), None);
}

#[tokio::test]
async fn who_is_overtaken_and_expects_a_version_is_told() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    let first = fixture.publish(&key, "a = 1").await;
    let rival = overtaken(&fixture, {
        let key = key.clone();
        async move |config: Arc<dyn ConfigManager>| drop(config.set_config(&key, draft("a = 2")).await.unwrap())
    });
    let mine = Draft { expect: Some(1), ..draft("a = 3") };
    let Error::Conflict { expected: 1, base, current, .. } = rival.set_config(&key, mine).await.unwrap_err() else {
        panic!("no conflict");
    };
    assert_eq!(base.as_deref(), Some(&first));
    assert_eq!(current.unwrap().document, Document::new(Format::Toml, "a = 2"));
    // Who expects none goes on after the rival.
    let rival = overtaken(&fixture, {
        let key = key.clone();
        async move |config: Arc<dyn ConfigManager>| drop(config.set_config(&key, draft("a = 4")).await.unwrap())
    });
    let writing = task::spawn(async move { rival.set_config(&key, draft("a = 5")).await });
    assert_eq!(writing.await.unwrap().unwrap().number, 4);
}
