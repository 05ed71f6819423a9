//! The shop's load program.
fn main() {}
