//! The shop's payment service.
fn main() {}
