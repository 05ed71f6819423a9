//! Ports and stores that fail.

use std::{sync::Arc, time::Duration};

use bowline_deploy::{Action, Deployer, Error, HISTORY_MAX, Phase, State};
use bowline_model::{
    Code,
    deploy::{Release, Strategy},
};
use bowline_runtime::{metric, time};
use bowline_store::{Embedded, Settings};

use crate::support::{FILE, Fault, World, act, begin, order, over, plan, system, until, v2};

#[tokio::test(start_paused = true)]
async fn what_fails_twice_is_tried_a_third_time() {
    let world = World::new();
    let deployer = world.start().await;
    world.state().failures = ["split", "split", "scale v2", "scale v2"].into();
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    let status = until(&deployer, |status| status.waits_for.is_some()).await;
    let told = "it is tried again in 1s: `split v1=1000 v2=0` failed";
    assert_eq!(status.waits_for.as_deref(), Some(told));
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_does_not_start_goes_back() {
    let world = World::new();
    let deployer = world.start().await;
    world.state().failures = ["scale v2 2"; 3].into();
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    let status = over(&deployer).await;
    assert_eq!((status.rollout.state, status.rollout.why.as_deref()), (State::RolledBack, Some("`scale v2 2` failed")));
    let calls = world.calls();
    assert_eq!(calls, ["split v1=1000 v2=0", "scale v2 2", "scale v2 2", "scale v2 2", "scale v2 0", "split"]);
    world.check_alone("v1", 2);
}

#[tokio::test(start_paused = true)]
async fn the_way_back_is_tried_until_it_works() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking).await;
    world.state().failures = ["split"; 20].into_iter().chain(["scale v2 0"; 20]).collect();
    act(&deployer, Action::Abort).await.unwrap();
    let begun = time::now();
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
    assert!(begun.elapsed() > Duration::from_mins(15), "the waits grow: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_mins(25), "and not without an end: {:?}", begun.elapsed());
    world.check_alone("v1", 2);
}

#[tokio::test(start_paused = true)]
async fn the_old_release_ends_however_often_that_fails() {
    let world = World::new();
    let deployer = world.start().await;
    world.state().failures = ["scale v1 0"; 10].into();
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
    world.check_alone("v2", 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_release_keeps_no_requests_though_the_old_one_does_not_start_again() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Rolling))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking && status.rollout.weight() == 1000).await;
    world.calls();
    world.state().failures = ["scale v1 2"; 20].into();
    let begun = time::now();
    act(&deployer, Action::Abort).await.unwrap();
    until(&deployer, |status| status.rollout.weight() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(world.state().calls[..4], ["scale v1 2", "scale v1 2", "scale v1 2", "split v1=1000 v2=0"]);
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
    assert_eq!(world.calls()[21..], ["scale v1 2", "scale v2 0", "split"]);
    world.check_alone("v1", 2);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_release_that_does_not_come_back_goes_back_at_once() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::BlueGreen))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking).await;
    world.calls();
    world.state().failures = ["scale v2 2"].into();
    let deployer = world.restart(deployer).await;
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
    assert_eq!(world.calls(), ["scale v2 2", "split v1=1000 v2=0", "scale v2 0", "split"]);
    world.check_alone("v1", 2);
}

/// Runs a rollout during which the n-th commit fails, for each n there is.
async fn check_store(strategy: Strategy, fault: Fault) {
    for count in 1.. {
        let world = World::new();
        let deployer = world.start().await;
        deployer.begin(begin(v2(), plan(strategy))).await.unwrap();
        world.store.fail_after(count - 1, fault);
        let status = over(&deployer).await;
        assert_eq!(status.rollout.state, State::Promoted, "{strategy:?}, {fault:?} at commit {count}");
        world.check_alone("v2", 2);
        let numbers: Vec<_> = status.rollout.transitions.iter().map(|transition| transition.number).collect();
        assert_eq!(numbers, (1..=u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(world.open().await.get(&order()).unwrap().rollout, status.rollout, "it is as it was kept");
        let outcome = "bowline_rollouts_total{service=\"order\",outcome=\"promoted\"} 1\n";
        assert!(world.metrics.render().contains(outcome), "{}", world.metrics.render());
        if world.store.commits() < count {
            assert!(count > 5, "nothing failed");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_loses_nothing() {
    for strategy in [Strategy::Canary, Strategy::Rolling] {
        check_store(strategy, Fault::Before).await;
        check_store(strategy, Fault::After).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_fails_may_have_begun() {
    for (fault, is_begun) in [(Fault::Before, false), (Fault::After, true)] {
        let world = World::new();
        let deployer = world.start().await;
        world.store.fail_after(0, fault);
        let error = deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true));
        time::sleep(Duration::from_secs(1)).await;
        assert_eq!(deployer.get(&order()).is_some(), is_begun);
        let again = deployer.begin(begin(v2(), plan(Strategy::Canary))).await;
        assert_eq!(matches!(again, Err(Error::Busy { .. })), is_begun);
        assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_caller_went_away_is_followed() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking).await;
    world.store.fail_after(0, Fault::Silence);
    let order = time::timeout(Duration::from_secs(1), act(&deployer, Action::Abort));
    assert!(order.await.is_err(), "the store answered");
    let status = over(&deployer).await;
    assert_eq!((status.rollout.state, status.rollout.why.as_deref()), (State::RolledBack, Some("aborted by hand")));
}

#[tokio::test(start_paused = true)]
async fn what_another_release_wrote_is_refused() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    drop(deployer);
    let key = "deploy/live/order";
    for bad in [world.store.value(key).replace("\"format\":1", "\"format\":2"), "{".to_owned()] {
        world.store.put(key, bad);
        let store = Arc::new(world.store.clone());
        let error = Deployer::open(store, &system(FILE), &world.metrics).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("what the store holds as `{key}` cannot be read by this release of Bowline")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_rollouts_are_remembered() {
    let world = World::new();
    let deployer = world.start().await;
    let rounds = HISTORY_MAX + 3;
    for round in 0..rounds {
        let release = if round % 2 == 0 { v2() } else { Release::declared("v1") };
        deployer.begin(begin(release, plan(Strategy::BlueGreen))).await.unwrap();
        over(&deployer).await;
    }
    let ids: Vec<_> = deployer.history(&order()).await.unwrap().iter().map(|rollout| rollout.id).collect();
    let newest = u64::try_from(rounds).unwrap();
    assert_eq!(ids, (newest - HISTORY_MAX as u64 + 1..=newest).rev().collect::<Vec<_>>());
    assert_eq!(world.store.keys().iter().filter(|key| key.starts_with("deploy/ended/")).count(), HISTORY_MAX);
    assert!(!world.store.keys().contains(&"deploy/live/order".to_owned()));
    // Ids go on.
    drop(deployer);
    let deployer = world.start().await;
    let status = deployer.begin(begin(Release::declared("v1"), plan(Strategy::BlueGreen))).await.unwrap();
    assert_eq!(status.rollout.id, newest + 1);
}

#[tokio::test(start_paused = true)]
async fn it_runs_over_the_real_store() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(Settings::new(dir.path().join("store")), &metric::Registry::default()).await.unwrap();
    let deployer = Deployer::open(Arc::new(store.clone()), &system(FILE), &world.metrics).await.unwrap();
    deployer.start(&world.ports());
    deployer.begin(begin(v2(), plan(Strategy::Rolling))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking).await;
    deployer.stop().await;
    let deployer = Deployer::open(Arc::new(store.clone()), &system(FILE), &world.metrics).await.unwrap();
    deployer.start(&world.ports());
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
    assert_eq!(deployer.history(&order()).await.unwrap().len(), 1);
    deployer.stop().await;
    store.close().await;
}
