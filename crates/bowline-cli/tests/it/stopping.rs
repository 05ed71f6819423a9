//! Stopping: every signal that means it, one deadline for all, a second signal, a stalled reader.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use bowline_runtime::time;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{
    harness::{Home, PATIENCE, Running, bowline, eventually, is_alive},
    stand_in,
};

/// A system of one stand-in behind a route of its own.
fn home(is_stubborn: bool, is_chatty: bool) -> Home {
    Home::new(&format!(
        "name = \"s\"\n\
         [service.slow]\n\
         run = \"{}\"\n\
         check = {{ http = \"/readyz\", every = \"500ms\", timeout = \"400ms\" }}\n\
         [[route]]\n\
         name = \"slow\"\n\
         backends = [{{ service = \"slow\" }}]\n\
         timeout = \"120s\"\n",
        stand_in::command(is_stubborn, is_chatty)
    ))
}

/// What an application needs at its end besides the grace: to leave its sagas to others, and to report its last spans.
#[test]
fn an_application_has_ended_before_its_supervisor_kills_it() {
    let nowhere = PathBuf::new();
    let layout = bowline_supervisor::workspace::Layout { root: nowhere.clone(), target_dir: nowhere.clone() };
    let killed_after = bowline_supervisor::Settings::new(layout, nowhere.clone(), nowhere).grace;
    assert!(bowline::GRACE_DEFAULT + Duration::from_millis(1500) < killed_after);
}

#[tokio::test]
async fn every_stop_signal_drains() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let home = Home::new("name = \"empty\"\n");
        let mut running = home.up().await;
        running.signal(signal);
        let status = running.ended().await;
        assert!(status.success(), "{signal:?}: {status}");
        let told = eventually(PATIENCE, async || running.output().ends_with("\nstopped")).await;
        assert!(told, "{signal:?}:\n{}", running.output());
    }
}

#[tokio::test]
async fn a_stop_while_building_shows_what_was_built_and_says_that_it_stopped() {
    let home =
        Home::new("name = \"s\"\n[service.a]\nbuild = \"echo half-built; exec sleep 1000\"\nrun = \"sleep 1000\"\n");
    let mut running = home.start(&[]);
    let is_building = eventually(PATIENCE, async || running.output().contains("  half-built"));
    assert!(is_building.await, "{}", running.output());
    running.stop().await;
    let told = eventually(PATIENCE, async || running.output().ends_with("\nstopped")).await;
    assert!(told, "{}", running.output());
}

/// A request to the gateway and one to the API that both hang; they hang as long as they are held.
async fn hang(running: &Running) -> [TcpStream; 2] {
    let send = |addr: SocketAddr, text: &str| {
        let mut connection = TcpStream::connect(addr).unwrap();
        connection.write_all(text.as_bytes()).unwrap();
        connection
    };
    let half = "PUT /v1/instances/a-1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    let half = send(running.api(), half);
    let slow = send(running.gateway(), "GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let has_come = eventually(PATIENCE, async || running.output().contains("hanging: GET /slow "));
    assert!(has_come.await, "{}", running.output());
    // The API accepts in order: when this is answered, it has the one before.
    running.api_json("/v1/services").await;
    [slow, half]
}

#[tokio::test]
async fn one_grace_period_holds_for_gateway_services_and_api() {
    let home = home(true, false);
    let mut running = home.start(&["--grace", "5s"]);
    running.ready().await;
    let _hanging = hang(&running).await;
    let family = running.descendants();
    let begun = time::now();
    running.stop().await;
    let took = begun.elapsed();
    // Each with a period of its own would take 15 s.
    assert!((Duration::from_secs(5)..Duration::from_secs(11)).contains(&took), "{took:?}\n{}", running.output());
    assert_gone(&family).await;
}

#[tokio::test]
async fn a_second_signal_stops_everything_at_once() {
    let home = home(true, false);
    let mut running = home.start(&["--grace", "10m"]);
    running.ready().await;
    let _hanging = hang(&running).await;
    let family = running.descendants();
    running.signal(Signal::INT);
    let is_stopping = eventually(PATIENCE, async || running.output().contains("stopping: "));
    assert!(is_stopping.await, "{}", running.output());
    // The two kinds count alike.
    running.signal(Signal::TERM);
    let status = running.ended().await;
    assert!(status.success(), "{status}");
    let told = eventually(PATIENCE, async || running.output().ends_with("\nstopped at once")).await;
    assert!(told, "{}", running.output());
    assert_gone(&family).await;
}

/// No process outlives `bowline` by more than two seconds.
async fn assert_gone(family: &[Pid]) {
    assert!(!family.is_empty());
    let all_gone = eventually(Duration::from_secs(2), async || !family.iter().any(|pid| is_alive(*pid)));
    assert!(all_gone.await, "left behind: {family:?}");
}

#[tokio::test]
async fn a_reader_that_stalls_holds_up_neither_the_drain_nor_the_end() {
    let home = home(false, true);
    let mut command = tokio::process::Command::new(bowline());
    command.arg("up").arg(home.path()).args(["--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--grace", "3s"]);
    command.args(["--otlp-grpc", "off", "--otlp-http", "off"]);
    command.arg("--data-dir").arg(home.data_dir()).env("BOWLINE_LOG", "debug");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // Both pipes are held and not read any more.
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut lines = BufReader::new(stdout).lines();
    while !lines.next_line().await.unwrap().expect("it is not ready").contains(" is ready after ") {}
    let stdout = lines.into_inner().into_inner();
    let is_full = eventually(PATIENCE, async || rustix::io::ioctl_fionread(&stdout).unwrap() > 60_000);
    assert!(is_full.await);
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    let family = crate::harness::descendants(pid);
    let begun = time::now();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = time::timeout(PATIENCE, child.wait()).await.expect("it does not end").unwrap();
    assert!(ended.success(), "{ended}");
    assert!(begun.elapsed() < Duration::from_secs(3 + 5), "{:?}", begun.elapsed());
    assert_gone(&family).await;
    drop((stdout, stderr));
}
