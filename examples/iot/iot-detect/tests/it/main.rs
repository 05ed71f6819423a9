//! The detector through its public interface: floors, properties, files, the program.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

mod files;
mod floors;
mod program;
mod properties;
mod series;
