//! Drains: callers first, stragglers killed, never longer than told.

use std::time::Duration;

use bowline_runtime::{fs, time};
use bowline_supervisor::{Event, Exit};

use crate::fixture::{Fixture, call, probe, service};

/// The steps of a drain, as `verb id`.
fn steps(events: &[Event]) -> Vec<String> {
    let step = |event: &Event| match event {
        Event::Draining { instance } => Some(format!("drain {instance}")),
        Event::InstanceStopped { instance, .. } => Some(format!("stop {instance}")),
        Event::Killed { instance } => Some(format!("kill {instance}")),
        _ => None,
    };
    events.iter().filter_map(step).collect()
}

#[tokio::test]
async fn callers_stop_before_those_they_call() {
    let fixture = Fixture::new();
    let (bank, mut payment, mut order) = (probe("bank"), probe("payment"), probe("order"));
    order.calls = vec![call("payment")];
    payment.calls = vec![call("bank")];
    let supervisor = fixture.start([bank, payment, order]).await.unwrap();
    supervisor.ready().await.unwrap();
    let drained = supervisor.drain().await;
    assert!(drained.killed.is_empty());
    let expected = ["order-1", "payment-1", "bank-1"].map(|id| [format!("drain {id}"), format!("stop {id}")]);
    assert_eq!(steps(&fixture.events.all()), expected.concat());
    let log = fixture.registry.log();
    assert_eq!(log[log.len() - 6..][..3], ["+order-1 draining", "-order-1", "+payment-1 draining"]);
}

#[tokio::test]
async fn who_does_not_stop_is_killed_when_the_time_is_over() {
    let mut fixture = Fixture::new();
    fixture.settings.grace = Duration::from_millis(600);
    let mut stubborn = service("stubborn", "trap '' TERM; ${target}/probe_service; true");
    stubborn.calls = vec![call("meek")];
    let supervisor = fixture.start([stubborn, probe("meek")]).await.unwrap();
    supervisor.ready().await.unwrap();
    let began = time::now();
    let drained = supervisor.drain().await;
    let took = time::now() - began;
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(drained.killed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["stubborn-1"]);
    assert_eq!(drained.stopped.iter().map(ToString::to_string).collect::<Vec<_>>(), ["meek-1"]);
    let expected = ["drain stubborn-1", "drain meek-1", "stop meek-1", "kill stubborn-1", "stop stubborn-1"];
    assert_eq!(steps(&fixture.events.all()), expected);
    assert!(fixture.registry.instances().is_empty());
}

#[tokio::test]
async fn what_a_shell_started_gets_its_time_though_the_shell_is_gone() {
    let fixture = Fixture::new();
    // The shell dies of SIGTERM at once; the child goes on for a while, and must be let.
    let run = "(trap 'sleep 0.3; echo done > finished; exit' TERM; ${target}/probe_service & wait) & wait";
    let supervisor = fixture.start([service("order", run)]).await.unwrap();
    supervisor.ready().await.unwrap();
    let drained = supervisor.drain().await;
    assert_eq!(drained.killed, []);
    assert_eq!(fs::read_to_string(fixture.file("finished")).unwrap(), "done\n");
}

#[tokio::test]
async fn an_instance_that_waits_for_its_restart_stops_too() {
    let mut fixture = Fixture::new();
    fixture.settings.restart.min = Duration::from_secs(100);
    fixture.settings.restart.max = Duration::from_secs(100);
    let supervisor = fixture.start([service("order", "exit 1")]).await.unwrap();
    let restarting = |event: &Event| matches!(event, Event::Restarting { .. }).then_some(());
    fixture.events.wait(restarting).await;
    let drained = supervisor.drain().await;
    assert_eq!(drained.stopped.len(), 1);
    let stopped = |event: &Event| match event {
        Event::InstanceStopped { exit, .. } => Some(exit.clone()),
        _ => None,
    };
    assert_eq!(fixture.events.wait(stopped).await, Exit::NoProcess);
}
