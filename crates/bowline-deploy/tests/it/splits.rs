//! Requests that somebody else splits, too.

use std::{collections::BTreeMap, time::Duration};

use bowline_deploy::{Action, Phase, State};
use bowline_model::{Code, deploy::Strategy};
use bowline_runtime::time;

use crate::support::{World, act, begin, order, over, plan, until, v2};

/// Longer than it takes until it is looked at the split again, and that is published.
const LOOKED: Duration = Duration::from_secs(6);

fn is_baking(status: &bowline_deploy::Status) -> bool {
    status.rollout.phase() == Phase::Baking
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_split_by_hand_is_not_rolled_out() {
    let world = World::new();
    let deployer = world.start().await;
    // Also one that a rollout left behind, or that somebody says it did.
    for rollout in [None, Some(1), Some(7)] {
        world.state().publish(&[("v1", 90), ("v9", 0)], rollout);
        let error = deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap_err();
        let told =
            "`order` cannot be rolled out: its requests are split by hand, which `bowline mesh split order --off` ends";
        assert_eq!((error.code(), error.to_string().as_str()), (Code::FailedPrecondition, told));
    }
    assert_eq!((deployer.list(), world.store.commits(), world.calls().len()), (vec![], 0, 0));
    world.state().publish(&[], None);
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
}

#[tokio::test(start_paused = true)]
async fn a_hand_that_was_faster_wins() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    world.state().publish(&[("v1", 1)], None);
    let status = over(&deployer).await;
    assert_eq!(status.rollout.state, State::RolledBack);
    assert_eq!(status.rollout.why.as_deref(), Some("it is split by hand"));
    let calls = ["split v1=1000 v2=0", "split v1=1000 v2=0", "split v1=1000 v2=0", "split"];
    assert_eq!(world.calls(), calls);
    assert_eq!(world.state().split, BTreeMap::from([("v1".to_owned(), 1)]), "it stays");
}

#[tokio::test(start_paused = true)]
async fn a_split_that_was_lost_is_published_anew() {
    for is_paused in [false, true] {
        let world = World::new();
        let deployer = world.start().await;
        deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
        until(&deployer, |status| is_baking(status) && status.rollout.weight() == 500).await;
        if is_paused {
            act(&deployer, Action::Pause).await.unwrap();
        }
        // Removed, or brought back as it was at an earlier step.
        for (weights, rollout) in [(&[][..], None), (&[("v1", 950), ("v2", 50)], Some(1))] {
            let published = world.state().split.clone();
            world.calls();
            world.state().publish(weights, rollout);
            // tidy: sleep: the clock is paused
            time::sleep(LOOKED).await;
            assert_eq!(world.calls(), ["split v1=500 v2=500"], "once");
            let state = world.state();
            assert_eq!((&state.split, state.split_by), (&published, Some(1)));
        }
        act(&deployer, Action::Promote).await.unwrap();
        assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
        world.check_alone("v2", 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_split_by_hand_meanwhile_stays_and_is_waited_for() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, is_baking).await;
    let by_hand = [("v1", 9), ("v2", 1)];
    world.state().publish(&by_hand, None);
    let waits = |status: &bowline_deploy::Status| {
        let waits_for = status.waits_for.as_deref().unwrap_or_default();
        status.rollout.phase() == Phase::RollingBack
            && waits_for.starts_with("it is tried again")
            && waits_for.ends_with("it is split by hand")
    };
    let status = until(&deployer, waits).await;
    assert_eq!(status.rollout.why.as_deref(), Some("it is split by hand"));
    // tidy: sleep: the clock is paused
    time::sleep(Duration::from_mins(10)).await;
    assert_eq!(world.state().split.len(), by_hand.len());
    assert_eq!(world.state().running["v2"], 2, "whoever is told to ask it finds it");
    world.state().publish(&[], None);
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
    world.check_alone("v1", 2);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_rollout_leaves_what_was_split_by_hand() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, |_| deployer.current(&order()).is_some()).await;
    world.state().publish(&[("v2", 1)], None);
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
    assert_eq!(world.state().split, BTreeMap::from([("v2".to_owned(), 1)]));
}
