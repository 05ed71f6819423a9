//! Releases that come and go while the system runs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_deploy::{Failure, Fleet as _, InForce};
use bowline_model::{ServiceName, deploy::Release, policy::Backoff, system::Service};
use bowline_runtime::{
    fs,
    task::{self, JoinHandle},
    time,
};
use bowline_supervisor::{Error, Event, Supervisor, with_releases};
use bowline_testkit::{eventually, eventually_some};
use rustix::process::Signal;

use crate::fixture::{BOUND, Fixture, get, is_alive, kill, probe, release, service, system};

/// A service of a version that answers.
fn order(replicas: u32) -> Service {
    Service { version: "v1".to_owned(), replicas, ..probe("order") }
}

async fn running(fixture: &Fixture, services: impl IntoIterator<Item = Service>) -> Supervisor {
    let supervisor = fixture.start(services).await.unwrap();
    supervisor.ready().await.unwrap();
    supervisor
}

async fn scale(supervisor: &Supervisor, release: &Release, count: u32) -> Result<(), Failure> {
    supervisor.releases().scale(&ServiceName::new("order").unwrap(), release, count).await
}

/// Begins to scale beside the test.
fn begin(supervisor: &Supervisor, release: Release, count: u32) -> JoinHandle<Result<(), Failure>> {
    let releases = supervisor.releases();
    let scaling = async move { releases.scale(&ServiceName::new("order").unwrap(), &release, count).await };
    task::spawn(scaling)
}

/// Who is registered, with the version.
fn registered(fixture: &Fixture) -> Vec<String> {
    let who = |instance: bowline_model::Instance| {
        format!("{} {} {}", instance.id, instance.version, instance.health.as_str())
    };
    fixture.registry.instances().into_iter().map(who).collect()
}

fn pid(fixture: &Fixture, id: &str) -> u32 {
    fixture.registry.get(id).unwrap().metadata["pid"].parse().unwrap()
}

fn builds(fixture: &Fixture) -> usize {
    fixture.events.all().iter().filter(|event| matches!(event, Event::BuildEnded { .. })).count()
}

#[tokio::test]
async fn a_service_is_scaled_up_and_down_and_away_and_back() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1)]).await;
    let first = pid(&fixture, "order-1");
    scale(&supervisor, &release("v1", None), 3).await.unwrap();
    let three = ["order-1 v1 healthy", "order-2 v1 healthy", "order-3 v1 healthy"];
    assert_eq!(registered(&fixture), three);
    let third = pid(&fixture, "order-3");
    scale(&supervisor, &release("v1", None), 2).await.unwrap();
    assert_eq!(registered(&fixture), three[..2], "the last who came goes first");
    assert!(!is_alive(third));
    assert_eq!(pid(&fixture, "order-1"), first, "what runs already is left alone");
    let gauge = || {
        let page = fixture.settings.metrics.render();
        page.lines().find(|line| line.starts_with("bowline_supervisor_instances")).unwrap().to_owned()
    };
    assert_eq!(gauge(), "bowline_supervisor_instances{service=\"order\"} 2");
    scale(&supervisor, &release("v1", None), 0).await.unwrap();
    assert_eq!((registered(&fixture), gauge().ends_with(" 0")), (Vec::new(), true));
    assert!(!is_alive(first));
    scale(&supervisor, &release("v1", None), 1).await.unwrap();
    assert_eq!(registered(&fixture), three[..1]);
    let drained = supervisor.drain().await;
    assert_eq!((drained.stopped.len(), drained.killed.len()), (1, 0), "who left before is not told again");
}

#[tokio::test]
async fn a_release_comes_with_its_own_build_and_environment_and_goes() {
    let fixture = Fixture::new();
    let mut own = order(2);
    own.env = BTreeMap::from([("LEVEL".to_owned(), "1".to_owned()), ("SHARED".to_owned(), "yes".to_owned())]);
    own.build = Some("echo v1 >> built".to_owned());
    let supervisor = running(&fixture, [own]).await;
    let new = Release {
        build: Some("echo v2 >> built".to_owned()),
        env: BTreeMap::from([("LEVEL".to_owned(), "${data}/2".to_owned())]),
        ..release("v2", Some("echo of v2; exec ${target}/probe_service"))
    };
    scale(&supervisor, &new, 1).await.unwrap();
    scale(&supervisor, &new, 2).await.unwrap();
    let own = ["order-1 v1 healthy", "order-2 v1 healthy"];
    assert_eq!(registered(&fixture), [&own[..], &["order-v2-1 v2 healthy", "order-v2-2 v2 healthy"]].concat());
    assert_eq!(fs::read_to_string(fixture.file("built")).unwrap(), "v1\nv2\n");
    assert_eq!(fixture.events.lines("order-v2-1")[0], "of v2");
    let environment = get(&fixture.registry.get("order-v2-2").unwrap().address, "/env");
    let level = format!("LEVEL={}/2", fixture.settings.data_dir.display());
    for line in ["BOWLINE_VERSION=v2", "BOWLINE_SERVICE=order", "BOWLINE_INSTANCE=order-v2-2", &level, "SHARED=yes"] {
        assert!(environment.lines().any(|found| found == line), "{line} is not in\n{environment}");
    }
    // It takes the place of the service's own, and is given up after all.
    scale(&supervisor, &release("v1", None), 0).await.unwrap();
    assert_eq!(registered(&fixture), ["order-v2-1 v2 healthy", "order-v2-2 v2 healthy"]);
    scale(&supervisor, &release("v1", None), 2).await.unwrap();
    scale(&supervisor, &new, 0).await.unwrap();
    assert_eq!(registered(&fixture), own);
    // What it was built of may have changed meanwhile; the file's is of this run still.
    scale(&supervisor, &new, 1).await.unwrap();
    assert_eq!(fs::read_to_string(fixture.file("built")).unwrap(), "v1\nv2\nv2\n");
}

#[tokio::test]
async fn what_has_no_instances_at_first_is_built_when_it_has() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [Service { build: Some("true".to_owned()), ..order(0) }]).await;
    assert_eq!(builds(&fixture), 0);
    scale(&supervisor, &release("v1", None), 1).await.unwrap();
    scale(&supervisor, &release("v2", None), 1).await.unwrap();
    assert_eq!(registered(&fixture), ["order-1 v1 healthy", "order-v2-1 v2 healthy"]);
    eventually(BOUND, || builds(&fixture) == 1).await;
}

#[tokio::test]
async fn a_release_whose_build_fails_starts_nothing_and_harms_nobody() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1)]).await;
    let bad = Release { build: Some("echo hush; exit 7".to_owned()), ..release("v2", None) };
    let Failure(why) = scale(&supervisor, &bad, 1).await.unwrap_err();
    assert_eq!(why, "the build of order failed: it exited with status 7", "neither its command nor what it wrote");
    assert_eq!(registered(&fixture), ["order-1 v1 healthy"]);
    let good = Release { build: Some("true".to_owned()), ..bad };
    scale(&supervisor, &good, 1).await.unwrap();
}

#[tokio::test]
async fn a_release_that_never_becomes_healthy_is_told() {
    let mut fixture = Fixture::new();
    fixture.settings.startup_max = Duration::from_secs(5);
    let flag = fixture.file("unhealthy");
    let supervisor = running(&fixture, [order(1)]).await;
    fs::replace(&flag, b"").unwrap();
    let mut sick = release("v2", None);
    sick.env.insert("UNHEALTHY_FILE".to_owned(), flag.display().to_string());
    let Failure(why) = scale(&supervisor, &sick, 1).await.unwrap_err();
    assert!(why.starts_with("service order did not become healthy within 5s: instance order-v2-1"), "{why}");
    assert!(why.ends_with(": answered with status 503"), "{why}");
    // It runs on until it is scaled again, and may become healthy meanwhile.
    fs::remove_file(&flag).unwrap();
    scale(&supervisor, &sick, 1).await.unwrap();
    let started =
        |event: &&Event| matches!(event, Event::InstanceStarted { instance, .. } if instance.as_str() == "order-v2-1");
    assert_eq!(fixture.events.all().iter().filter(started).count(), 1);
    scale(&supervisor, &sick, 0).await.unwrap();
    assert_eq!(registered(&fixture), ["order-1 v1 healthy"]);
}

#[tokio::test]
async fn a_release_that_ends_by_itself_is_not_waited_for() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1)]).await;
    let ends =
        "instance order-v2-1 of service order ended 3 times before it was healthy: its process exited with status 3";
    let nowhere = "instance order-v2-1 of service order cannot be started, what it runs is not there or may not be run";
    let missing = format!("{nowhere}: its process exited with status 127");
    for (run, expect) in [("echo postgres://user:secret@db; exit 3", ends.to_owned()), ("./nowhere", missing)] {
        let ends = release("v2", Some(run));
        let began = time::now();
        let Failure(why) = scale(&supervisor, &ends, 1).await.unwrap_err();
        assert_eq!(why, expect, "what processes wrote is not for everybody");
        assert!(time::now() - began < BOUND, "it was waited for");
        scale(&supervisor, &ends, 0).await.unwrap();
    }
    assert_eq!(registered(&fixture), ["order-1 v1 healthy"]);
}

#[tokio::test]
async fn who_is_asked_for_once_more_waits_no_longer_than_the_first_time() {
    let mut fixture = Fixture::new();
    fixture.settings.restart = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(30) };
    let supervisor = running(&fixture, [order(1)]).await;
    let began = time::now();
    let crashing = release("v2", Some("echo >> starts; exit 3"));
    for _ in 0..4 {
        scale(&supervisor, &crashing, 1).await.unwrap_err();
    }
    let starts = fs::read_to_string(fixture.file("starts")).unwrap().len();
    assert!((12..=16).contains(&starts), "three each time, and what comes between: {starts}");
    assert!(time::now() - began < BOUND, "{:?}", time::now() - began);
    let missing = release("v3", Some("./later"));
    scale(&supervisor, &missing, 1).await.unwrap_err();
    // It comes meanwhile.
    let probe = fixture.settings.target_dir.join("probe_service");
    std::os::unix::fs::symlink(probe, fixture.file("later")).unwrap();
    scale(&supervisor, &missing, 1).await.unwrap();
}

#[tokio::test]
async fn a_process_that_dies_meanwhile_is_waited_for() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1)]).await;
    let gate = fixture.file("gate");
    fs::replace(&gate, b"").unwrap();
    let mut slow = release("v2", None);
    slow.env.insert("UNHEALTHY_FILE".to_owned(), gate.display().to_string());
    let scaling = begin(&supervisor, slow, 2);
    let pid = |event: &Event| match event {
        Event::InstanceStarted { instance, pid, .. } if instance.as_str() == "order-v2-2" => Some(*pid),
        _ => None,
    };
    kill(fixture.events.wait(pid).await, Signal::KILL);
    let exited = |event: &Event| matches!(event, Event::InstanceExited { .. }).then_some(());
    fixture.events.wait(exited).await;
    fs::remove_file(&gate).unwrap();
    scaling.await.unwrap().unwrap();
    assert_eq!(registered(&fixture), ["order-1 v1 healthy", "order-v2-1 v2 healthy", "order-v2-2 v2 healthy"]);
}

#[tokio::test]
async fn who_is_not_healthy_goes_before_who_is() {
    let fixture = Fixture::new();
    let flag = fixture.file("unhealthy");
    // The first instance only.
    let run = format!(
        "case $BOWLINE_INSTANCE in *-1) export UNHEALTHY_FILE={};; esac; exec ${{target}}/probe_service",
        flag.display()
    );
    let supervisor = running(&fixture, [Service { run: Some(run), ..order(2) }]).await;
    fs::replace(&flag, b"").unwrap();
    eventually(BOUND, || registered(&fixture)[0] == "order-1 v1 unhealthy").await;
    scale(&supervisor, &release("v1", None), 1).await.unwrap();
    assert_eq!(registered(&fixture), ["order-2 v1 healthy"]);
}

#[tokio::test]
async fn who_stays_need_not_be_healthy_for_the_others_to_go() {
    let mut fixture = Fixture::new();
    fixture.settings.startup_max = Duration::from_secs(5);
    let flag = fixture.file("unhealthy");
    let mut own = order(2);
    own.env.insert("UNHEALTHY_FILE".to_owned(), flag.display().to_string());
    let supervisor = running(&fixture, [own]).await;
    fs::replace(&flag, b"").unwrap();
    let sick = ["order-1 v1 unhealthy", "order-2 v1 unhealthy"];
    eventually(BOUND, || registered(&fixture) == sick).await;
    scale(&supervisor, &release("v1", None), 1).await.unwrap();
    assert_eq!(registered(&fixture), sick[..1]);
    // Who asks for as many as there are asks for their health.
    scale(&supervisor, &release("v1", None), 1).await.unwrap_err();
}

#[tokio::test]
async fn what_cannot_be_scaled_says_why() {
    let fixture = Fixture::new();
    let elsewhere = Service { run: None, ..service("elsewhere", "") };
    let supervisor = running(&fixture, [order(1), elsewhere]).await;
    let releases = supervisor.releases();
    let check = async |service: &str, release: Release, count: u32, expected: &str| {
        let service = ServiceName::new(service).unwrap();
        let Failure(why) = releases.scale(&service, &release, count).await.unwrap_err();
        assert_eq!(why, expected);
    };
    check("nobody", release("v1", None), 1, "there is no service nobody").await;
    check("elsewhere", release("v1", None), 1, "service elsewhere has no `run`, so it is not run here").await;
    check("order", release("v1", None), 101, "101 instances of service order are more than 100").await;
    let other = "another release v1 of service order runs, with another command or environment";
    check("order", release("v1", Some("./other")), 1, other).await;
    drop(supervisor);
    check("order", release("v1", None), 1, "the system is being stopped").await;
}

#[tokio::test]
async fn a_drain_gives_up_what_is_being_scaled_and_leaves_nobody() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1)]).await;
    let mut building = release("v2", None);
    building.build = Some("sleep 1000 & echo $! > build-pid; wait".to_owned());
    let built = begin(&supervisor, building, 1);
    let never = release("v1", Some("echo $$ > never-pid; exec sleep 1000"));
    // It waits for its turn.
    let waits = begin(&supervisor, never, 1);
    let pid = fixture.pid_in("build-pid").await;
    let drained = supervisor.drain().await;
    assert_eq!((drained.stopped.len(), drained.killed.len()), (1, 0));
    for scaling in [built, waits] {
        assert_eq!(scaling.await.unwrap(), Err(Failure("the system is being stopped".to_owned())));
    }
    eventually(BOUND, || !is_alive(pid)).await;
    assert!(fixture.registry.instances().is_empty());
    assert!(fs::metadata(fixture.file("never-pid")).is_err(), "nobody comes any more");
}

#[tokio::test]
async fn a_drain_stops_also_who_came_later() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1)]).await;
    let starting = begin(&supervisor, release("v2", Some("echo $$ > pid; exec sleep 1000")), 1);
    let pid = fixture.pid_in("pid").await;
    let drained = supervisor.drain().await;
    assert_eq!(drained.stopped.iter().map(ToString::to_string).collect::<Vec<_>>(), ["order-1", "order-v2-1"]);
    assert!(!is_alive(pid));
    assert!(starting.await.unwrap().is_err());
}

#[tokio::test]
async fn nobody_survives_a_supervisor_that_is_dropped_while_a_release_comes() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1)]).await;
    let releases = supervisor.releases();
    let _starting = begin(&supervisor, release("v2", Some("echo $$ > pid; exec sleep 1000")), 1);
    let pids = [pid(&fixture, "order-1"), fixture.pid_in("pid").await];
    drop(supervisor);
    eventually(BOUND, || !pids.iter().any(|pid| is_alive(*pid))).await;
    let order = ServiceName::new("order").unwrap();
    assert!(releases.scale(&order, &release("v1", None), 1).await.is_err(), "a handle keeps nothing running");
}

#[tokio::test]
async fn what_was_given_up_goes_on_when_it_is_asked_for_again() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1)]).await;
    let mut slow = release("v2", None);
    slow.build = Some("echo >> builds; while [ ! -e go ]; do sleep 0.01; done".to_owned());
    let given_up = begin(&supervisor, slow.clone(), 1);
    eventually(BOUND, || fs::metadata(fixture.file("builds")).is_ok()).await;
    given_up.abort();
    fs::replace(&fixture.file("go"), b"").unwrap();
    scale(&supervisor, &slow, 1).await.unwrap();
    assert_eq!(fs::read_to_string(fixture.file("builds")).unwrap().len(), 2);
    // On its way out, and given up; then it comes back.
    let run = "trap 'while [ ! -e gone ]; do sleep 0.01; done' TERM; ${target}/probe_service & wait";
    let stubborn = release("v3", Some(run));
    scale(&supervisor, &stubborn, 1).await.unwrap();
    let leaves = begin(&supervisor, stubborn.clone(), 0);
    let draining = || fixture.registry.get("order-v3-1").filter(|it| it.health.as_str() == "draining");
    eventually_some(BOUND, draining).await;
    leaves.abort();
    let of_v3 = || registered(&fixture).into_iter().filter(|it| it.contains("v3")).collect::<Vec<_>>();
    let comes = begin(&supervisor, stubborn.clone(), 1);
    // The one that leaves has its id until it is gone, and is waited for.
    eventually(BOUND, || of_v3() == ["order-v3-1 v3 draining", "order-v3-2 v3 healthy"]).await;
    fs::replace(&fixture.file("gone"), b"").unwrap();
    comes.await.unwrap().unwrap();
    assert_eq!(of_v3(), ["order-v3-2 v3 healthy"]);
    scale(&supervisor, &stubborn, 0).await.unwrap();
    assert!(of_v3().is_empty());
}

#[tokio::test]
async fn releases_of_one_service_are_scaled_one_after_the_other_and_services_beside_each_other() {
    let fixture = Fixture::new();
    let supervisor = running(&fixture, [order(1), Service { version: "v1".to_owned(), ..probe("user") }]).await;
    let mut slow = release("v2", None);
    slow.build = Some("echo > building; while [ ! -e go ]; do sleep 0.01; done".to_owned());
    let first = begin(&supervisor, slow, 1);
    eventually(BOUND, || fs::metadata(fixture.file("building")).is_ok()).await;
    let second = begin(&supervisor, release("v1", None), 0);
    let user = ServiceName::new("user").unwrap();
    supervisor.releases().scale(&user, &release("v1", None), 2).await.unwrap();
    assert!(registered(&fixture).contains(&"order-1 v1 healthy".to_owned()), "its turn has not come");
    fs::replace(&fixture.file("go"), b"").unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(registered(&fixture), ["order-v2-1 v2 healthy", "user-1 v1 healthy", "user-2 v1 healthy"]);
}

#[tokio::test]
async fn a_start_takes_what_is_in_force_and_does_not_fail_of_what_is_on_trial() {
    let mut fixture = Fixture::new();
    let service = ServiceName::new("order").unwrap();
    let promoted = release("v2", Some("echo promoted; exec ${target}/probe_service"));
    let on_trial = [
        release("v3", Some("exit 3")),
        Release { build: Some("echo > built; sleep 1000".to_owned()), ..release("v4", None) },
        release("v5", None),
        release("v6", Some("exec sleep 1000")),
    ];
    let versions = on_trial.iter().map(|release| (service.clone(), release.version.clone()));
    fixture.settings.on_trial = versions.collect();
    let beside = on_trial.iter().map(|release| (release.clone(), 1)).collect();
    let in_force = InForce { service: service.clone(), own: Some(promoted), own_count: 2, beside };
    let system = with_releases(system([order(2)]), &[in_force]);
    let registry = Arc::new(fixture.registry.clone());
    let started = async {
        let supervisor = fixture.start_over(system.services, registry).await.unwrap();
        supervisor.ready().await.unwrap();
        supervisor
    };
    let supervisor = time::timeout(BOUND / 2, started).await.expect("nobody waits for what is on trial");
    assert_eq!(registered(&fixture)[..2], ["order-v2-1 v2 healthy", "order-v2-2 v2 healthy"]);
    assert_eq!(fixture.events.lines("order-v2-1")[0], "promoted");
    // What needs no build of its own comes by itself.
    eventually(BOUND, || registered(&fixture).contains(&"order-v5-1 v5 healthy".to_owned())).await;
    assert!(fs::metadata(fixture.file("built")).is_err(), "it is built when it is rolled out");
    // Whoever rolls it out is told.
    let failing = Release { build: Some("exit 7".to_owned()), ..on_trial[1].clone() };
    let Failure(why) = scale(&supervisor, &failing, 1).await.unwrap_err();
    assert!(why.contains("exited with status 7"), "{why}");
    scale(&supervisor, &on_trial[0], 0).await.unwrap();
    // What the file declares can come back.
    scale(&supervisor, &release("v1", None), 1).await.unwrap();
    assert_eq!(registered(&fixture)[0], "order-1 v1 healthy");
}

#[tokio::test]
async fn a_promoted_release_that_does_not_start_is_told_as_one() {
    let mut fixture = Fixture::new();
    fixture.settings.startup_max = Duration::from_secs(3);
    let check = async |promoted: Release, expect: &str| {
        let service = ServiceName::new("order").unwrap();
        let in_force = InForce { service, own: Some(promoted), own_count: 1, beside: Vec::new() };
        let system = with_releases(system([order(1)]), &[in_force]);
        let started = async {
            let supervisor = fixture.start(system.services).await?;
            supervisor.ready().await
        };
        let error = started.await.unwrap_err();
        assert!(error.to_string().starts_with("release v2 of service order was promoted"), "{error}");
        let Error::Promoted { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains(expect), "{source}");
        assert_eq!((error.code(), error.lines()), (source.code(), source.lines()));
    };
    let build = Release { build: Some("echo no; exit 7".to_owned()), ..release("v2", None) };
    check(build, "exited with status 7").await;
    check(release("v2", Some("./nowhere")), "cannot be started").await;
}
