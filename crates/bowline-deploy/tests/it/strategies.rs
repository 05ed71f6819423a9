//! What each strategy asks of the ports, from its beginning to either end.

use std::time::Duration;

use bowline_deploy::{Phase, State, Verdict};
use bowline_model::deploy::{Figures, Plan, Release, Strategy};
use bowline_runtime::time;

use crate::support::{World, bad, begin, figures, order, over, plan, until, v2};

#[track_caller]
fn check_calls(world: &World, expect: &[&str]) {
    assert_eq!(world.calls(), expect);
}

#[tokio::test(start_paused = true)]
async fn a_good_canary_is_promoted() {
    let world = World::new();
    let deployer = world.start().await;
    let begun = time::now();
    let status = deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    assert_eq!((status.rollout.id, status.rollout.phase(), status.rollout.number()), (1, Phase::Preparing, 1));
    let status = over(&deployer).await;
    assert_eq!((status.rollout.state, status.rollout.why), (State::Promoted, None));
    check_calls(
        &world,
        &[
            "split v1=1000 v2=0",
            "scale v2 2",
            "split v1=950 v2=50",
            "scale v2 2",
            "split v1=500 v2=500",
            "scale v2 2",
            "split v1=0 v2=1000",
            "scale v2 2",
            "scale v1 0",
            "split",
        ],
    );
    world.check_alone("v2", 2);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(40) && took < Duration::from_secs(43), "two bakes of 20 s took {took:?}");
    assert_eq!(deployer.current(&order()), Some(v2()));
    let steps: Vec<_> = status
        .rollout
        .transitions
        .iter()
        .filter(|it| it.phase == Phase::Baking)
        .map(|it| (it.step, it.weight))
        .collect();
    assert_eq!(steps, [(1, 50), (2, 500)]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_canary_is_hurt_by_its_first_step_alone() {
    let world = World::new();
    let deployer = world.start().await;
    world.state().verdict = Some(bad());
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    let status = over(&deployer).await;
    assert_eq!(status.rollout.state, State::RolledBack);
    assert_eq!(status.rollout.why.as_deref(), Some("error_rate 20% > 5%"));
    assert_eq!(status.verdict, Some(bad()));
    check_calls(
        &world,
        &["split v1=1000 v2=0", "scale v2 2", "split v1=950 v2=50", "split v1=1000 v2=0", "scale v2 0", "split"],
    );
    world.check_alone("v1", 2);
    assert_eq!(deployer.current(&order()), None);
    // It is not waited for the end of the bake.
    let questions = std::mem::take(&mut world.state().questions);
    let [question] = questions.as_slice() else { panic!("{questions:?}") };
    assert_eq!((question.version.as_str(), question.window), ("v2", Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn blue_green_gives_everything_at_once_and_takes_it_back() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::BlueGreen))).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
    check_calls(
        &world,
        &["split v1=1000 v2=0", "scale v2 2", "split v1=0 v2=1000", "scale v2 2", "scale v1 0", "split"],
    );
    world.state().verdict = Some(bad());
    deployer.begin(begin(Release::declared("v1"), plan(Strategy::BlueGreen))).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
    check_calls(
        &world,
        &["split v1=0 v2=1000", "scale v1 2", "split v1=1000 v2=0", "split v1=0 v2=1000", "scale v1 0", "split"],
    );
    world.check_alone("v2", 2);
}

#[tokio::test(start_paused = true)]
async fn rolling_goes_instance_by_instance_there_and_back() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Rolling))).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
    let forth = [
        "split v1=1000 v2=0",
        "scale v2 1",
        "split v1=500 v2=500",
        "scale v1 1",
        "scale v2 2",
        "split v1=0 v2=1000",
        "scale v2 2",
        "scale v1 0",
        "split",
    ];
    check_calls(&world, &forth);
    // Back to what is declared: with its second instance it turns out to be bad.
    deployer.begin(begin(Release::declared("v1"), plan(Strategy::Rolling))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking && status.rollout.weight() == 1000).await;
    world.state().verdict = Some(bad());
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
    let calls = world.calls();
    assert_eq!(calls[calls.len() - 4..], ["scale v2 2", "split v1=0 v2=1000", "scale v1 0", "split"]);
    world.check_alone("v2", 2);
    assert_eq!(deployer.current(&order()), Some(v2()));
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_comes_back_by_a_rollout() {
    let world = World::new();
    let deployer = world.start().await;
    for (release, current) in [(v2(), Some(v2())), (Release::declared("v1"), None)] {
        deployer.begin(begin(release, plan(Strategy::BlueGreen))).await.unwrap();
        over(&deployer).await;
        assert_eq!(deployer.current(&order()), current);
    }
    world.check_alone("v1", 2);
    assert_eq!(deployer.in_force(), []);
    let deployer = world.restart(deployer).await;
    assert_eq!((deployer.in_force(), deployer.current(&order())), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn without_requests_it_bakes_on() {
    let world = World::new();
    let deployer = world.start().await;
    world.state().verdict = Some(Verdict::Unknown("it had no requests".to_owned()));
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    let status = until(&deployer, |status| status.waits_for.is_some()).await;
    assert_eq!(status.waits_for.as_deref(), Some("no verdict yet: it had no requests"));
    time::sleep(Duration::from_mins(10)).await;
    let status = deployer.get(&order()).unwrap();
    assert_eq!((status.rollout.phase(), status.rollout.weight()), (Phase::Baking, 50));
    let questions = world.state().questions.clone();
    let windows: Vec<_> = questions.iter().map(|question| question.window).collect();
    assert_eq!(windows[..4], [5, 10, 15, 20].map(Duration::from_secs));
    assert_eq!(windows.iter().max(), Some(&Duration::from_mins(1)), "it looks back further, but not for ever");
    let since = questions.iter().map(|question| question.since).max().unwrap();
    assert!(since >= Duration::from_mins(10), "but where there are too few: {since:?}");
    world.state().verdict = None;
    assert_eq!(over(&deployer).await.rollout.state, State::Promoted);
}

#[tokio::test(start_paused = true)]
async fn with_few_requests_it_bakes_on_and_says_how_many_it_waits_for() {
    let world = World::new();
    let deployer = world.start().await;
    let few = |requests: f64| Some(Verdict::Few(Figures { requests, ..figures(1.0) }));
    world.state().verdict = few(6.0);
    let plan = Plan { min_requests: 30, ..plan(Strategy::Canary) };
    deployer.begin(begin(v2(), plan)).await.unwrap();
    let status = until(&deployer, |status| status.verdict.is_some()).await;
    assert_eq!((status.verdict, status.waits_for), (few(6.0), None), "it bakes still");
    let status = until(&deployer, |status| status.waits_for.is_some()).await;
    let told = |requests: u32| {
        let many = format!("{requests} of 30 requests to v2 were measured since the step began");
        Some(format!(
            "no verdict yet: {many}; send traffic, or end it by `bowline deploy promote order` or `abort order`"
        ))
    };
    assert_eq!(status.waits_for, told(6));
    assert_eq!(world.state().questions[0].min_requests, 30);
    world.state().verdict = few(29.0);
    let status = until(&deployer, |status| status.waits_for != told(6)).await;
    assert_eq!((status.waits_for, status.rollout.phase()), (told(29), Phase::Baking));
    world.state().verdict = None;
    let rollout = over(&deployer).await.rollout;
    let why: Vec<_> = rollout.transitions.iter().filter_map(|transition| transition.why.as_deref()).collect();
    let good = "good: 100 requests, 0.0% failed";
    assert_eq!((rollout.state, why), (State::Promoted, vec![good, good]), "each step keeps what was measured of it");
}

#[tokio::test(start_paused = true)]
async fn what_nothing_can_abort_is_not_measured() {
    let world = World::new();
    let deployer = world.start().await;
    world.state().verdict = Some(bad());
    let plan = Plan { abort_when: None, ..plan(Strategy::Canary) };
    deployer.begin(begin(v2(), plan)).await.unwrap();
    let status = over(&deployer).await;
    assert_eq!((status.rollout.state, status.verdict), (State::Promoted, None));
    assert_eq!(world.state().questions, []);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_turns_bad_while_the_next_step_is_made_goes_back() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Rolling))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking).await;
    {
        let mut state = world.state();
        state.calls_max = Some(state.calls.len());
    }
    until(&deployer, |status| status.rollout.phase() == Phase::Retiring).await;
    // The old instance takes its time to stop.
    time::sleep(Duration::from_secs(1)).await;
    {
        let mut state = world.state();
        state.calls_max = None;
        state.verdict = Some(bad());
    }
    let status = over(&deployer).await;
    assert_eq!((status.rollout.state, status.rollout.why), (State::RolledBack, Some("error_rate 20% > 5%".to_owned())));
    world.check_alone("v1", 2);
}

/// A release that ended by itself since its last step was made, and does not start again, is not given everything.
async fn check_ended(strategy: Strategy, weight: u32) {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(strategy))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking && status.rollout.weight() == weight).await;
    world.calls();
    world.state().failures = ["scale v2 2"; 3].into();
    let status = over(&deployer).await;
    assert_eq!((status.rollout.state, status.rollout.why.as_deref()), (State::RolledBack, Some("`scale v2 2` failed")));
    let ended = ["scale v2 2", "scale v2 2", "scale v2 2", "split v1=1000 v2=0", "scale v2 0", "split"];
    let calls = world.calls();
    assert_eq!(calls.iter().filter(|call| *call != "scale v1 2").collect::<Vec<_>>(), ended, "{strategy:?}");
    world.check_alone("v1", 2);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_ended_after_it_was_good_is_not_promoted() {
    check_ended(Strategy::Canary, 500).await;
    check_ended(Strategy::BlueGreen, 1000).await;
    check_ended(Strategy::Canary, 50).await;
}
