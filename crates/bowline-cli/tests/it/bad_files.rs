//! A file with faults: all of them are told, in their places, and nothing is started.

use std::process::Command;

use crate::harness::{Home, bowline};

#[test]
fn every_fault_is_told_with_its_place_and_nothing_starts() {
    let home = Home::new(
        "name = \"shop\"\n\
         [service.order]\n\
         run = \"touch started\"\n\
         replicaz = 2\n\
         [service.order.calls.order]\n\
         timeout = \"800\"\n",
    );
    let output = Command::new(bowline()).arg("up").arg(home.path()).output().unwrap();
    let report = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{report}");
    for place in ["bowline.toml:4:1: error: ", "bowline.toml:5:22: error: ", "bowline.toml:6:11: error: "] {
        assert!(report.contains(place), "{place} in\n{report}");
    }
    assert!(report.contains("replicas"), "{report}");
    assert!(report.contains("3 problems in "), "{report}");
    assert!(!home.path().join("started").exists());
    assert!(!home.path().join(".bowline").exists(), "a file that cannot be used leaves no data folder");
}

#[test]
fn a_missing_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(bowline()).arg("up").arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let report = String::from_utf8(output.stderr).unwrap();
    let missing = format!("error: there is no file {}", dir.path().join("bowline.toml").display());
    assert!(report.contains(&missing) && report.contains("hint: write one"), "{report}");
}
