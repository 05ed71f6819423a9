//! `kill -9` of `bowline` itself: nothing acknowledged is lost, nobody is left behind.

use std::time::Duration;

use http::Method;
use rustix::process::{Pid, Signal};

use crate::harness::{Answer, Home, PATIENCE, Running, ask, eventually, is_alive};

#[tokio::test]
async fn no_process_outlives_a_killed_bowline_not_even_a_grandchild() {
    // One that answers checks would need a program; being started is enough to be left behind.
    let home = Home::new(
        "name = \"s\"\n\
         [service.family]\n\
         run = \"sh -c 'sleep 1000 & setsid sleep 1000 & (setsid sh -c \\\"sleep 1000 & sleep 1000\\\" &) ; wait'\"\n",
    );
    let mut running = home.start(&[]);
    let is_whole = eventually(PATIENCE, async || sleepers(&running.descendants()) >= 4);
    assert!(is_whole.await, "{:?}", running.descendants());
    let family = running.descendants();
    running.signal(Signal::KILL);
    running.ended().await;
    let all_gone = eventually(Duration::from_secs(2), async || !family.iter().any(|pid| is_alive(*pid)));
    assert!(all_gone.await, "left behind: {:?}", family.iter().filter(|pid| is_alive(**pid)).collect::<Vec<_>>());
}

fn sleepers(pids: &[Pid]) -> usize {
    let name = |pid: &Pid| std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    pids.iter().filter(|pid| name(pid).is_ok_and(|name| name.trim() == "sleep")).count()
}

#[tokio::test]
async fn acknowledged_orders_and_registrations_survive_and_dead_processes_do_not() {
    let home = Home::shop();
    let mut running = home.up().await;
    let json = [("content-type", "application/json")];
    let registration = br#"{"service":"ledger","address":"127.0.0.1:9999","ttl":"1h"}"#;
    let answer = ask(running.api(), Method::PUT, "localhost", "/v1/instances/ledger-1", &json, registration).await;
    assert_eq!(answer.status, 200);
    let (gateway, ada) = (running.gateway(), running.sign_in("ada@example.com").await);
    let acknowledged = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let begin = |writer| write(gateway, ada.clone(), writer, acknowledged.clone());
    let writers: Vec<_> = (0..8).map(|writer| bowline_runtime::task::spawn(begin(writer))).collect();
    let is_writing = eventually(PATIENCE, async || acknowledged.lock().unwrap().len() >= 40);
    assert!(is_writing.await);
    let order_before = pid(&running, "order").await;
    assert_eq!(running.instances("payment").await.len(), 2);
    let family = running.descendants();
    running.signal(Signal::KILL);
    running.ended().await;
    writers.iter().for_each(tokio::task::JoinHandle::abort);
    let all_gone = eventually(Duration::from_secs(2), async || !family.iter().any(|pid| is_alive(*pid)));
    assert!(all_gone.await);

    // No new process takes the place of the second: what is listed of it is of the dead run.
    home.edit(|file| file.replace("replicas = 2", "replicas = 1"));
    let mut again = home.up().await;
    assert_eq!(again.instances("ledger").await, ["ledger-1@127.0.0.1:9999"]);
    let payments = again.instances("payment").await;
    assert!(payments.len() == 1 && payments[0].starts_with("payment-1@"), "{payments:?}");
    assert_ne!(pid(&again, "order").await, order_before);
    let acknowledged = acknowledged.lock().unwrap().clone();
    for (id, body) in &acknowledged {
        // The token is as good as before: the keys survive too.
        let signed = [("authorization", ada.as_str())];
        let kept = ask_patiently(&again, &format!("/orders/{id}"), &signed).await;
        assert_eq!((kept.status.as_u16(), &kept.body), (200, body), "of {} acknowledged", acknowledged.len());
    }
    again.stop().await;
}

/// Asks the shop, as often as its limit makes it necessary.
async fn ask_patiently(running: &Running, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut answer = None;
    let is_answered = eventually(PATIENCE, async || {
        let asked = running.ask(Method::GET, "shop.localhost", path, headers, b"").await;
        let is_answered = asked.status != 429;
        answer = Some(asked);
        is_answered
    });
    assert!(is_answered.await, "{answer:?}");
    answer.unwrap()
}

/// The process of a service with one instance.
async fn pid(running: &Running, service: &str) -> Pid {
    let processes = running.processes(service).await;
    assert_eq!(processes.len(), 1);
    processes[0]
}

type Acknowledged = std::sync::Arc<std::sync::Mutex<Vec<(String, bytes::Bytes)>>>;

/// Places orders one after the other until there is no answer any more.
async fn write(gateway: std::net::SocketAddr, signed: String, writer: u32, acknowledged: Acknowledged) {
    let body = br#"{"user_id":"u-1","items":[{"sku":"book","quantity":1,"unit_price":100}]}"#;
    for number in 0.. {
        let key = format!("crash-{writer}-{number}");
        let headers =
            [("content-type", "application/json"), ("authorization", &*signed), ("idempotency-key", key.as_str())];
        let answer = ask(gateway, Method::POST, "shop.localhost", "/orders", &headers, body).await;
        if answer.status == 201 {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            acknowledged.lock().unwrap().push((id, answer.body));
        }
    }
}
