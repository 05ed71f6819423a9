//! The binary `bowline`: arguments, roles, rendering; nothing else.
fn main() {}
