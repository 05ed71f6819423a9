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

fn split_by(rollout: Option<u64>, pairs: &[(&str, u32)]) -> Steering {
    Steering { split: weights(pairs), rollout, ..Steering::default() }
}

#[tokio::test]
async fn what_others_published_stays() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let mirror = Some(Mirror { version: "v3".to_owned(), share: Share::ALL });
    let of_payment = Steering { mirror, ..Steering::default() };
    let fault = Fault {
        id: "f1".to_owned(),
        service: name("bank"),
        from: None,
        share: Share::ALL,
        delay: None,
        abort: Some(503),
        until_unix_ms: u64::MAX,
    };
    let of_user = split_by(None, &[("a", 1)]);
    let mut expected = Traffic {
        steering: [(name("payment"), of_payment), (name("user"), of_user.clone())].into(),
        faults: vec![fault],
    };
    publish(&*config, &serde_json::to_string(&expected).unwrap()).await;

    let splits = Splits::new(Arc::clone(&config));
    let payment = name("payment");
    for pairs in [&[("v1", 1000), ("v2", 0)], &[("v1", 950), ("v2", 50)]] {
        splits.split(&payment, 7, &weights(pairs)).await.unwrap();
        let steering = expected.steering.get_mut(&payment).unwrap();
        (steering.split, steering.rollout) = (weights(pairs), Some(7));
        assert_eq!(traffic(&*config).await, expected);
        assert_eq!(splits.published(&payment).await.unwrap(), expected.steering[&payment]);
    }
    splits.split(&payment, 7, &BTreeMap::new()).await.unwrap();
    let steering = expected.steering.get_mut(&payment).unwrap();
    (steering.split, steering.rollout) = (BTreeMap::new(), None);
    assert_eq!(traffic(&*config).await, expected);
    let before = config.get_config(&ConfigKey::traffic()).await.unwrap().unwrap().number;
    splits.split(&payment, 7, &BTreeMap::new()).await.unwrap();
    assert_eq!(config.get_config(&ConfigKey::traffic()).await.unwrap().unwrap().number, before, "nothing to change");
}

#[tokio::test]
async fn a_split_that_is_not_the_rollouts_stays() {
    let dir = temp_dir();
    let config = config(&dir).await;
    // Written before splits said whose they are, and by a rollout that is over.
    for (text, rollout) in [
        (r#"{"steering":{"payment":{"split":{"v1":9,"v2":1}}}}"#, None),
        (r#"{"steering":{"payment":{"split":{"v1":9,"v2":1},"rollout":6}}}"#, Some(6)),
    ] {
        publish(&*config, text).await;
        let splits = Splits::new(Arc::clone(&config));
        let failure = splits.split(&name("payment"), 7, &weights(&[("v2", 1000)])).await.unwrap_err();
        let told = "the traffic to payment cannot be split: it is split by hand, which `bowline mesh split payment --off` ends";
        assert_eq!(failure.0, told);
        splits.split(&name("payment"), 7, &BTreeMap::new()).await.unwrap();
        let published = splits.published(&name("payment")).await.unwrap();
        assert_eq!(published, split_by(rollout, &[("v1", 9), ("v2", 1)]));
    }
}

/// Splits by hand, unless a rollout does.
async fn split_by_hand(config: &dyn ConfigManager) -> bool {
    let mut is_free = false;
    let key = ConfigKey::traffic();
    let changed = bowline_config::change(config, &key, |current| {
        let current = current.map(|current| current.document.read::<Traffic>()).transpose()?.unwrap_or_default();
        is_free = current.steering.is_empty();
        let next = Traffic { steering: [(name("payment"), split_by(None, &[("v1", 1)]))].into(), ..current };
        let document = Document::new(Format::Json, serde_json::to_string(&next).unwrap());
        Ok::<_, bowline_config::Error>(is_free.then(|| Draft::new(document, Author::new("somebody").unwrap())))
    });
    changed.await.unwrap();
    is_free
}

#[tokio::test]
async fn of_two_who_split_at_once_one_does() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let splits = Splits::new(Arc::clone(&config));
    let (payment, shares) = (name("payment"), weights(&[("v2", 1000)]));
    for rollout in 1..=20 {
        publish(&*config, "{}").await;
        // Each is polled first in its turn.
        let (by_rollout, by_hand) = if rollout % 2 == 0 {
            tokio::join!(splits.split(&payment, rollout, &shares), split_by_hand(&*config))
        } else {
            let (by_hand, by_rollout) = tokio::join!(split_by_hand(&*config), splits.split(&payment, rollout, &shares));
            (by_rollout, by_hand)
        };
        let expect = if by_hand { split_by(None, &[("v1", 1)]) } else { split_by(Some(rollout), &[("v2", 1000)]) };
        assert_eq!(by_rollout.is_ok(), !by_hand);
        assert_eq!(splits.published(&payment).await.unwrap(), expect);
    }
}

#[tokio::test]
async fn a_split_is_done_when_the_callers_act_by_it() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let _control = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    acknowledge(&*config, 1).await;
    let splits = Splits::new(Arc::clone(&config));
    let splitting = task::spawn(async move { splits.split(&name("payment"), 1, &weights(&[("v2", 1000)])).await });
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
    let failure = splits.split(&name("payment"), 1, &weights(&[("v2", 1000)])).await.unwrap_err();
    assert_eq!(failure.0, "service/order was not told within 5s how payment is split: nobody publishes it");
    // Who is told and says nothing of it is not waited for longer.
    let _control = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    acknowledge(&*config, 1).await;
    splits.split(&name("payment"), 1, &weights(&[("v2", 1000)])).await.unwrap();
}

#[tokio::test]
async fn traffic_that_cannot_be_read_is_not_replaced() {
    let dir = temp_dir();
    let config = config(&dir).await;
    publish(&*config, "{\"nobody\": 1}").await;
    let failure = Splits::new(Arc::clone(&config)).split(&name("user"), 1, &weights(&[("v2", 1)])).await.unwrap_err();
    assert!(failure.0.contains("traffic to user cannot be split"), "{failure}");
}
