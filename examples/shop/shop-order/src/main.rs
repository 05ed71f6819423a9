//! The shop's order service.
fn main() {}
