//! `--profile`: what runs is the file with what its profile says, and databases that live elsewhere are told.

use std::{path::Path, process::Command};

use rustix::process::Pid;

use crate::{
    harness::{Home, bowline},
    stand_in,
};

/// A system whose one service writes down what it is told, with a profile that moves its database.
fn file() -> String {
    format!(
        "name = \"s\"\n\
         [service.order]\n\
         run = \"env > ${{data}}/told; {}\"\n\
         [service.order.boundary]\n\
         data = [\"sqlite:order.db\"]\n\
         [profile.postgres.databases]\n\
         postgres = \"postgres://127.0.0.1:5432\"\n\
         credential = \"env:SHOP_POSTGRES\"\n\
         [profile.postgres.service.order.boundary]\n\
         data = [\"postgres:order\"]\n",
        stand_in::command(false, false)
    )
}

/// What the service was told of databases.
fn told(home: &Home) -> Vec<String> {
    let environment = std::fs::read_to_string(home.data_dir().join("told")).unwrap();
    let is_meant = |line: &&str| line.starts_with("BOWLINE_DATA_ORDER") || line.starts_with("DATABASE_URL=");
    let mut found: Vec<_> = environment.lines().filter(is_meant).map(str::to_owned).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_database_moves_with_the_profile_and_its_password_is_told_to_nobody_else() {
    let home = Home::new(&file());
    let credential = ("SHOP_POSTGRES", "ada:s3cr@t");
    let mut running = home.start_with(&["--profile", "postgres"], &[credential]);
    running.ready().await;
    let url = "postgres://ada:s3cr%40t@127.0.0.1:5432/order";
    assert_eq!(told(&home), [format!("BOWLINE_DATA_ORDER={url}"), format!("DATABASE_URL={url}")]);
    let words = |pid: &Pid| std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let processes: Vec<u8> = running.descendants().iter().flat_map(words).collect();
    assert!(!String::from_utf8_lossy(&processes).contains("s3cr"), "it is in the list of processes");
    running.stop().await;
    assert!(!running.output().contains("s3cr"), "{}", running.output());

    let mut running = home.up().await;
    let url = format!("sqlite://{}/sqlite/order.db", home.data_dir().display());
    assert_eq!(told(&home), [format!("BOWLINE_DATA_ORDER_DB={url}"), format!("DATABASE_URL={url}")]);
    running.stop().await;
}

#[tokio::test]
async fn a_password_that_is_not_there_is_told_before_anything_runs() {
    let home = Home::new(&file());
    let mut running = home.start(&["--profile", "postgres"]);
    assert_eq!(running.ended().await.code(), Some(1));
    let is_told = async || running.output().contains("[databases] credential: the variable SHOP_POSTGRES is not set");
    assert!(crate::harness::eventually(crate::harness::PATIENCE, is_told).await, "{}", running.output());
    assert!(!home.data_dir().join("told").exists());
}

/// Exit code and standard error of a command on the file of that folder.
fn refused(command: &str, dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(bowline()).arg(command).arg(dir).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn profiles_are_proved_refused_and_read_by_every_command_alike() {
    let home = Home::new(&file());
    for command in ["up", "server", "check"] {
        let (code, report) = refused(command, home.path(), &["--profile", "postgre"]);
        assert_eq!(code, Some(2), "{report}");
        assert!(report.contains("bowline.toml:6:2: error: there is no profile `postgre`\n"), "{report}");
        assert!(report.contains(" did you mean `postgres`? the file has: `postgres`\n"), "{report}");
    }
    home.edit(|text| format!("{text}[profile.other.service.order]\nreplicaz = 2\n"));
    for (command, args) in [("up", &["--profile", "postgres"][..]), ("server", &[]), ("check", &["--profile", "other"])]
    {
        let (code, report) = refused(command, home.path(), args);
        assert_eq!(code, Some(2), "{report}");
        assert!(report.contains("bowline.toml:12:1: error: unknown key `replicaz`"), "{report}");
        assert!(report.contains("1 problem in "), "{report}");
    }
    assert!(!home.path().join(".bowline").exists());

    // What is proved is the system of the chosen profile.
    home.edit(|text| {
        text.replace("[profile.other.service.order]\nreplicaz = 2", "[profile.other.service.order.calls.order2]")
    });
    assert_eq!(refused("check", home.path(), &[]).0, Some(0));
    assert_eq!(refused("check", home.path(), &["--profile", "other"]).0, Some(1));
}
