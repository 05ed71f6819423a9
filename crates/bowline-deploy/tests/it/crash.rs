//! The process ends at any point, and the next one goes on.

use std::time::Duration;

use bowline_deploy::{Action, Deployer, InForce, Phase, State};
use bowline_model::deploy::Strategy;
use bowline_runtime::time;

use crate::support::{FILE, World, act, bad, begin, order, over, plan, system, until, v2};

/// More calls than any rollout of these tests makes.
const CALLS_MAX: usize = 30;

/// Runs a rollout whose process ends at its n-th call of a port, for each n there is.
async fn check(strategy: Strategy, is_good: bool) {
    for calls_max in 0..CALLS_MAX {
        let world = World::new();
        let deployer = world.start().await;
        {
            let mut state = world.state();
            state.calls_max = Some(calls_max);
            state.verdict = (!is_good).then(bad);
        }
        deployer.begin(begin(v2(), plan(strategy))).await.unwrap();
        let is_ended = at_the_end_or_stuck(&world, &deployer, calls_max).await;
        if is_ended {
            assert!(calls_max > 3, "the process never ended");
            return;
        }
        let deployer = world.restart(deployer).await;
        let status = over(&deployer).await;
        let (state, version) = if is_good { (State::Promoted, "v2") } else { (State::RolledBack, "v1") };
        assert_eq!(status.rollout.state, state, "{strategy:?}, ended at call {calls_max}");
        world.check_alone(version, 2);
        assert_eq!(deployer.current(&order()), is_good.then(v2));
    }
    panic!("{strategy:?} makes more than {CALLS_MAX} calls");
}

async fn at_the_end_or_stuck(world: &World, deployer: &Deployer, calls_max: usize) -> bool {
    loop {
        if !deployer.get(&order()).unwrap().rollout.is_live() {
            return true;
        }
        if world.state().calls.len() > calls_max {
            return false;
        }
        // No watch tells that a port was asked.
        time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_goes_on_wherever_its_process_ended() {
    check(Strategy::Canary, true).await;
    check(Strategy::Canary, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_blue_green_rollout_goes_on_wherever_its_process_ended() {
    check(Strategy::BlueGreen, true).await;
    check(Strategy::BlueGreen, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_rolling_rollout_goes_on_wherever_its_process_ended() {
    check(Strategy::Rolling, true).await;
    check(Strategy::Rolling, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_was_baking_is_shifted_and_baked_anew() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, |status| status.rollout.weight() == 500 && status.rollout.phase() == Phase::Baking).await;
    world.calls();
    let restarted = time::now();
    let deployer = world.restart(deployer).await;
    until(&deployer, |status| status.rollout.phase() == Phase::Promoting).await;
    assert!(restarted.elapsed() >= plan(Strategy::Canary).bake);
    over(&deployer).await;
    let calls =
        ["scale v2 2", "split v1=500 v2=500", "scale v2 2", "split v1=0 v2=1000", "scale v2 2", "scale v1 0", "split"];
    assert_eq!(world.calls(), calls);
}

/// Whether the ports are asked that many times before the rollout is over; then the last of it is on its way.
async fn is_asked(world: &World, deployer: &Deployer, count: usize) -> bool {
    while world.state().calls.len() < count {
        if !deployer.get(&order()).unwrap().rollout.is_live() {
            return false;
        }
        // No watch tells that a port was asked. tidy: sleep: the clock is paused
        time::sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Stops a deployer so long after it asked a port for the n-th time, for each n there is, and starts the next one.
async fn check_stop(after: Duration) {
    for count in 1.. {
        let world = World::new();
        let deployer = world.start().await;
        deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
        if !is_asked(&world, &deployer, count).await {
            assert!(count > 7, "it was stopped at {count} calls only");
            return;
        }
        // tidy: sleep: the clock is paused
        time::sleep(after).await;
        let begun = time::now();
        deployer.stop().await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waits for what a port does");
        let kept = deployer.get(&order()).unwrap().rollout;
        let commits = world.store.commits();
        world.calls();
        // tidy: sleep: the clock is paused
        time::sleep(Duration::from_hours(1)).await;
        assert_eq!((world.calls(), world.store.commits()), (Vec::new(), commits), "it does nothing any more");

        let next = world.open().await;
        assert_eq!(next.get(&order()).unwrap().rollout, kept, "it is as it was seen");
        let next = world.restart(next).await;
        let ended = over(&next).await.rollout;
        assert_eq!((ended.id, ended.state), (kept.id, State::Promoted), "stopped at call {count}");
        assert_eq!(ended.transitions[..kept.transitions.len()], kept.transitions);
        let numbers: Vec<u32> = ended.transitions.iter().map(|transition| transition.number).collect();
        assert_eq!(numbers, (1..).take(numbers.len()).collect::<Vec<_>>());
        assert_eq!(next.history(&order()).await.unwrap().len(), 1);
        world.check_alone("v2", 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stopped_midway_is_kept_and_goes_on_with_the_next_start() {
    check_stop(Duration::ZERO).await;
    // Then what was asked for is done: it bakes where it was a share.
    check_stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_in_force_is_what_has_requests() {
    let world = World::new();
    let deployer = world.start().await;
    let mut wanted = begin(v2(), plan(Strategy::Canary));
    wanted.replicas = Some(3);
    deployer.begin(wanted).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking).await;
    let in_force = InForce { service: order(), own: None, own_count: 2, beside: vec![(v2(), 3)] };
    assert_eq!(world.open().await.in_force(), [in_force]);
    over(&deployer).await;
    let promoted = InForce { service: order(), own: Some(v2()), own_count: 3, beside: vec![] };
    let deployer = world.open().await;
    assert_eq!(deployer.in_force(), [promoted]);
    assert_eq!(deployer.get(&order()).unwrap().rollout.state, State::Promoted, "the last one is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_pause_survives() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking).await;
    act(&deployer, Action::Pause).await.unwrap();
    let deployer = world.restart(deployer).await;
    world.calls();
    let metrics = bowline_runtime::metric::Registry::default();
    drop(Deployer::open(std::sync::Arc::new(world.store.clone()), &system(FILE), &metrics).await.unwrap());
    let metrics = metrics.render();
    assert!(metrics.contains("bowline_rollout_step{service=\"order\"} 1\n"), "{metrics}");
    assert!(metrics.contains("bowline_rollouts_total{service=\"order\",outcome=\"promoted\"} 0\n"), "{metrics}");
    deployer.release_superseded(&world).await.unwrap();
    assert_eq!(world.calls(), Vec::<String>::new(), "the file still knows it");
    time::sleep(plan(Strategy::Canary).bake * 2).await;
    assert_eq!(deployer.get(&order()).unwrap().rollout.phase(), Phase::Paused);
    act(&deployer, Action::Abort).await.unwrap();
    assert_eq!(over(&deployer).await.rollout.state, State::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn another_file_ends_what_it_does_not_know() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking).await;
    drop(deployer);
    // More instances are no other release; another command is.
    let more = FILE.replace("replicas = 2", "replicas = 3");
    assert_eq!(world.open_as(&more).await.in_force().len(), 1);
    let changed = FILE.replace("./order", "./order-3");
    world.calls();
    let deployer = world.open_as(&changed).await;
    assert_eq!(deployer.in_force(), []);
    world.state().running = [("v1".to_owned(), 2)].into();
    deployer.release_superseded(&world).await.unwrap();
    assert_eq!(world.calls(), ["split"], "nobody is steered to what does not run, before anything starts");
    deployer.start(&world.ports());
    let status = over(&deployer).await;
    assert_eq!(status.rollout.state, State::RolledBack);
    assert_eq!(status.rollout.why.as_deref(), Some("bowline.toml declares another release now"));
    assert_eq!(world.calls(), ["split"]);
    world.check_alone("v1", 2);
}

#[tokio::test(start_paused = true)]
async fn a_promoted_release_counts_until_the_file_declares_another() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::BlueGreen))).await.unwrap();
    over(&deployer).await;
    drop(deployer);
    let more = FILE.replace("replicas = 2", "replicas = 3");
    let deployer = world.open_as(&more).await;
    let own = InForce { service: order(), own: Some(v2()), own_count: 3, beside: vec![] };
    assert_eq!((deployer.current(&order()), deployer.in_force()), (Some(v2()), vec![own]));
    let changed = world.open_as(&FILE.replace("\"v1\"", "\"v3\"")).await;
    assert_eq!((changed.current(&order()), changed.in_force()), (None, vec![]));
    // What was forgotten does not come back with the file before.
    assert_eq!(world.open().await.current(&order()), None);
    assert_eq!(system(FILE).services.len(), 3);
}
