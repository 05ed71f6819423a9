//! The shop's bank service.
fn main() {}
