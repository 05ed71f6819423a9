//! Acknowledgements: told while they are renewed.

use std::time::Duration;

use bowline_model::{Code, InstanceId, ServiceName};
use bowline_runtime::time;

use super::{Manager, PATIENCE, key, publish};
use crate::{Acknowledgement, Error, Outcome, REASON_BYTES_MAX};

/// The shortest lifetime there is.
const TTL: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_mins(1);

fn ack(instance: &str, version: u64, outcome: Outcome, runs: Option<u64>) -> Acknowledgement {
    let instance = InstanceId::new(instance).expect("an id of the suite");
    let service = ServiceName::new("order").expect("a name of the suite");
    Acknowledgement { instance, service, version, outcome, runs }
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused { reason: reason.to_owned() }
}

/// Who runs what, and who refused and why, is told while it is renewed.
pub async fn acknowledgements_are_told_while_they_are_renewed(config: &Manager) {
    let key = key("acked");
    publish(config, &key, 1).await;
    let current = publish(config, &key, 2).await;
    let told = async || {
        let status = config.status(&key).await.expect("answers");
        assert_eq!((&status.key, &status.current), (&key, &Some(current.summary())));
        assert!(status.instances.iter().all(|instance| instance.at_unix_ms > 0), "{status:?}");
        status.instances.into_iter().map(|instance| instance.ack).collect::<Vec<_>>()
    };
    assert_eq!(told().await, []);
    let (runs, refuses) =
        (ack("order-1", 2, Outcome::Applied, Some(2)), ack("order-2", 2, refused("items_max: too few"), Some(1)));
    let brief = ack("order-3", 1, Outcome::Applied, Some(1));
    for (ack, ttl) in [(&refuses, LONG), (&runs, LONG), (&brief, TTL)] {
        config.acknowledge(&key, ack.clone(), ttl).await.expect("is taken");
    }
    assert_eq!(told().await, [runs.clone(), refuses.clone(), brief.clone()]);

    // Renewed it stays for longer than it was granted at first.
    for _ in 0..4 {
        time::sleep(TTL / 2).await;
        config.acknowledge(&key, brief.clone(), TTL).await.expect("is renewed");
    }
    assert_eq!(told().await.len(), 3);
    let later = ack("order-2", 2, Outcome::Applied, Some(2));
    config.acknowledge(&key, later.clone(), LONG).await.expect("is taken");
    let ends = async {
        while told().await.len() == 3 {
            time::sleep(TTL / 10).await;
        }
    };
    time::timeout(PATIENCE, ends).await.expect("what is not renewed ends");
    assert_eq!(told().await, [runs, later]);
}

/// What was never published cannot be run.
pub async fn acknowledgements_of_nothing_are_refused(config: &Manager) {
    let key = key("acked-not");
    let ack = |version, outcome| ack("order-1", version, outcome, None);
    let error = config.acknowledge(&key, ack(1, Outcome::Applied), LONG).await.expect_err("nothing is there");
    assert!(matches!(error, Error::NoDocument { .. }), "{error:?}");
    publish(config, &key, 1).await;
    for version in [0, 2] {
        let error = config.acknowledge(&key, ack(version, Outcome::Applied), LONG).await.expect_err("there is none");
        assert!(matches!(error, Error::NoVersion { number, .. } if number == version), "{error:?}");
        assert_eq!(error.code(), Code::NotFound);
    }
    for ttl in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(3601)] {
        let error = config.acknowledge(&key, ack(1, Outcome::Applied), ttl).await.expect_err("is out of bounds");
        assert!(matches!(error, Error::Invalid { what: "ttl", .. }), "{error:?}");
    }
    let long = ack(1, refused(&"x".repeat(REASON_BYTES_MAX + 1)));
    let error = config.acknowledge(&key, long, LONG).await.expect_err("is too long");
    assert!(matches!(error, Error::Invalid { what: "reason", .. }), "{error:?}");
    // A document that was deleted is still run by.
    config.delete_config(&key, None).await.expect("deletes");
    config.acknowledge(&key, ack(1, Outcome::Applied), LONG).await.expect("is taken");
    let status = config.status(&key).await.expect("answers");
    assert_eq!((status.current, status.instances.len()), (None, 1));
}
