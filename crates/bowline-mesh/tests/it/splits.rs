//! Splits keep what others published, and wait for the callers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_config::{Acknowledgement, Author, ConfigManager, Document, Draft, Format, Outcome};
use bowline_deploy::Steer as _;
use bowline_mesh::{ControlPlane, Splits};
use bowline_model::{
    ConfigKey, InstanceId,
    mesh::{Fault, Mirror, Steering, Traffic},
    units::Share,
};
use bowline_runtime::{task, time};
use bowline_testkit::temp_dir;

use crate::support::{BOUND, config, name, service, shop, until};

fn weights(pairs: &[(&str, u32)]) -> BTreeMap<String, u32> {
    pairs.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect()
}

async fn traffic(config: &dyn ConfigManager) -> Traffic {
    config.get_config(&ConfigKey::traffic()).await.unwrap().unwrap().document.read().unwrap()
}

async fn publish(config: &dyn ConfigManager, text: &str) {
    let draft = Draft::new(Document::new(Format::Json, text), Author::new("somebody").unwrap());
    config.set_config(&ConfigKey::traffic(), draft).await.unwrap();
}

async fn acknowledge(config: &dyn ConfigManager, version: u64) {
    let (instance, service_name) = (InstanceId::new("order-1").unwrap(), name("order"));
    let ack =
        Acknowledgement { instance, service: service_name, version, outcome: Outcome::Applied, runs: Some(version) };
    config.acknowledge(&ConfigKey::snapshot(&service("order")), ack, BOUND).await.unwrap();
}

#[tokio::test]
async fn what_others_published_stays() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let mirror = Some(Mirror { version: "v3".to_owned(), share: Share::ALL });
    let steering = Steering { split: weights(&[("v1", 1)]), mirror };
    let other = Steering { split: weights(&[("a", 1)]), mirror: None };
    let fault = Fault {
        id: "f1".to_owned(),
        service: name("bank"),
        from: None,
        share: Share::ALL,
        delay: None,
        abort: Some(503),
        until_unix_ms: u64::MAX,
    };
    let mut expected =
        Traffic { steering: [(name("payment"), steering), (name("user"), other)].into(), faults: vec![fault] };
    publish(&*config, &serde_json::to_string(&expected).unwrap()).await;

    let splits = Splits::new(Arc::clone(&config));
    splits.split(&name("payment"), &weights(&[("v1", 950), ("v2", 50)])).await.unwrap();
    expected.steering.get_mut(&name("payment")).unwrap().split = weights(&[("v1", 950), ("v2", 50)]);
    assert_eq!(traffic(&*config).await, expected);
    splits.split(&name("user"), &BTreeMap::new()).await.unwrap();
    expected.steering.remove(&name("user"));
    assert_eq!(traffic(&*config).await, expected);
    let before = config.get_config(&ConfigKey::traffic()).await.unwrap().unwrap().number;
    splits.split(&name("user"), &BTreeMap::new()).await.unwrap();
    assert_eq!(config.get_config(&ConfigKey::traffic()).await.unwrap().unwrap().number, before, "nothing to change");
}

#[tokio::test]
async fn a_split_is_done_when_the_callers_act_by_it() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let _control = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    acknowledge(&*config, 1).await;
    let splits = Splits::new(Arc::clone(&config));
    let splitting = task::spawn(async move { splits.split(&name("payment"), &weights(&[("v2", 1000)])).await });
    let key = ConfigKey::snapshot(&service("order"));
    let number = until("the snapshot", async || {
        config.get_config(&key).await.unwrap().map(|version| version.number).filter(|number| *number > 1)
    })
    .await;
    assert!(!splitting.is_finished(), "order-1 acts by the one before");
    acknowledge(&*config, number).await;
    let split = time::timeout(Duration::from_secs(4), splitting).await;
    split.expect("sooner than it gives up to wait").unwrap().unwrap();
}

#[tokio::test]
async fn a_split_that_nobody_publishes_to_a_caller_has_failed() {
    let dir = temp_dir();
    let config = config(&dir).await;
    drop(ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap());
    let splits = Splits::new(Arc::clone(&config));
    let failure = splits.split(&name("payment"), &weights(&[("v2", 1000)])).await.unwrap_err();
    assert_eq!(failure.0, "service/order was not told within 5s how payment is split: nobody publishes it");
    // Who is told and says nothing of it is not waited for longer.
    let _control = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    acknowledge(&*config, 1).await;
    splits.split(&name("payment"), &weights(&[("v2", 1000)])).await.unwrap();
}

#[tokio::test]
async fn traffic_that_cannot_be_read_is_not_replaced() {
    let dir = temp_dir();
    let config = config(&dir).await;
    publish(&*config, "{\"nobody\": 1}").await;
    let failure = Splits::new(Arc::clone(&config)).split(&name("user"), &weights(&[("v2", 1)])).await.unwrap_err();
    assert!(failure.0.contains("traffic to user cannot be split"), "{failure}");
}
