//! Crashes: out of the registry at once, back again after a growing wait.

use std::time::Duration;

use bowline_runtime::{fs, task, time};
use bowline_supervisor::{Event, Exit};
use bowline_testkit::{eventually, eventually_some};
use rustix::process::Signal;
use tokio::sync::mpsc;

use crate::fixture::{BOUND, Fixture, get, is_alive, kill, probe, service};

fn waits(events: &[Event]) -> Vec<Duration> {
    let wait = |event: &Event| match event {
        Event::Restarting { after, .. } => Some(*after),
        _ => None,
    };
    events.iter().filter_map(wait).collect()
}

#[tokio::test]
async fn a_killed_instance_leaves_the_registry_and_comes_back() {
    let fixture = Fixture::new();
    let mut order = probe("order");
    order.replicas = 2;
    // The process's end must be noticed by itself, not by a check.
    order.check.every = BOUND * 10;
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    let before = fixture.registry.get("order-1").unwrap();
    let pid: u32 = before.metadata["pid"].parse().unwrap();
    kill(pid, Signal::KILL);
    let back = || fixture.registry.get("order-1").filter(|now| now.metadata["pid"] != before.metadata["pid"]);
    let after = eventually_some(BOUND, back).await;
    assert!(is_alive(after.metadata["pid"].parse().unwrap()) && !is_alive(pid));
    let log: Vec<String> = fixture.registry.log().into_iter().filter(|line| line.contains("order-1")).collect();
    assert_eq!(log, ["+order-1 healthy", "-order-1", "+order-1 healthy"]);
    let exited = |event: &Event| match event {
        Event::InstanceExited { exit, .. } => Some(exit.clone()),
        _ => None,
    };
    assert_eq!(fixture.events.wait(exited).await, Exit::Signal(9));
    assert!(fixture.settings.metrics.render().contains("bowline_supervisor_restarts_total{service=\"order\"} 1"));
}

#[tokio::test]
async fn a_crash_shows_the_last_lines_of_that_process() {
    let fixture = Fixture::new();
    let supervisor = fixture.start([probe("order")]).await.unwrap();
    supervisor.ready().await.unwrap();
    get(&fixture.registry.get("order-1").unwrap().address, "/crash");
    let exited = |event: &Event| match event {
        Event::InstanceExited { exit, last_lines, .. } => Some((exit.clone(), last_lines.clone())),
        _ => None,
    };
    let (exit, mut lines) = fixture.events.wait(exited).await;
    lines.sort();
    assert_eq!((exit, lines), (Exit::Status(3), vec!["listening".to_owned(), "the last words".to_owned()]));
}

#[tokio::test]
async fn restarts_wait_longer_each_time_and_ready_says_why_it_gave_up() {
    let mut fixture = Fixture::new();
    fixture.settings.startup_max = Duration::ZERO;
    let supervisor = fixture.start([service("order", "echo boom; exit 3")]).await.unwrap();
    let is_down = |event: &Event| matches!(event, Event::Restarting { .. }).then_some(());
    fixture.events.wait(is_down).await;
    let error = supervisor.ready().await.unwrap_err();
    assert!(error.to_string().contains(": its process exited with status 3"), "{error}");
    assert_eq!(error.lines().last().unwrap(), "boom");
    let expected = [20, 40, 80, 160].map(Duration::from_millis);
    let first = || Some(waits(&fixture.events.all())).filter(|waits| waits.len() >= expected.len());
    assert_eq!(eventually_some(BOUND, first).await[..4], expected);
    // It is not given up: it only waits no longer than the bound.
    let at_bound = || waits(&fixture.events.all()).iter().filter(|wait| wait.as_millis() == 200).count() >= 2;
    eventually(BOUND, at_bound).await;
}

#[tokio::test]
async fn a_start_that_does_not_answer_yet_does_not_hide_how_the_one_before_ended() {
    let mut fixture = Fixture::new();
    fixture.settings.startup_max = Duration::ZERO;
    let run = "if [ -e again ]; then exec sleep 1000; fi; touch again; exit 3";
    let supervisor = fixture.start([service("order", run)]).await.unwrap();
    let both = ": its process exited with status 3, and the next one: ";
    let until = time::now() + BOUND;
    while !supervisor.ready().await.unwrap_err().to_string().contains(both) {
        assert!(time::now() < until, "{}", supervisor.ready().await.unwrap_err());
        task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stable_instance_begins_with_the_shortest_wait_again() {
    let mut fixture = Fixture::new();
    fixture.settings.stable_after = Duration::ZERO;
    let supervisor = fixture.start([probe("order")]).await.unwrap();
    supervisor.ready().await.unwrap();
    for crash in 1..=3 {
        let instance = eventually_some(BOUND, || fixture.registry.get("order-1")).await;
        get(&instance.address, "/crash");
        eventually(BOUND, || waits(&fixture.events.all()).len() == crash).await;
    }
    assert_eq!(waits(&fixture.events.all()), [Duration::from_millis(20); 3]);
}

#[tokio::test]
async fn a_stable_instance_that_hung_before_it_crashed_was_stable() {
    let mut fixture = Fixture::new();
    fixture.settings.stable_after = Duration::ZERO;
    let flag = fixture.file("unhealthy");
    let mut order = probe("order");
    order.env.insert("UNHEALTHY_FILE".to_owned(), flag.display().to_string());
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    for crash in 1..=2 {
        let instance = eventually_some(BOUND, || fixture.registry.get("order-1")).await;
        fs::replace(&flag, b"").unwrap();
        let is_unhealthy = |event: &&Event| matches!(event, Event::InstanceUnhealthy { .. });
        eventually(BOUND, || fixture.events.all().iter().filter(is_unhealthy).count() == crash).await;
        fs::remove_file(&flag).unwrap();
        kill(instance.metadata["pid"].parse().unwrap(), Signal::KILL);
        eventually(BOUND, || waits(&fixture.events.all()).len() == crash).await;
        let is_back = || fixture.registry.get("order-1").filter(|now| now.metadata["pid"] != instance.metadata["pid"]);
        eventually_some(BOUND, is_back).await;
    }
    assert_eq!(waits(&fixture.events.all()), [Duration::from_millis(20); 2]);
}

#[tokio::test]
async fn a_port_lost_to_another_is_no_crash() {
    let fixture = Fixture::new();
    let run = "if [ -e again ]; then exec ${target}/probe_service; fi; \
               touch again; echo 'Error: Address already in use (os error 98)' >&2; exit 1";
    let supervisor = fixture.start([service("order", run)]).await.unwrap();
    supervisor.ready().await.unwrap();
    let restarting = |event: &Event| match event {
        Event::Restarting { crashes, after, .. } => Some((*crashes, *after)),
        _ => None,
    };
    assert_eq!(fixture.events.wait(restarting).await, (0, Duration::ZERO));
}

#[tokio::test]
async fn a_receiver_that_takes_no_events_does_not_stop_supervision() {
    let fixture = Fixture::new();
    // The service writes more lines than anybody holds, and then waits for a reader.
    let run = "${target}/probe_service > log & yes 'a line'";
    let (sender, _stalled) = mpsc::channel(1);
    let supervisor = fixture.start_telling([service("order", run)], sender).await.unwrap();
    supervisor.ready().await.unwrap();
    let before = fixture.registry.get("order-1").unwrap();
    kill(before.metadata["pid"].parse().unwrap(), Signal::KILL);
    let back = || fixture.registry.get("order-1").filter(|now| now.metadata["pid"] != before.metadata["pid"]);
    eventually_some(BOUND, back).await;
    let drained = supervisor.drain().await;
    assert_eq!(drained.stopped.len() + drained.killed.len(), 1);
    assert!(fixture.registry.instances().is_empty());
}
