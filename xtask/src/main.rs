//! The project's own tools: `cargo xtask tidy | test | bench`.
fn main() {}
