//! The program as it is called.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_iot-detect")).args(arguments).output().unwrap()
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn told(output: &Output) -> (bool, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_file_of_the_tests_is_the_generators_and_its_faults_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (is_good, _, error) =
        told(&run(&["generate", "--seed", "5", "--days", "10", &at("device.csv"), &at("device.json")]));
    assert!(is_good, "{error}");
    for name in ["device.csv", "device.json"] {
        let (fresh, kept) = (std::fs::read(dir.path().join(name)).unwrap(), std::fs::read(data(name)).unwrap());
        assert!(fresh == kept, "{name} is not what the generator makes: generate it anew, with seed 5");
    }
    let (file, labels) = (data("device.csv").display().to_string(), data("device.json").display().to_string());
    let (is_good, text, error) = told(&run(&[&file, "--labels", &labels, "--daily"]));
    assert!(is_good, "{error}");
    assert!(text.contains("labelled        3       3   1.000"), "{text}");
    assert!(text.contains("\n0.0000 wrong episodes a day"), "{text}");
}

#[test]
fn a_simulation_prints_its_figures_and_holds_them_against_the_floors() {
    let (is_good, text, error) = told(&run(&["simulate", "--devices", "3", "--days", "28", "--seed", "4"]));
    assert!(is_good, "{text}{error}");
    assert!(text.starts_with("seed 4: 3 devices, 28 days, "), "{text}");
    for line in ["spike", "shift", "drift", "stuck", "dropout"] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{text}");
    }
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.csv");
    std::fs::write(&file, "timestamp,value\n2014-04-10 00:04:00,1\nyesterday,2\n").unwrap();
    let file = file.display().to_string();
    let (is_good, _, error) = told(&run(&[&file]));
    assert!(!is_good);
    assert_eq!(error, format!("{file}:3: error: the timestamp `yesterday` is no `YYYY-MM-DD HH:MM:SS`\n"));
    for (arguments, expect) in [
        (&[][..], "Usage"),
        (&["absent.csv"], "cannot read absent.csv"),
        (&["a.csv", "--resolution=-1"], "a number of 0 or more"),
        (&["simulate", "--days", "3"], "17..=3660"),
    ] {
        let (is_good, _, error) = told(&run(arguments));
        assert!(!is_good && error.contains(expect), "{arguments:?}: {error}");
    }
}
