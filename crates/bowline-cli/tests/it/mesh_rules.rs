//! Who may ask whom in the shop, and what becomes of those who stand before its sidecars with programs of their
//! own: `curl`, `openssl`.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    harness::{Home, Running, ask},
    openssl::{self, Pair},
};

/// A charge that the shop's bank grants.
fn charge(order: &str) -> String {
    json!({"order_id": order, "card": "card-4242", "amount": 1999}).to_string()
}

/// What `bowline call` printed: its exit code, and the answer.
async fn call(running: &Running, args: &[&str]) -> (Option<i32>, String) {
    let output = running.outcome(&[&["call", "--as"][..], args].concat()).await;
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(told).unwrap())
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[tokio::test]
async fn callers_are_let_in_as_declared_and_others_are_told_the_rule() {
    let home = Home::shop();
    let mut running = home.up().await;
    let (code, told) = call(&running, &["user", "payment", "POST", "/charges"]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.starts_with("403 Forbidden\n") && told.contains("[service.user.calls.payment]"), "{told}");
    assert_eq!(header(&told, "x-bowline-reason"), "mesh_not_declared");
    running
        .spans(header(&told, "x-trace-id"), |span| {
            let attributes = &span["attributes"];
            span["service"] == "payment"
                && attributes["bowline.caller"] == "service/user"
                && attributes["bowline.rule"] == "service.user.calls.payment"
                && attributes["bowline.reason"] == "mesh_not_declared"
        })
        .await;

    let (code, told) = call(&running, &["order", "payment", "GET", "/charges/1"]).await;
    assert_eq!((code, header(&told, "x-bowline-reason")), (Some(1), "mesh_operation"), "{told}");
    assert!(told.contains("POST /charges") && told.contains("`order calls payment`"), "{told}");
    running
        .spans(header(&told, "x-trace-id"), |span| {
            span["attributes"]["bowline.caller"] == "service/order"
                && span["attributes"]["bowline.rule"] == "order calls payment"
        })
        .await;

    let good = charge("o-by-hand");
    let args = ["order", "payment", "POST", "/charges", "-d", &good, "-H", "content-type: application/json"];
    let (code, told) = call(&running, &args).await;
    assert!(code == Some(0) && told.starts_with("20"), "{told}");
    // The gateway comes by its routes, and is believed who asks.
    let args = ["gateway", "order", "GET", "/orders/none"];
    let (_, told) = call(&running, &args).await;
    assert!(told.starts_with("401"), "{told}");
    let (_, told) = call(&running, &[&args[..], &["-H", "x-bowline-subject: u-1"]].concat()).await;
    assert!(told.starts_with("404"), "{told}");
    running.stop().await;
}

/// `curl` against an address, with further arguments; the status it was answered with, if there was an answer.
async fn curl(url: &str, args: &[&str]) -> Result<u16, String> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}"]);
    let output = command.args(args).arg(url).stdin(Stdio::null()).output().await.unwrap();
    let status: u16 = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    // What was answered counts, also if the connection broke afterwards.
    if status != 0 { Ok(status) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

async fn curl_as(pair: &Pair, addr: SocketAddr) -> Result<u16, String> {
    let (certificate, key) = (pair.certificate.to_str().unwrap(), pair.key.to_str().unwrap());
    curl(&format!("https://{addr}/charges/1"), &["-k", "--cert", certificate, "--key", key]).await
}

/// Where every instance of the shop is reached.
async fn addresses(running: &Running) -> Vec<(String, SocketAddr)> {
    let list = running.api_json("/v1/instances").await;
    let address = |instance: &Value| {
        (instance["service"].as_str().unwrap().to_owned(), instance["address"].as_str().unwrap().parse().unwrap())
    };
    list["instances"].as_array().unwrap().iter().map(address).collect()
}

#[tokio::test]
async fn nobody_without_a_certificate_of_the_system_gets_past_a_sidecar() {
    let home = Home::shop();
    let mut running = home.up().await;
    let all = addresses(&running).await;
    let services: BTreeSet<_> = all.iter().map(|(service, _)| service.as_str()).collect();
    assert_eq!((all.len(), services.len()), (6, 5), "{all:?}");
    for (service, addr) in &all {
        for url in [format!("http://{addr}/readyz"), format!("https://{addr}/readyz")] {
            let answered = curl(&url, &["-k"]).await;
            assert!(answered.is_err(), "{service} at {url}: {answered:?}");
        }
    }
    // The applications themselves are nowhere in the network.
    let (pids, sockets) = listening_below(&running);
    assert!(pids >= 5 && sockets.is_empty(), "{pids} processes, {sockets:?}");

    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let payment = all.iter().find(|(service, _)| service == "payment").unwrap().1;
    let names = openssl::names_shown(dir, payment).await;
    assert!(names.contains("URI:spiffe://shop/service/payment") && names.matches("URI:").count() == 1, "{names}");
    certificates(&running, dir, payment).await;
    running.stop().await;
}

/// Only the system's own authority opens: not one of the same name, either.
async fn certificates(running: &Running, dir: &Path, payment: SocketAddr) {
    let own = openssl::joined(running, dir, "order").await;
    // Let in, and told which operations it may: the rest of the command is as below.
    assert_eq!(curl_as(&own, payment).await, Ok(403));
    let namesake = openssl::name_of_authority(running, dir).await;
    for authority in ["Somebody Else", &namesake] {
        let foreign = openssl::foreign(dir, authority, "order").await;
        let answered = curl_as(&foreign, payment).await;
        assert!(answered.is_err(), "{authority}: {answered:?}");
    }
    let metrics = ask(running.api(), Method::GET, "localhost", "/metrics", &[], b"").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let refused = |line: &&str| {
        line.starts_with("bowline_certificates_refused_total")
            && line.contains("reason=\"foreign_authority\"")
            && line.contains("workload=\"service/payment\"")
    };
    let counted = text.lines().find(refused).unwrap_or_else(|| panic!("{text}"));
    assert!(counted.ends_with(" 2"), "{counted}");
}

/// How many processes there are below, and which of their sockets take connections of the network.
fn listening_below(running: &Running) -> (usize, Vec<String>) {
    let mut listening = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        for fields in text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            if fields[3] == "0A" {
                listening.insert(format!("socket:[{}]", fields[9]));
            }
        }
    }
    assert!(!listening.is_empty(), "nothing listens, not even Bowline");
    let below = running.descendants();
    let sockets = below.iter().flat_map(|pid| {
        let held = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        held.into_iter().flatten().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
    });
    let sockets = sockets.map(|link| link.display().to_string()).filter(|link| listening.contains(link));
    (below.len(), sockets.collect())
}

#[tokio::test]
async fn a_caller_believes_nobody_who_is_another_service() {
    let home = Home::new("name = \"shop\"\n[mesh]\n[service.order.calls.payment]\n[service.payment]\n[service.user]\n");
    let mut server = home.server("127.0.0.1:0").await;
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let user = openssl::joined(&server, dir, "user").await;
    let payment = openssl::joined(&server, dir, "payment").await;
    let foreign = openssl::foreign(dir, "Somebody Else", "payment").await;
    for (shown, refused) in [(&payment, ""), (&user, "spiffe://shop/service/user"), (&foreign, "UnknownIssuer")] {
        let (_child, addr) = impostor(dir, shown).await;
        register(&server, addr).await;
        let (code, told) = call(&server, &["order", "payment", "GET", "/"]).await;
        assert_eq!(code == Some(0), refused.is_empty(), "{told}");
        assert!(told.contains(refused), "{told}");
    }
    server.stop().await;
}

/// A server of TLS with that certificate, which answers every request.
async fn impostor(dir: &Path, shown: &Pair) -> (tokio::process::Child, SocketAddr) {
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-www", "-cert"]).arg(&shown.certificate);
    command.arg("-key").arg(&shown.key).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let accepts = async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if let Some(addr) = line.strip_prefix("ACCEPT ") {
                return addr.parse().unwrap();
            }
        }
    };
    let addr = bowline_runtime::time::timeout(Duration::from_secs(10), accepts).await.unwrap();
    (child, addr)
}

async fn register(server: &Running, addr: SocketAddr) {
    let body = json!({"service": "payment", "address": addr.to_string(), "ttl": "1h"}).to_string();
    let headers = [("content-type", "application/json")];
    let path = "/v1/instances/payment-1";
    let answer = ask(server.api(), Method::PUT, "localhost", path, &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}
