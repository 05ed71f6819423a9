//! Builds: equal ones once, failures with their last words, nothing left when given up.

use bowline_runtime::fs;
use bowline_supervisor::{Error, Event, Exit};
use bowline_testkit::eventually;

use crate::fixture::{BOUND, Fixture, is_alive, probe};

#[tokio::test]
async fn equal_builds_run_once_in_the_root() {
    let fixture = Fixture::new();
    let services = ["a", "b", "c"].map(|name| {
        let mut service = probe(name);
        service.build = Some(if name == "c" { "echo c >> built" } else { "echo ab | tee -a built" }.to_owned());
        service
    });
    let _supervisor = fixture.start(services).await.unwrap();
    assert_eq!(fs::read_to_string(fixture.file("built")).unwrap(), "ab\nc\n");
    let started = |event: &Event| match event {
        Event::BuildStarted { services, .. } => Some(services.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => None,
    };
    assert_eq!(fixture.events.wait(started).await, ["a", "b"]);
    let is_line = |event: &Event| matches!(event, Event::BuildLine { is_stderr: false, line } if line == "ab");
    fixture.events.wait(|event| is_line(event).then_some(())).await;
    let is_end = |event: &Event| matches!(event, Event::BuildEnded { command, .. } if command == "echo c >> built");
    fixture.events.wait(|event| is_end(event).then_some(())).await;
}

#[tokio::test]
async fn a_failing_build_is_told_with_its_last_lines_and_nothing_starts() {
    let fixture = Fixture::new();
    let services = ["a", "b"].map(|name| {
        let mut service = probe(name);
        service.build = Some("for i in $(seq 50); do echo $i; done >&2; echo no >&2; exit 7".to_owned());
        service
    });
    let error = fixture.start(services).await.unwrap_err();
    assert!(error.to_string().starts_with("the build of a, b failed: `for i in"), "{error}");
    assert!(error.to_string().ends_with("exited with status 7"), "{error}");
    assert_eq!(error.lines().len(), 40);
    assert_eq!(error.lines().last().unwrap(), "no");
    assert!(matches!(error, Error::Build { exit: Exit::Status(7), .. }));
    let is_start = |event: &Event| matches!(event, Event::InstanceStarted { .. });
    assert!(!fixture.events.all().iter().any(is_start));
}

#[tokio::test]
async fn giving_up_a_build_kills_all_of_it() {
    let fixture = Fixture::new();
    let mut service = probe("a");
    service.build = Some("sleep 1000 & echo $! > pid; setsid sleep 1000 & echo $! > daemon; wait".to_owned());
    let start = fixture.start([service]);
    let pids = async { [fixture.pid_in("pid").await, fixture.pid_in("daemon").await] };
    let pids = tokio::select! {
        _ = start => panic!("the build does not end"),
        pids = pids => pids,
    };
    for pid in pids {
        eventually(BOUND, || !is_alive(pid)).await;
    }
}
