//! `bowline logs` over a system whose service writes to both of its outputs.

use std::process::Stdio;

use bowline_runtime::time::timeout;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    harness::{Home, PATIENCE, bowline, eventually},
    stand_in,
};

#[tokio::test]
async fn what_services_wrote_is_shown_to_people_and_programs() {
    let command = stand_in::command(false, false);
    let home = Home::new(&format!(
        "name = \"s\"\n[service.shop]\nrun = \"echo one; echo two >&2; {command}\"\n[service.elsewhere]\n"
    ));
    let mut running = home.up().await;
    let mut shown = String::new();
    let is_there = eventually(PATIENCE, async || {
        shown = running.command(&["logs", "shop"]).await;
        shown.contains("│ one") && shown.contains("│ two")
    });
    assert!(is_there.await, "{shown}\n{}", running.output());
    // `2026-01-02 03:04:05Z shop-1 │ one`, and no colours in a pipe.
    let one = shown.lines().find(|line| line.ends_with("│ one")).unwrap();
    let words: Vec<&str> = one.split_whitespace().collect();
    assert_eq!((words.len(), words[2], one.len()), (5, "shop-1", "2026-01-02 03:04:05Z shop-1 │ one".len()), "{one}");
    assert!(!shown.contains('\x1b'), "{shown:?}");

    let json = running.command(&["logs", "shop", "--limit", "2000", "--instance", "shop-1", "-o", "json"]).await;
    let list: serde_json::Value = serde_json::from_str(&json).unwrap();
    let of = |text: &str| list["lines"].as_array().unwrap().iter().find(|line| line["text"] == text).unwrap().clone();
    assert_eq!([&of("one")["stream"], &of("two")["stream"]], ["stdout", "stderr"], "{json}");
    assert_eq!(running.api_json("/v1/logs/shop").await["next"], list["next"]);

    let none = running.command(&["logs", "elsewhere"]).await;
    assert_eq!(none, "no lines of elsewhere: nothing was written, or this Bowline does not run it\n");
    let unknown = running.outcome(&["logs", "shpo"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    let report = String::from_utf8(unknown.stderr).unwrap();
    assert!(report.contains("the system has no service `shpo`"), "{report}");
    running.stop().await;
}

#[tokio::test]
async fn who_follows_is_shown_what_comes() {
    let command = stand_in::command(false, false);
    let waits = "(until [ -e go ]; do sleep 0.1; done; echo later) & echo one; ";
    let home = Home::new(&format!("name = \"s\"\n[service.shop]\nrun = \"cd $HERE; {waits}{command}\"\n"));
    let here = format!("[service.shop.env]\nHERE = \"{}\"\n", home.path().display());
    home.edit(|text| format!("{text}{here}"));
    let mut running = home.up().await;
    let mut follow = Command::new(bowline());
    follow.args(["logs", "shop", "--follow", "-o", "json", "--api", &running.api().to_string()]);
    let mut follow = follow.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["text"].as_str().unwrap().to_owned()
    };
    while next().await != "one" {}
    std::fs::write(home.path().join("go"), "").unwrap();
    while next().await != "later" {}
    running.stop().await;
    let ended = timeout(PATIENCE, follow.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(1), "nobody answers any more");
}
