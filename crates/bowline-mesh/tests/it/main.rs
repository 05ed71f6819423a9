//! The mesh as its users see it.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod authority;
mod identity;
mod support;
