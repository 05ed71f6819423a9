//! Watches: the state now, then what comes, and never what nobody said.

use std::{sync::Arc, time::Duration};

use bowline_runtime::{task, time};

use super::{Manager, PATIENCE, key, next, publish};
use crate::{Author, ExpectSchema};

/// A watch begins with the state there is, and tells every kind of change.
pub async fn a_watch_tells_now_and_what_comes(config: &Manager) {
    let key = key("watched");
    let mut early = config.watch_config(&key).await.expect("watches");
    assert_eq!(next(&mut early).await, None, "nothing is there yet");
    let first = publish(config, &key, 1).await;
    assert_eq!(next(&mut early).await, Some(first.clone()));
    let mut late = config.watch_config(&key).await.expect("watches");
    assert_eq!(next(&mut late).await, Some(first));
    let second = publish(config, &key, 2).await;
    for watch in [&mut early, &mut late] {
        assert_eq!(next(watch).await, Some(second.clone()));
    }
    config.delete_config(&key, None).await.expect("deletes");
    for watch in [&mut early, &mut late] {
        assert_eq!(next(watch).await, None);
    }
    let third = config.rollback(&key, 1, None, Author::anonymous()).await.expect("rolls back");
    for watch in [&mut early, &mut late] {
        assert_eq!(next(watch).await, Some(third.clone()));
    }
}

/// A change of another document, be its key longer, is none of a watch's business.
pub async fn neighbours_are_not_told(config: &Manager) {
    let (key, longer) = (key("neighbour"), key("neighbour-2"));
    let first = publish(config, &key, 1).await;
    let mut watch = config.watch_config(&key).await.expect("watches");
    assert_eq!(next(&mut watch).await, Some(first));
    publish(config, &longer, 2).await;
    config.delete_config(&longer, None).await.expect("deletes");
    config.set_schema(&key, Some("{}"), ExpectSchema::Any).await.expect("sets a schema");
    let last = publish(config, &key, 3).await;
    assert_eq!(next(&mut watch).await, Some(last));
}

/// A `next` that is dropped while it waits loses no state.
pub async fn an_abandoned_wait_loses_nothing(config: &Manager) {
    let key = key("abandoned");
    let mut watch = config.watch_config(&key).await.expect("watches");
    for round in 1..=10 {
        let writing = {
            let (config, key) = (Arc::clone(config), key.clone());
            task::spawn(async move { publish(&config, &key, round).await })
        };
        let mut state = time::timeout(Duration::from_micros(round * 50), watch.next()).await.ok();
        let written = writing.await.expect("no task fails");
        while state.as_ref().is_none_or(|state| state.as_ref().ok() != Some(&Some(written.clone()))) {
            state = Some(Ok(next(&mut watch).await));
        }
    }
}

/// Whoever asks seldom may be told less, but is told the last state.
pub async fn a_slow_watch_ends_at_the_last_state(config: &Manager) {
    let key = key("slow");
    let mut watch = config.watch_config(&key).await.expect("watches");
    assert_eq!(next(&mut watch).await, None);
    let mut last = None;
    for number in 0..50 {
        last = Some(publish(config, &key, number).await);
    }
    let reach = async {
        let mut numbers = vec![0];
        loop {
            let state = next(&mut watch).await;
            numbers.push(state.as_ref().map_or(0, |version| version.number));
            if state == last {
                return numbers;
            }
        }
    };
    let numbers = time::timeout(PATIENCE, reach).await.expect("the last state is told");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}
