//! What may begin, and what is told of it.

use bowline_deploy::{Action, Begin, Error, Phase};
use bowline_model::{
    Code, ServiceName,
    deploy::{Plan, Release, Strategy},
    units::Share,
};

use crate::support::{FILE, World, begin, order, over, plan, until, v2};

async fn check(begin: Begin, expect: (Code, &str)) {
    let world = World::new();
    let deployer = world.start().await;
    let error = deployer.begin(begin).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), expect);
    assert_eq!((deployer.list(), world.store.commits()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_rolled_out_is_refused() {
    let of = |service: &str| Begin { service: ServiceName::new(service).unwrap(), ..begin(v2(), Plan::default()) };
    let release = |version: &str| begin(Release { version: version.to_owned(), ..v2() }, Plan::default());
    let invalid = |told| (Code::InvalidArgument, told);
    let unfit = |told| (Code::FailedPrecondition, told);
    check(of("ordr"), (Code::NotFound, "there is no service `ordr`")).await;
    let told = "`bank` cannot be rolled out: it has no `run` in bowline.toml, so its instances run elsewhere";
    check(of("bank"), unfit(told)).await;
    let told = "`payment` cannot be rolled out: write `version = \"v1\"` in its section of bowline.toml";
    check(of("payment"), unfit(told)).await;
    let told = "version: `v1` is the version that runs: give the new one another name";
    check(release("v1"), invalid(told)).await;
    let told = "version: `v9` is declared to run beside: give the new one another name";
    check(release("v9"), invalid(told)).await;
    let told = "version: a version has 1 to 63 of a-z, A-Z, 0-9 and inner . _ -";
    check(release("v 2"), invalid(told)).await;
    let none = Begin { replicas: Some(0), ..begin(v2(), Plan::default()) };
    check(none, invalid("replicas: they are 1 to 100")).await;
    let steps = Plan { steps: vec![Share::from_percent(5)], ..Plan::default() };
    let told = "steps: only a canary has steps: the others give instance by instance, or everything at once";
    check(begin(v2(), steps), invalid(told)).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_is_not_given_to_another_release_than_the_file_s() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::BlueGreen))).await.unwrap();
    over(&deployer).await;
    let error = deployer.begin(begin(Release { version: "v1".to_owned(), ..v2() }, Plan::default())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "version: `v1` is what the file declares: say nothing else of it, or give another name"
    );
}

#[tokio::test(start_paused = true)]
async fn there_is_one_rollout_of_a_service_at_a_time() {
    let world = World::new();
    let deployer = world.start().await;
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    let other = Release { version: "v3".to_owned(), ..v2() };
    let error = deployer.begin(begin(other, Plan::default())).await.unwrap_err();
    assert!(matches!(&error, Error::Busy { version, .. } if version == "v2"), "{error}");
    let orders = "`bowline deploy promote order` or `bowline deploy abort order`";
    let told = format!("v2 of `order` is being rolled out: wait for its end, or end it with {orders}");
    assert_eq!((error.code(), error.to_string()), (Code::AlreadyExists, told));
}

#[tokio::test(start_paused = true)]
async fn it_is_done_as_the_file_says_unless_it_is_told_otherwise() {
    let world = World::new();
    let section = "[deploy.order]\nstrategy = \"canary\"\nsteps = [\"1%\"]\nbake = \"3s\"\n";
    let deployer = world.open_as(&format!("{FILE}{section}")).await;
    deployer.start(&world.ports());
    let as_declared = Begin { plan: None, ..begin(v2(), Plan::default()) };
    let rollout = deployer.begin(as_declared).await.unwrap().rollout;
    assert_eq!((rollout.plan.strategy, rollout.step_count()), (Strategy::Canary, 1));
    assert_eq!((rollout.from, rollout.from_count, rollout.to_count), (Release::declared("v1"), 2, 2));
    over(&deployer).await;
    let without_steps = Plan { steps: vec![], ..plan(Strategy::Canary) };
    let back = begin(Release::declared("v1"), without_steps);
    let rollout = deployer.begin(Begin { replicas: Some(4), ..back }).await.unwrap().rollout;
    assert_eq!((rollout.step_count(), rollout.from, rollout.to_count), (3, v2(), 4));
    over(&deployer).await;
    assert_eq!(deployer.current(&order()), None);
    world.check_alone("v1", 4);
    let in_force = world.open().await.in_force();
    assert_eq!(in_force.iter().map(|it| (it.own.clone(), it.own_count)).collect::<Vec<_>>(), [(None, 4)]);
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_told_and_counted() {
    let world = World::new();
    let deployer = world.start().await;
    assert_eq!((deployer.get(&order()), deployer.list()), (None, vec![]));
    let mut watch = deployer.watch();
    assert!(!watch.has_changed().unwrap());
    deployer.begin(begin(v2(), plan(Strategy::Canary))).await.unwrap();
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    until(&deployer, |status| status.rollout.phase() == Phase::Baking && status.rollout.weight() == 500).await;
    assert!(world.metrics.render().contains("bowline_rollout_step{service=\"order\"} 2\n"));
    deployer.act(&order(), Action::Abort, None).await.unwrap();
    over(&deployer).await;
    let metrics = world.metrics.render();
    assert!(metrics.contains("bowline_rollout_step{service=\"order\"} 0\n"), "{metrics}");
    assert!(metrics.contains("bowline_rollouts_total{service=\"order\",outcome=\"rolled_back\"} 1\n"), "{metrics}");
    let phases: Vec<_> = deployer.list()[0].rollout.transitions.iter().map(|it| it.phase.name()).collect();
    assert_eq!(phases.first(), Some(&"preparing"));
    assert_eq!(phases[phases.len() - 2..], ["rolling back", "rolled back"]);
}
