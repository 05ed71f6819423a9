//! What the crate promises of systems that are larger than those of its unit tests.

mod generated;
mod large;
