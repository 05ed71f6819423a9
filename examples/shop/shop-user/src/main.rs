//! The shop's user service.
fn main() {}
