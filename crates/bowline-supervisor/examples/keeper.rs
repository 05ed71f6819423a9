//! The keeper's executable for tests: what `bowline keeper` is.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The first two words are the program and `keeper`.
    bowline_supervisor::keeper::run(std::env::args_os().skip(2))
}
