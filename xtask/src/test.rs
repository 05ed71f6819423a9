//! `cargo xtask test`: every check and every test, as CI and a newcomer run them.

use std::{
    collections::BTreeSet,
    env,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    packages, prove, tidy,
    workspace::{Workspace, cargo, is_on_path},
};

/// How the tests are run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run what takes long, too: more seeds, more rounds.
    #[arg(long)]
    long: bool,
}

/// What tests read to know that they may take long.
const LONG: &str = "BOWLINE_TEST_LONG";

/// The variable that tells end-to-end tests that every program is built: they would build those of the examples with
/// other features, and so again.
const BUILT: &str = "BOWLINE_TEST_BUILT";

/// A crate under flags of its own: they are part of every crate's identity, so that it has a target folder of its own.
#[derive(Debug)]
struct Variant {
    package: &'static str,
    flags: &'static str,
    folder: &'static str,
}

/// The runtime's doors leading to the simulator, and tokio's own choices to its seed.
const SIMULATION: Variant =
    Variant { package: "bowline-runtime", flags: "--cfg bowline_sim --cfg tokio_unstable", folder: "sim" };

/// What threads share being shuttle's, which tries out their schedules.
const SCHEDULES: Variant = Variant { package: "bowline-resilience", flags: "--cfg bowline_shuttle", folder: "shuttle" };

/// One check and its header.
#[derive(Debug)]
struct Step {
    name: &'static str,
    check: Check,
}

#[derive(Debug)]
enum Check {
    Command(Box<Command>),
    Tidy,
    /// That the theory's page says what the tests proved.
    Theory,
}

/// Runs every step, also after one failed; true when none did.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<bool> {
    prepare()?;
    prove::clear(workspace)?;
    let start = Instant::now();
    let mut failed = Vec::new();
    for mut step in steps(workspace, arguments) {
        println!("\n=== {} ===", step.name);
        let step_start = Instant::now();
        let is_passed = match &mut step.check {
            Check::Command(command) => command.status().with_context(|| format!("start {}", step.name))?.success(),
            Check::Tidy => tidy::report(workspace)?,
            Check::Theory => prove::is_written(workspace)?,
        };
        println!(
            "=== {}: {}, {} ===",
            step.name,
            if is_passed { "passed" } else { "FAILED" },
            shown(step_start.elapsed())
        );
        if !is_passed {
            failed.push(step.name);
        }
    }
    if failed.is_empty() {
        println!("\nall passed, {}", shown(start.elapsed()));
    } else {
        println!("\nFAILED: {}, {}", failed.join(", "), shown(start.elapsed()));
    }
    Ok(failed.is_empty())
}

/// Installs what is missing; names loudly what stays absent, which is a fault under CI.
fn prepare() -> anyhow::Result<()> {
    let mut absent = packages::install(packages::FOR_TESTS)?;
    absent.extend(packages::install_components());
    for line in &absent {
        println!("ABSENT: {line}");
    }
    if !absent.is_empty() && env::var("CI").is_ok_and(|value| value == "true") {
        bail!("under CI nothing may be absent");
    }
    Ok(())
}

/// In this order: what fails often and fast first; each builds on what the one before compiled.
fn steps(workspace: &Workspace, arguments: &Arguments) -> Vec<Step> {
    let all = ["--workspace", "--all-features", "--locked"];
    let step = |name, arguments: &[&str]| Step::new(name, command(workspace, arguments));
    let mut steps = vec![
        step("format", &["fmt", "--all", "--check"]),
        Step { name: "tidy", check: Check::Tidy },
        step("lints", &[&["clippy", "--all-targets"], &all[..], &["--", "-D", "warnings"]].concat()),
        // End-to-end tests start the binaries. All targets at once: alone they would be compiled without the
        // features of the tests' dependencies, and so twice.
        step("build", &[&["build", "--all-targets"], &all[..]].concat()),
    ];
    let runner: &[&str] = if is_on_path("cargo-nextest") { &["nextest", "run"] } else { &["test", "--all-targets"] };
    let mut tests = command(workspace, &[runner, &all[..]].concat());
    tests.env(prove::PROOFS_DIR, prove::dir(workspace)).env(BUILT, "1");
    steps.push(Step::new("tests", tests));
    steps.push(Step { name: "theory", check: Check::Theory });
    steps.push(step("documentation's examples", &[&["test", "--doc"], &all[..]].concat()));
    steps.push(step("documentation", &[&["doc", "--no-deps"], &all[..]].concat()));
    steps.push(SIMULATION.step(workspace, "simulation's lints", &["clippy", "--all-targets", "--", "-D", "warnings"]));
    steps.push(SIMULATION.step(workspace, "simulation", &["test"]));
    steps.push(SCHEDULES.step(workspace, "schedules", &["test", "--lib", "schedules"]));
    for command in steps.iter_mut().filter_map(Step::command) {
        if arguments.long {
            command.env(LONG, "1");
        }
        command.env("RUSTDOCFLAGS", flags("RUSTDOCFLAGS", "-D warnings"));
    }
    steps
}

impl Variant {
    fn step(&self, workspace: &Workspace, name: &'static str, arguments: &[&str]) -> Step {
        let Self { package, flags: ours, folder } = self;
        let mut command = command(workspace, &[arguments[0], "--package", package, "--locked", "--target-dir"]);
        command.arg(workspace.target_dir.join(folder)).args(&arguments[1..]);
        command.env("RUSTFLAGS", flags("RUSTFLAGS", ours));
        Step::new(name, command)
    }
}

impl Step {
    fn new(name: &'static str, command: Command) -> Self {
        Self { name, check: Check::Command(Box::new(command)) }
    }

    fn command(&mut self) -> Option<&mut Command> {
        match &mut self.check {
            Check::Command(command) => Some(command),
            Check::Tidy | Check::Theory => None,
        }
    }
}

pub(crate) fn command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.args(arguments).current_dir(&workspace.root);
    for variable in own_variables() {
        command.env_remove(variable);
    }
    command
}

/// What `cargo run` told us about ourselves: to others it would be wrong, and rebuild what reads it.
fn own_variables() -> BTreeSet<String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names
        .filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO")
        .collect()
}

/// The user's flags and ours.
fn flags(variable: &str, ours: &str) -> String {
    let theirs = env::var(variable).unwrap_or_default();
    format!("{theirs} {ours}").trim_start().to_owned()
}

fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(arguments: &Arguments) -> Vec<String> {
        let workspace = Workspace { root: "/r".into(), target_dir: "/elsewhere".into(), packages: Vec::new() };
        let shown = |command: &Command| {
            let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
            let variables =
                command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", name.display(), value?.display())));
            variables.chain(words).collect::<Vec<_>>().join(" ")
        };
        steps(&workspace, arguments).iter_mut().filter_map(Step::command).map(|command| shown(command)).collect()
    }

    #[test]
    fn warnings_are_errors_and_the_lock_file_holds() {
        let lines = lines(&Arguments { long: false });
        let has = |words: &[&str]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(has(&["clippy", "--all-targets", "--all-features", "--locked", "-- -D warnings"]), "{lines:#?}");
        assert!(has(&["doc --no-deps", "RUSTDOCFLAGS=", "-D warnings"]), "{lines:#?}");
        assert!(has(&["--cfg bowline_sim", "--target-dir /elsewhere/sim"]), "{lines:#?}");
        assert!(has(&["--cfg bowline_shuttle", "--target-dir /elsewhere/shuttle --lib schedules"]), "{lines:#?}");
        assert!(!has(&[LONG]), "{lines:#?}");
    }

    #[test]
    fn the_tests_hear_that_they_may_take_long() {
        assert!(lines(&Arguments { long: true }).iter().all(|line| line.contains("BOWLINE_TEST_LONG=1")));
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(shown(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(shown(Duration::from_secs(125)), "2 min 5 s");
    }
}
