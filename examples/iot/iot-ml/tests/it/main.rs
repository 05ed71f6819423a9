//! The model from the outside: how good it is, its file, its service.

#![expect(clippy::unwrap_used, reason = "what fails here is the report of a failed test")]

mod file;
mod floors;
mod service;
