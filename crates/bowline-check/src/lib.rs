//! What a workspace says of a system beside its file, and how violations are told.
//!
//! The axioms themselves are pure and in [`bowline_model::check`]; here are the files that they need to know of,
//! and the forms in which people and programs read what was found.

pub mod facts;
pub mod tell;
