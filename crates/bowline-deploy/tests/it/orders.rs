//! What operators order.

use std::time::Duration;

use bowline_deploy::{Action, Error, Phase, State, Verdict};
use bowline_model::{
    Code,
    deploy::{Release, Strategy},
};
use bowline_runtime::time;

use crate::support::{World, act, bad, begin, order, over, plan, until, v2};

fn is_baking(status: &bowline_deploy::Status) -> bool {
    status.rollout.phase() == Phase::Baking
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_it_and_a_resume_bakes_anew() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, is_baking).await;
    time::sleep(Duration::from_secs(19)).await;
    assert_eq!(act(&deployer, Action::Pause).await.unwrap().rollout.phase(), Phase::Paused);
    time::sleep(Duration::from_hours(1)).await;
    assert_eq!(deployer.get(&order()).unwrap().rollout.phase(), Phase::Paused);
    let resumed = time::now();
    act(&deployer, Action::Resume).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Shifting).await;
    assert!(resumed.elapsed() >= Duration::from_secs(20), "{:?}", resumed.elapsed());
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_turns_bad_in_a_pause_goes_back() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, is_baking).await;
    act(&deployer, Action::Pause).await.unwrap();
    world.state().verdict = Some(bad());
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
    world.check_alone("v1", 2);
}

#[tokio::test(start_paused = true)]
async fn a_pause_while_an_instance_starts_takes_effect_at_once() {
    let world = World::new();
    let deployer = world.start().await;
    world.state().calls_max = Some(1);
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Starting).await;
    act(&deployer, Action::Pause).await.unwrap();
    time::sleep(Duration::from_mins(5)).await;
    assert_eq!(world.state().questions, [], "there is nothing to be measured");
    world.state().calls_max = None;
    act(&deployer, Action::Resume).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
}

#[tokio::test(start_paused = true)]
async fn an_operator_promotes_what_nobody_can_judge() {
    let world = World::new();
    let deployer = world.start().await;
    world.state().verdict = Some(Verdict::Unknown("it had no requests".to_owned()));
    deployer.begin(begin(v2(), plan(Strategy::Rolling))).await.unwrap();
    until(&deployer, is_baking).await;
    world.calls();
    let status = act(&deployer, Action::Promote).await.unwrap();
    assert_eq!(status.rollout.phase(), Phase::Promoting);
    let status = over(&deployer).await;
    assert_eq!(world.calls(), ["scale v2 2", "split v1=0 v2=1000", "scale v2 2", "scale v1 0", "split"]);
    assert_eq!((status.rollout.state, status.rollout.why), (State::Promoted, None));
    let why = status.rollout.transitions.iter().find_map(|transition| transition.why.clone());
    assert_eq!(why.as_deref(), Some("promoted by hand"));
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_promotes_is_measured_no_more() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, is_baking).await;
    act(&deployer, Action::Promote).await.unwrap();
    // It takes a while, and what is measured meanwhile is bad.
    {
        let mut state = world.state();
        state.verdict = Some(bad());
        state.failures = ["split", "split"].into();
    }
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
    world.check_alone("v2", 2);
}

#[tokio::test(start_paused = true)]
async fn an_abort_wins_over_what_comes_after_it() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, is_baking).await;
    act(&deployer, Action::Abort).await.unwrap();
    for action in [Action::Promote, Action::Pause, Action::Resume, Action::Abort] {
        let error = act(&deployer, action).await.unwrap_err();
        assert!(matches!(error, Error::Refused { phase: "rolling back", .. }), "{error}");
    }
    let status = over(&deployer).await;
    assert_eq!((status.rollout.state, status.rollout.why.as_deref()), (State::RolledBack, Some("aborted by hand")));
    let error = act(&deployer, Action::Abort).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string()),
        (Code::NotFound, "there is no rollout of `order` under way".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_reaches_no_other_rollout_than_it_is_meant_for() {
    let world = World::new();
    let deployer = world.start().await;
    let first = deployer.begin(begin(v2(), plan(Strategy::BlueGreen))).await.unwrap().rollout.id;
    over(&deployer).await;
    let meant = async |id| deployer.act(&order(), Action::Abort, Some(id)).await;
    let check =
        |error: Error, told: &str| assert_eq!((error.code(), error.to_string().as_str()), (Code::Conflict, told));
    check(meant(first).await.unwrap_err(), "rollout 1 of `order` is not under way");
    let back = begin(Release::declared("v1"), plan(Strategy::Canary));
    let second = deployer.begin(back).await.unwrap().rollout.id;
    let told = "rollout 1 of `order` is not under way: rollout 2 is; look at it before you order anything of it";
    check(meant(first).await.unwrap_err(), told);
    until(&deployer, is_baking).await;
    meant(second).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn a_promotion_can_be_aborted_until_the_old_release_goes() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, is_baking).await;
    act(&deployer, Action::Promote).await.unwrap();
    act(&deployer, Action::Abort).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
    world.check_alone("v1", 2);
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, is_baking).await;
    act(&deployer, Action::Promote).await.unwrap();
    until(&deployer, |_| deployer.current(&order()).is_some()).await;
    let error = act(&deployer, Action::Abort).await.unwrap_err();
    let told = "the rollout of `order` cannot be aborted: it is promoting";
    assert_eq!((error.code(), error.to_string()), (Code::FailedPrecondition, told.to_owned()));
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_deployer_takes_no_orders_and_does_nothing() {
    let world = World::new();
    let deployer = world.open().await;
    let stopped = |error: Error| assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    stopped(deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap_err());
    deployer.start(&world.ports());
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, is_baking).await;
    deployer.stop().await;
    let (calls, commits) = (world.calls(), world.store.commits());
    stopped(act(&deployer, Action::Abort).await.unwrap_err());
    stopped(deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap_err());
    time::sleep(Duration::from_hours(1)).await;
    assert_eq!((world.calls().len(), world.store.commits()), (0, commits));
    assert!(!calls.is_empty());
    assert!(deployer.get(&order()).unwrap().rollout.is_live());
}
