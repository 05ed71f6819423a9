//! The project's own tools: `cargo xtask tidy | test | prove | bench`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]
#![expect(clippy::disallowed_methods, reason = "a tool is never simulated: it may ask the system's clock")]

mod bench;
mod packages;
mod process;
mod prove;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The project's own tools.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check what the compiler cannot: floors, sizes, sleeps, links.
    Tidy,
    /// Install what the tests need, then run every check and every test.
    Test(test::Arguments),
    /// Explore every transition table exhaustively, and write what holds into `docs/theory.md`.
    Prove,
    /// Measure against real peers and write `target/bench/NAME.json`.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let arguments = Arguments::parse();
    let workspace = Workspace::load()?;
    match arguments.command {
        Command::Tidy => tidy::report(&workspace),
        Command::Test(arguments) => test::run(&workspace, &arguments),
        Command::Prove => prove::run(&workspace),
        Command::Bench(arguments) => bench::run(&workspace, &arguments),
    }
}
